"""Sets of sequence numbers that grow towards one range: a high-water mark and the sparse ranges above it."""

from __future__ import annotations

from collections.abc import Sequence

from fieldwatch_collector.store import MAX_SPARSE_RANGES, Held


def holds(held: Held, from_seq: int, to_seq: int) -> bool:
    """Whether every number from..to is held."""
    return to_seq <= held.high_water or any(low <= from_seq and to_seq <= high for low, high in held.also)


def overlaps(held: Held, from_seq: int, to_seq: int) -> bool:
    """Whether any number from..to is held."""
    return from_seq <= held.high_water or any(low <= to_seq and from_seq <= high for low, high in held.also)


def add(held: Held, from_seq: int, to_seq: int) -> Held | None:
    """`held` with from..to in it; None where that would need more than MAX_SPARSE_RANGES ranges."""
    if from_seq == held.high_water + 1 and not held.also:
        return Held(to_seq)
    merged: list[tuple[int, int]] = []
    for low, high in sorted([*held.also, (from_seq, to_seq)]):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    high_water = held.high_water
    while merged and merged[0][0] <= high_water + 1:
        high_water = max(high_water, merged.pop(0)[1])
    return Held(high_water, tuple(merged)) if len(merged) <= MAX_SPARSE_RANGES else None


def from_lists(high_water: int, sparse: Sequence[Sequence[int]]) -> Held:
    """From the stored form."""
    return Held(high_water, tuple((low, high) for low, high in sparse))
