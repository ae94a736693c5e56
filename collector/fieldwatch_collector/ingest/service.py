"""Ingest.Push: a stream of batches from one agent, acked after their commit.

Life of a stream (`stream.py`): Hello -> Welcome (what we hold, the window) -> batches and gaps, each answered by an Ack
that covers it or by a Nack -> Bye, or a GoAway of ours.

Bounded: what one agent may have in flight (twice the largest window), and what all may have together (`TOTAL_BYTES`).
Beyond that nothing more is read, so that HTTP/2 holds the sender back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from itertools import count

import grpc.aio
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc

from fieldwatch_collector.config import Limits
from fieldwatch_collector.frequent import Frequent
from fieldwatch_collector.hub import Hub
from fieldwatch_collector.ingest import credit
from fieldwatch_collector.ingest.alarm import LOOK_EVERY_S as ALARM_EVERY_S
from fieldwatch_collector.ingest.alarm import StoreAlarm
from fieldwatch_collector.ingest.budget import Budget
from fieldwatch_collector.ingest.credit import Credit
from fieldwatch_collector.ingest.fleet import Fleet
from fieldwatch_collector.ingest.gate import Gate
from fieldwatch_collector.ingest.returning import Returning
from fieldwatch_collector.ingest.stream import Context, Shared, Stream
from fieldwatch_collector.store import Store

TOTAL_BYTES = 64 << 20
LOOKS_AN_ALARM = round(ALARM_EVERY_S / credit.LOOK_EVERY_S)

log = get_logger(__name__)


class IngestService(agent_pb2_grpc.IngestServicer):
    """One per server."""

    def __init__(
        self, store: Store, hub: Hub, fleet: Fleet, gate: Gate, limits: Limits, cut: Callable[[str, str, str], None]
    ) -> None:
        """`cut` ends the connection of a peer: its name, the agent, and why."""
        self._cut = cut
        self._streams: set[Stream] = set()
        self._fleet = fleet
        self._gate = gate
        total = Budget(TOTAL_BYTES)
        self._credit = Credit(store, total, limits)
        self._shared = Shared(store, hub, total, self._credit, Returning(store), Frequent())
        self._alarm = StoreAlarm(store, hub)

    async def Push(self, request_iterator: AsyncIterator[pb.Up], context: Context) -> None:  # noqa: N802 - gRPC's name
        agent_id = await self._gate.admit(context, request_iterator)
        with self._fleet.line(agent_id) as line:
            stream = Stream(self._shared, agent_id, line, context)
            self._streams.add(stream)
            try:
                # InternalError: the connection broke while an answer was written, and nobody is there to be told.
                with self._credit.following(stream), contextlib.suppress(grpc.aio.InternalError):
                    await stream.run()
            finally:
                self._streams.discard(stream)

    async def watch(self) -> None:
        """Beside the streams, until it is cancelled: windows follow the time, people hear of a store in trouble."""
        for turn in count():
            try:
                self._credit.look()
                if turn % LOOKS_AN_ALARM == 0:
                    self._end_deaf()
                    await self._alarm.look()
            except Exception:
                log.exception("looking after the windows failed; trying again")
            await asyncio.sleep(credit.LOOK_EVERY_S)

    def _end_deaf(self) -> None:
        """A call ends when its answers are written, and an agent that reads none would hold it for ever."""
        now = time.monotonic()
        for stream in [stream for stream in self._streams if stream.is_deaf(now)]:
            self._cut(stream.peer, stream.agent_id, "the agent reads no answers")
