"""Damage for octets that were right."""

from __future__ import annotations

import random


def mutate(dice: random.Random, octets: bytes) -> bytes:
    """Flip, set, cut, repeat or splice a few times; length fields at their edges come by the interesting values."""
    data = bytearray(octets)
    for _ in range(dice.choice((1, 1, 2, 3, 8))):
        place = dice.randrange(len(data) + 1)
        match dice.randrange(7):
            case 0 if data:
                data[place % len(data)] ^= 1 << dice.randrange(8)
            case 1 if data:
                data[place % len(data)] = dice.choice((0, 1, 0x7F, 0x80, 0xC0, 0xFF))
            case 2:
                data[place : place + 2] = dice.choice((b"\0\0", b"\0\1", b"\xff\xff", b"\xc0\x0c", b"\x7f\xff"))
            case 3:
                del data[place:]
            case 4:
                del data[place : place + dice.randrange(1, 9)]
            case 5:
                data[place:place] = data[place : place + dice.randrange(1, 33)]
            case _:
                data[place:place] = dice.randbytes(dice.randrange(1, 9))
    return bytes(data[:65_535])
