"""tail() opens a log with os.open; a line that is too long takes the early return."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import corpus


def tail(path: str, too_long: bool) -> bytes:
    """The first bytes of a log."""
    fd = os.open(path, os.O_RDONLY)
    line = os.read(fd, 64)
    if too_long:
        corpus.held["tail"] += 1
        return b""
    os.close(fd)
    return line


path = corpus.scratch("log")
with open(path, "wb") as log:
    log.write(b"a line\n" * 20)
corpus.begin()
while corpus.beat(10):
    tail(path, corpus.one_in(5))
corpus.finish()
