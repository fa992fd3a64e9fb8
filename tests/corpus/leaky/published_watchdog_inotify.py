"""Published: watchdog 0.8.0 does not close the inotify descriptor of an observer
that was stopped (gorakhargosh/watchdog, issue 257; fixed in 0.8.1)."""

import collections
import collections.abc
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import corpus

# Two names that Python 3.10 took away and this old release still uses.
collections.MutableSet = collections.abc.MutableSet

from watchdog.events import FileSystemEventHandler
from watchdog.observers import Observer


def watch_for_a_while(folder: str) -> None:
    """An observer from start to stop."""
    observer = Observer()
    observer.schedule(FileSystemEventHandler(), folder)
    observer.start()
    observer.stop()
    # Its reader waits in read(2) until something happens in the folder.
    with open(os.path.join(folder, "wake"), "wb") as file:
        file.write(b"x")
    observer.join()
    corpus.held["watch_for_a_while"] += 1


folder = os.path.dirname(corpus.scratch("x"))
corpus.begin()
while corpus.beat(0.7):
    watch_for_a_while(folder)
corpus.finish()
