"""Pauses between tries: exponential with full jitter, so that a fleet never comes back in step.

The collector may say over how long its agents shall be spread: then the first bounds are not shorter than that, for a
collector that was killed cannot send each agent away with a time of its own.
"""

from __future__ import annotations

import random


class Backoff:
    """`next` gives a random pause up to a bound that doubles; `reset` after an ack, never before.

    `spread_s`: the least bound, as the newest Welcome says; in force until the next one.
    """

    def __init__(self, min_s: float = 1.0, max_s: float = 300.0, dice: random.Random | None = None) -> None:
        self._min_s, self._max_s = min_s, max(min_s, max_s)
        self._given_dice = dice
        self._tries = 0
        self.spread_s = 0.0

    def next(self) -> float:
        bound = min(self._max_s, max(self.spread_s, self._min_s * 2.0 ** min(self._tries, 40)))
        self._tries += 1
        return self._dice.uniform(0.0, bound)

    def slowest(self) -> float:
        """For what will hardly mend itself: near the longest pause."""
        return self._dice.uniform(self._max_s / 2, self._max_s)

    @property
    def _dice(self) -> random.Random:
        """Made with the first pause: until then the daemon does without `random` (see `lean`)."""
        return self._given_dice or random.SystemRandom()

    def reset(self) -> None:
        self._tries = 0
