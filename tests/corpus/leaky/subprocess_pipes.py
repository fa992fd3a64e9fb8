"""version_of() reads one line of a command's output. It keeps the Popen of a
command that failed, and with it the pipe (and the zombie)."""

import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import corpus

failed = []


def version_of(command: str) -> bytes:
    """The first line that it prints."""
    child = subprocess.Popen(["/bin/sh", "-c", command], stdout=subprocess.PIPE)
    line = child.stdout.readline()
    if not line:
        failed.append(child)
        corpus.held["version_of"] += 1
        return b""
    child.stdout.close()
    child.wait()
    return line


corpus.begin()
while corpus.beat(4):
    version_of("exit 1" if corpus.one_in(3) else "echo 1.0")
corpus.finish()
