"""How the fixed-width values of one column become octets that compress well, and values again.

Numbers of one column are alike in their high octets and random in their low ones. Kept apart (`planes`), the alike ones
cost next to nothing and do not spoil the statistics of the others; planes that are all zero at the high end are left
out. Everything here is exact, and costs a decoder no more than the column that it asks for.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from itertools import accumulate
from operator import sub


def planes(data: bytes, width: int) -> list[bytes]:
    """The first octet of each value, then the second of each, and so on, without the zeros at the high end."""
    found = [data[place::width] for place in range(width)]
    while found and not any(found[-1]):
        found.pop()
    return found


def from_planes(octets: bytes, width: int, count: int) -> bytes:
    """`count` values of `width` octets. ValueError where the octets are no whole planes, or too many."""
    kept, rest = divmod(len(octets), count)
    if rest or kept > width:
        raise ValueError(f"{len(octets)} octets are no planes of {count} values")
    data = bytearray(width * count)
    for place in range(kept):
        data[place::width] = octets[place * count : (place + 1) * count]
    return bytes(data)


def steps(data: bytes) -> list[bytes]:
    """i64 values as their first (8 octets) and the planes of the differences between neighbours.

    A difference d >= 0 is 2d, one below is 2|d| - 1, so that small ones have small octets. OverflowError where one
    needs more than 64 bits.
    """
    values = array("q", data)
    zigzag = [(step << 1) ^ (step >> 63) for step in map(sub, values[1:], values)]
    return [data[:8], *planes(array("Q", zigzag).tobytes(), 8)]


def from_steps(octets: bytes, count: int) -> bytes:
    """The i64 values of `steps`, two at least. ValueError or ArithmeticError where there are none."""
    if len(octets) < 8:
        raise ValueError("no first value")
    first = int.from_bytes(octets[:8], "little", signed=True)
    zigzag = array("Q", from_planes(octets[8:], 8, count - 1))
    return array("q", accumulate([(step >> 1) ^ -(step & 1) for step in zigzag], initial=first)).tobytes()


def places(data: bytes, width: int) -> tuple[bytes, list[int]]:
    """The distinct values in the order in which they come first, and the place of each row's value among them."""
    known: dict[bytes, int] = {}
    values = [data[start : start + width] for start in range(0, len(data), width)]
    rows = [known.setdefault(value, len(known)) for value in values]
    return b"".join(known), rows


def from_places(table: bytes, width: int, rows: Sequence[int]) -> bytes:
    """The values of `places`. IndexError where a place has none."""
    known = [table[start : start + width] for start in range(0, len(table), width)]
    return b"".join([known[row] for row in rows])
