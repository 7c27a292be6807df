"""Waiting for conditions."""

import time
from collections.abc import Callable

EVERY_S = 0.1


def until(is_so: Callable[[], bool], timeout_s: float) -> bool:
    """Waits until a condition holds; returns whether it did in time."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(EVERY_S)
    return True
