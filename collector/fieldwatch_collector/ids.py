"""ULIDs: ids that sort by the time they were made (48 bits of milliseconds, 80 random bits; Crockford base 32)."""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]


def new_ulid(now_ns: int | None = None) -> str:
    """26 characters."""
    milliseconds = (time.time_ns() if now_ns is None else now_ns) // 1_000_000
    number = (milliseconds & 0xFFFF_FFFF_FFFF) << 80 | int.from_bytes(os.urandom(10), "big")
    return "".join(_PAIRS[number >> shift & 0x3FF] for shift in range(120, -1, -10))
