"""What is checked of a message before anything in it is decoded: sizes, counts, codec, digest.

A refused batch gets a NackCode: TOO_BIG and SCHEMA are permanent, resending the same octets changes nothing. An unknown
kind is kept raw: a later collector may know it.
"""

from __future__ import annotations

from fieldwatch_proto.columns import CODEC_MSGPACK_ZSTD, MAX_RAW_BYTES, MAX_RECORDS, digest
from fieldwatch_proto.schema import ClockQuality
from fieldwatch_proto.v1 import agent_pb2 as pb

from fieldwatch_collector.clocks import WallClock
from fieldwatch_collector.store import MAX_SEQ, BatchItem, GapItem

MAX_BATCH_BYTES = 4 << 20
CODECS = (CODEC_MSGPACK_ZSTD,)
MAX_GAP_KINDS = 64
MAX_DETAIL = 512
MAX_COUNT = (1 << 53) - 1


def batch_item(batch: pb.Batch) -> BatchItem | pb.NackCode:
    """The item to store, or the NackCode."""
    if len(batch.body) > MAX_BATCH_BYTES or batch.raw_bytes > MAX_RAW_BYTES or batch.records > MAX_RECORDS:
        return pb.TOO_BIG
    if (
        not 0 < batch.seq <= MAX_SEQ
        or batch.records == 0
        or batch.kind == 0
        or batch.codec not in CODECS
        or not batch.body
        or digest(batch.body) != batch.digest
    ):
        return pb.SCHEMA
    return BatchItem(
        epoch=batch.epoch,
        seq=batch.seq,
        kind=batch.kind,
        schema=batch.schema,
        codec=batch.codec,
        records=batch.records,
        raw_bytes=batch.raw_bytes,
        t_min=batch.t_min,
        t_max=batch.t_max,
        digest=batch.digest,
        body=batch.body,
    )


def gap_item(gap: pb.Gap, wall: WallClock | None, received_ns: int) -> GapItem | pb.NackCode:
    """The item to store, or the NackCode. `wall`: the agent's wall clock; None = it told nothing of it."""
    if not 0 < gap.from_seq <= gap.to_seq <= MAX_SEQ or len(gap.records) > MAX_GAP_KINDS:
        return pb.SCHEMA
    ts_ns, clock = wall.taken(gap.ts_ns, received_ns) if wall is not None else (gap.ts_ns, ClockQuality.UNKNOWN)
    return GapItem(
        epoch=gap.epoch,
        from_seq=gap.from_seq,
        to_seq=gap.to_seq,
        records={kind: min(count, MAX_COUNT) for kind, count in gap.records.items()},
        frames=min(gap.frames, MAX_COUNT),
        reason=gap.reason,
        count_known=gap.count_known,
        ts_ns=ts_ns,
        detail=gap.detail[:MAX_DETAIL],
        clock=clock,
    )
