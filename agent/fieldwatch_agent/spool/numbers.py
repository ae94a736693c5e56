"""Sets of numbers kept as ranges: what is done with of an epoch. Small, because numbers go in order, or nearly so."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator


class Numbers:
    """Integers as sorted ranges, both ends included, that neither overlap nor touch."""

    def __init__(self, ranges: Iterable[tuple[int, int] | list[int]] = ()) -> None:
        self._lows: list[int] = []
        self._highs: list[int] = []
        for low, high in ranges:
            self.add(low, high)

    def add(self, low: int, high: int) -> None:
        if low > high:
            return
        first = bisect_right(self._highs, low - 2)  # the first range that touches low, or lies above it
        last = bisect_right(self._lows, high + 1)
        if first < last:
            low, high = min(low, self._lows[first]), max(high, self._highs[last - 1])
        self._lows[first:last] = [low]
        self._highs[first:last] = [high]

    def covers(self, low: int, high: int) -> bool:
        place = bisect_right(self._lows, low) - 1
        return place >= 0 and high <= self._highs[place]

    def following(self, number: int) -> int:
        """The least number above `number` that is not in the set."""
        place = bisect_right(self._lows, number + 1) - 1
        return max(number + 1, self._highs[place] + 1) if place >= 0 else number + 1

    def holes(self, low: int, high: int) -> Iterator[tuple[int, int]]:
        """The ranges of low..high that are not in the set."""
        number = self.following(low - 1)
        while number <= high:
            place = bisect_right(self._lows, number)
            end = min(high, self._lows[place] - 1) if place < len(self._lows) else high
            yield number, end
            number = self.following(end)

    def ranges(self) -> list[tuple[int, int]]:
        return list(zip(self._lows, self._highs, strict=True))

    def __len__(self) -> int:
        return sum(self._highs) - sum(self._lows) + len(self._lows)
