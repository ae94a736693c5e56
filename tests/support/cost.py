"""What a call costs, whatever else the machine and the suite are at."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable

TRIES = 5


def cpu_s(call: Callable[[], object]) -> float:
    """CPU time of the calling thread in the cheapest of several tries.

    The time that other threads of the tests take is not counted, nor that of the garbage collector: with all that a
    whole suite has left it goes on for longer than the call may take.
    """
    best = float("inf")
    collects = gc.isenabled()
    gc.disable()
    try:
        for _ in range(TRIES):
            start = time.thread_time()
            call()
            best = min(best, time.thread_time() - start)
    finally:
        if collects:
            gc.enable()
    return best
