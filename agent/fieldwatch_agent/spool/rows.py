"""Rows of the spool's tables, their checksums, and what they weigh.

SQLite does not checksum its pages. A batch row carries two CRC-32 in one integer: of its numbers (upper half, 31 bits)
and of its body (lower half), so that a damaged body can still be declared lost with a count that is known.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from typing import NamedTuple
from zlib import crc32

from fieldwatch_agent.spool.items import Batch, Gap

ROW_BYTES = 256  # what a row weighs beside its body, against the bound
_HEAD = struct.Struct("<QQIIIQqqI")

BATCH_COLUMNS = "epoch, seq, kind, schema, records, frames, t_min, t_max, raw_bytes, digest, body"
HEAD_COLUMNS = "epoch, seq, kind, schema, records, frames, t_min, t_max, raw_bytes, digest, crc"
GAP_COLUMNS = "epoch, from_seq, to_seq, records, frames, reason, count_known, ts_ns, detail"


class Head(NamedTuple):
    """A batch row without its body."""

    epoch: int
    seq: int
    kind: int
    schema: int
    records: int
    frames: int
    t_min: int
    t_max: int
    raw_bytes: int
    digest: bytes
    crc: int

    @property
    def sound(self) -> bool:
        """Whether the numbers are those that were written."""
        return isinstance(self.crc, int) and self.crc >> 32 == _head_crc(*self[:10])

    @property
    def lost_records(self) -> dict[int, int]:
        return {self.kind: self.records}


def _head_crc(
    epoch: int,
    seq: int,
    kind: int,
    schema: int,
    records: int,
    frames: int,
    t_min: int,
    t_max: int,
    raw: int,
    digest: bytes,
) -> int:
    try:
        packed = _HEAD.pack(epoch, seq, kind, schema, records, frames, t_min, t_max, raw) + digest
    except (struct.error, TypeError):  # damage may leave anything in a column
        return -1
    return crc32(packed) & 0x7FFFFFFF


def batch_crc(batch: Batch) -> int:
    return _head_crc(*batch[:10]) << 32 | crc32(batch.body)


def body_sound(crc: int, body: object) -> bool:
    return isinstance(body, bytes) and crc & 0xFFFFFFFF == crc32(body)


def gap_row(gap: Gap) -> tuple[object, ...]:
    """In the order of GAP_COLUMNS, crc."""
    row = (
        gap.epoch,
        gap.from_seq,
        gap.to_seq,
        json.dumps({str(kind): count for kind, count in sorted(gap.records.items())}),
        gap.frames,
        gap.reason,
        int(gap.count_known),
        gap.ts_ns,
        gap.detail,
    )
    return (*row, _gap_crc(row))


def gap_of(row: tuple[object, ...]) -> Gap | None:
    """The gap of (GAP_COLUMNS, crc); None where the row is damaged."""
    epoch, from_seq, to_seq, records, frames, reason, count_known, ts_ns, detail, crc = row
    if crc != _gap_crc(row[:9]):
        return None
    counts = {int(kind): count for kind, count in json.loads(str(records)).items()}
    return Gap(epoch, from_seq, to_seq, counts, frames, reason, bool(count_known), ts_ns, detail)  # type: ignore[arg-type]


def _gap_crc(row: tuple[object, ...]) -> int:
    return crc32(json.dumps(row, default=str).encode())


def added(one: Mapping[int, int], other: Mapping[int, int]) -> dict[int, int]:
    """Counts per kind, summed."""
    total = dict(one)
    for kind, count in other.items():
        total[kind] = total.get(kind, 0) + count
    return total


def differences(all_of_them: Mapping[int, int], some: Mapping[int, int]) -> dict[int, int]:
    """Counts per kind beyond those in `some`."""
    left = {kind: count - some.get(kind, 0) for kind, count in all_of_them.items()}
    return {kind: count for kind, count in left.items() if count > 0}
