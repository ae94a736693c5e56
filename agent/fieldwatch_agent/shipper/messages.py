"""The wire form of what the spool holds. One message for a batch; its body is never looked into."""

from __future__ import annotations

import time
from collections.abc import Sequence

from fieldwatch_proto.columns import CODEC_MSGPACK_ZSTD
from fieldwatch_proto.schema import SCHEMA_VERSION
from fieldwatch_proto.v1 import agent_pb2
from fieldwatch_proto.version import VERSION

from fieldwatch_agent.clock import boottime_ns
from fieldwatch_agent.spool.items import Batch, Gap, StreamState

PROTOCOL = 1


def hello(streams: Sequence[StreamState], boot: bytes, buffered_bytes: int) -> agent_pb2.Up:
    return agent_pb2.Up(
        hello=agent_pb2.Hello(
            protocol=PROTOCOL,
            streams=[agent_pb2.Stream(**stream._asdict()) for stream in streams],
            schema=SCHEMA_VERSION,
            boot_id=boot,
            version=VERSION,
            buffered_bytes=buffered_bytes,
            monotonic_ns=boottime_ns(),
            wall_ns=time.time_ns(),
        )
    )


def up(item: Batch | Gap) -> agent_pb2.Up:
    if isinstance(item, Gap):
        return agent_pb2.Up(
            gap=agent_pb2.Gap(
                epoch=item.epoch,
                from_seq=item.from_seq,
                to_seq=item.to_seq,
                records=dict(item.records),
                frames=item.frames,
                reason=agent_pb2.GapReason.Name(item.reason),
                count_known=item.count_known,
                ts_ns=item.ts_ns,
                detail=item.detail,
            )
        )
    return agent_pb2.Up(
        batch=agent_pb2.Batch(
            epoch=item.epoch,
            seq=item.seq,
            kind=item.kind,
            schema=item.schema,
            records=item.records,
            t_min=item.t_min,
            t_max=item.t_max,
            codec=CODEC_MSGPACK_ZSTD,
            raw_bytes=item.raw_bytes,
            digest=item.digest,
            body=item.body,
        )
    )
