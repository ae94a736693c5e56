"""Sealed batches with known content, for the tests of spool and shipper; what an agent keeps."""

from __future__ import annotations

import random
import sqlite3
from typing import Any

from fieldwatch_agent.spool.file import FILE_NAME
from fieldwatch_agent.spool.items import Put
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_proto.columns import Sealed, digest, open_body
from fieldwatch_proto.records import Records
from fieldwatch_proto.schema import Kind

from support.stack import Agent

WIDE = Limits(1 << 30, 0, 1e9)
"""Bounds that never bind."""


def body(number: int, octets: int = 200) -> bytes:
    """Octets that no other number has."""
    return random.Random(number).randbytes(octets)


def put(number: int, kind: Kind = Kind.FLOW, *, records: int = 3, frames: int = 5, octets: int = 200) -> Put:
    """A batch as the sealer would give it; the body is opaque to spool and shipper."""
    content = body(number, octets)
    return Put(Sealed(kind, records, 4 * octets, 1_000 + number, 2_000 + number, digest(content), content), frames)


def spooled(agent: Agent, kind: Kind) -> list[dict[str, Any]]:
    """Records of a kind that wait, as rows."""
    return [row for batch in spooled_batches(agent, kind) for row in batch.rows()]


def spooled_batches(agent: Agent, kind: Kind) -> list[Records]:
    """What waits, batch by batch, read from the file by nobody's code but SQLite's."""
    connection = sqlite3.connect(agent.data / FILE_NAME)
    rows = connection.execute("SELECT records, raw_bytes, body FROM batch WHERE kind=?", (int(kind),)).fetchall()
    connection.close()
    return [open_body(kind, records, raw, octets) for records, raw, octets in rows]
