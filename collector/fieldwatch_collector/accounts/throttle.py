"""Failed logins, counted per name and per address in a table of bounded size.

After `FREE_FAILURES` failures each further one doubles the wait, up to `MAX_WAIT_S`; `FORGET_S` without a failure
forget them. Keys are chosen by strangers: the table holds `MAX_KEYS`, the oldest go first.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

FREE_FAILURES = 5
FIRST_WAIT_S = 2.0
MAX_WAIT_S = 60.0  # a stranger who guesses at a name must not lock its owner out for long
FORGET_S = 900.0
MAX_KEYS = 10_000


class Throttle:
    """Thread-safe. A key is any text, such as ``name:chief`` or ``address:192.0.2.1``."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, max_keys: int = MAX_KEYS) -> None:
        self._clock = clock
        self._max_keys = max_keys
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()  # key -> (failures, time of the last)

    def wait_s(self, keys: Iterable[str]) -> float:
        """Seconds until the next attempt of any of the keys counts; 0 = now."""
        with self._lock:
            return max((self._left(key) for key in keys), default=0.0)

    def fail(self, keys: Iterable[str]) -> None:
        """Count a failure of each key."""
        now = self._clock()
        with self._lock:
            for key in keys:
                failures, last = self._failures.pop(key, (0, now))
                if now - last > FORGET_S:
                    failures = 0
                self._failures[key] = (failures + 1, now)
                if len(self._failures) > self._max_keys:
                    self._failures.popitem(last=False)

    def succeed(self, keys: Iterable[str]) -> None:
        """Forget the failures of each key."""
        with self._lock:
            for key in keys:
                self._failures.pop(key, None)

    def __len__(self) -> int:
        return len(self._failures)

    def _left(self, key: str) -> float:
        failures, last = self._failures.get(key, (0, 0.0))
        return max(0.0, last + _wait(failures) - self._clock())


def _wait(failures: int) -> float:
    beyond = failures - FREE_FAILURES
    return 0.0 if beyond < 0 else min(MAX_WAIT_S, FIRST_WAIT_S * 2.0 ** min(beyond, 20))
