"""Pauses between tries: exponential with full jitter, so that a fleet never comes back in step."""

from __future__ import annotations

import random


class Backoff:
    """`next` gives a random pause up to a bound that doubles; `reset` after an ack, never before."""

    def __init__(self, min_s: float = 1.0, max_s: float = 300.0, dice: random.Random | None = None) -> None:
        self._min_s, self._max_s = min_s, max(min_s, max_s)
        self._given_dice = dice
        self._tries = 0

    def next(self) -> float:
        bound = min(self._max_s, self._min_s * 2.0 ** min(self._tries, 40))
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
