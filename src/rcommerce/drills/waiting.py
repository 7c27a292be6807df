"""What drills wait for."""

import time
from collections.abc import Callable

EVERY_S = 0.1


def until(is_so: Callable[[], bool], timeout_s: float) -> bool:
    """Waits until something is so; whether it was in time."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(EVERY_S)
    return True
