"""How often what one agent does is an event of one type: the table of events only grows, and people read it.

So many at once, then one in `EVERY_S`; what had none of its own is counted in the next one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

AT_ONCE = 20
EVERY_S = 60.0
MAX_KEYS = 10_000  # remembered; beyond it the one that was told longest ago begins anew


@dataclass(slots=True)
class _Told:
    left: float
    seen: float
    times: int = 0  # since it was told last


class Frequent:
    """For one thread."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told: dict[tuple[str, str], _Told] = {}

    def due(self, agent: str, type_: str) -> int:
        """How often it happened since it was last told, where it is to be told now; 0 = it is not."""
        now = self._clock()
        told = self._told.pop((agent, type_), None) or _Told(AT_ONCE, now)
        self._told[agent, type_] = told
        if len(self._told) > MAX_KEYS:
            del self._told[next(iter(self._told))]
        told.left = min(AT_ONCE, told.left + (now - told.seen) / EVERY_S)
        told.seen = now
        told.times += 1
        if told.left < 1:
            return 0
        told.left -= 1
        times, told.times = told.times, 0
        return times


def counted(times: int) -> dict[str, int]:
    """For the data of an event: how often, where that is not once."""
    return {"times": times} if times > 1 else {}
