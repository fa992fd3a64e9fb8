"""Workers end after two seconds; their pipes are read and they are waited for only
in a round every fifteen seconds."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import corpus

workers: list[subprocess.Popen] = []


def start_worker() -> None:
    """A worker that prints a line and ends."""
    command = ["/bin/sh", "-c", "sleep 2; echo done"]
    workers.append(subprocess.Popen(command, stdout=subprocess.PIPE))
    corpus.held["start_worker"] += 1


def reap() -> None:
    """Takes the results of all that are over."""
    for worker in [one for one in workers if one.poll() is not None]:
        worker.stdout.read()
        worker.stdout.close()
        workers.remove(worker)
        corpus.held["start_worker"] -= 1


corpus.begin()
reaped = 0.0
while corpus.beat(2):
    start_worker()
    if corpus.elapsed() - reaped > 15:
        reaped = corpus.elapsed()
        reap()
corpus.finish()
