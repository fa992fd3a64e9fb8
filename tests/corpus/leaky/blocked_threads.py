"""watch() starts a thread that waits for the end of its job. Of a job that is
dropped nobody tells it, so the thread waits for ever."""

import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import corpus

threading.stack_size(256 * 1024)


def watch() -> tuple[threading.Event, threading.Thread]:
    """The event that ends the thread, and the thread."""
    done = threading.Event()
    thread = threading.Thread(target=done.wait, daemon=True)
    thread.start()
    return done, thread


corpus.begin()
while corpus.beat(6):
    done, thread = watch()
    if corpus.one_in(4):
        corpus.held["watch"] += 1
        continue
    done.set()
    thread.join()
corpus.finish()
