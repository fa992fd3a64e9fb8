"""A database with a write-ahead log: one connection for the whole run, one more for
each request, and a checkpoint now and then."""

import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import corpus

path = corpus.scratch("orders.db")


def connect() -> sqlite3.Connection:
    """A connection in WAL mode."""
    connection = sqlite3.connect(path)
    connection.execute("pragma journal_mode=wal")
    return connection


kept = connect()
kept.execute("create table orders (id integer primary key, body text)")
corpus.held["connect"] = 1
corpus.begin()
number = 0
while corpus.beat(10):
    number += 1
    kept.execute("insert into orders (body) values (?)", ("x" * 500,))
    kept.commit()
    reader = connect()
    reader.execute("select count(*) from orders").fetchone()
    reader.close()
    if number % 100 == 0:
        kept.execute("pragma wal_checkpoint(truncate)")
corpus.finish()
