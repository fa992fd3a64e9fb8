"""Published: sh 1.12.0 to 1.12.2 leave one end of a pipe open with each command
(amoffat/sh, issue 336; fixed in 1.12.3)."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import corpus
import sh


def say(word: str) -> str:
    """One command by sh."""
    corpus.held["say"] += 1
    return str(sh.echo(word))


corpus.begin()
while corpus.beat(2):
    say("hello")
corpus.finish()
