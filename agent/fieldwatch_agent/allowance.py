"""How much a stranger may ask for: a bucket of tokens that fills with time, as in RFC 2697 (one rate, one burst)."""

from __future__ import annotations

import time
from collections.abc import Callable


class Allowance:
    """`spend` gives the seconds to wait before the next, `take` whether there was one, `earn` gives something back.
    Used by one thread.
    """

    def __init__(self, burst: float, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._burst, self._per_s, self._clock = burst, per_s, clock
        self._left, self._at = burst, clock()

    def earn(self, tokens: float = 1.0) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + tokens + (now - self._at) * self._per_s)
        self._at = now

    def spend(self, tokens: float = 1.0) -> float:
        self.earn(0.0)
        self._left -= tokens
        return max(0.0, -self._left / self._per_s)

    def take(self) -> bool:
        """Spend one if it is there."""
        self.earn(0.0)
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
