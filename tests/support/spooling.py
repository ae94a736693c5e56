"""Sealed batches with known content, for the tests of spool and shipper."""

from __future__ import annotations

import random

from fieldwatch_agent.spool.items import Put
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_proto.columns import Sealed, digest
from fieldwatch_proto.schema import Kind

WIDE = Limits(1 << 30, 0, 1e9)
"""Bounds that never bind."""


def body(number: int, octets: int = 200) -> bytes:
    """Octets that no other number has."""
    return random.Random(number).randbytes(octets)


def put(number: int, kind: Kind = Kind.FLOW, *, records: int = 3, frames: int = 5, octets: int = 200) -> Put:
    """A batch as the sealer would give it; the body is opaque to spool and shipper."""
    content = body(number, octets)
    return Put(Sealed(kind, records, 4 * octets, 1_000 + number, 2_000 + number, digest(content), content), frames)
