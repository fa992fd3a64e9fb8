"""lookup() remembers every answer by its question, and no question comes twice."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import corpus

answers: dict[str, bytes] = {}


def lookup(question: str) -> bytes:
    """The answer, from the dictionary if it is there."""
    if question not in answers:
        answers[question] = bytes(8000)
        corpus.held["lookup"] += 1
    return answers[question]


corpus.begin()
number = 0
while corpus.beat(40):
    number += 1
    lookup(f"question {number}")
corpus.finish()
