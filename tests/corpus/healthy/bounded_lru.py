"""functools.lru_cache with 1500 places, which are full after half a minute."""

import functools
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../lib"))
import corpus


@functools.lru_cache(maxsize=1500)
def rendered(number: int) -> bytes:
    """A page."""
    return bytes(12000)


corpus.begin()
while corpus.beat(60):
    rendered(corpus.roll() % 50000)
    corpus.held["rendered"] = rendered.cache_info().currsize
corpus.finish()
