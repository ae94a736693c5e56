"""One call of `Ingest.Push`: what an agent says, what the store makes of it, what is answered, in this order.

Items are handed to the store in the order of arrival and answered in that order; several that are durable at once share
one Ack. What is granted is `credit`'s to say; it is told when it changes.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from fieldwatch_proto.v1 import agent_pb2 as pb
from google.protobuf.message import DecodeError

from fieldwatch_collector import clocks, faults
from fieldwatch_collector.frequent import Frequent, counted
from fieldwatch_collector.hub import Hub
from fieldwatch_collector.ingest import credit
from fieldwatch_collector.ingest.acks import Acks, Span
from fieldwatch_collector.ingest.budget import Budget
from fieldwatch_collector.ingest.checks import CODECS, MAX_BATCH_BYTES, batch_item, gap_item
from fieldwatch_collector.ingest.credit import Credit
from fieldwatch_collector.ingest.fleet import REVOKED, STOPPING, Line
from fieldwatch_collector.ingest.gate import refuse
from fieldwatch_collector.ingest.returning import Returning, stop_ms
from fieldwatch_collector.journal import record_of_agent
from fieldwatch_collector.store import BatchItem, Item, Outcome, PutResult, Store, StoreError

PROTOCOL = 1
MAX_EPOCHS = 64  # a Hello names so many streams at most
RETRY_LATER_MS = 1_000
RETRY_STORE_MS = 5_000
STREAM_AGE_S = 30 * 60.0
MOST_LATE = 4 * credit.MOST  # messages that a paused agent may send and be answered without delay
LONGEST_HOLD_S = 10.0  # of who sends on although it is paused, before the next message is read
DEAF_S = 90.0  # longer than that no answer was taken: keepalive has found nothing wrong, so the agent does not read
CLOSE_S = 4.0  # the same of a stream that is to end

_DICE = random.Random()  # noqa: S311 - spreads load

Context = grpc.aio.ServicerContext[pb.Up, pb.Down]


@dataclass(frozen=True, slots=True)
class Shared:
    """What the streams of a server have in common; `total`: octets in flight of all of them."""

    store: Store
    hub: Hub
    total: Budget
    credit: Credit
    returning: Returning
    frequent: Frequent


@dataclass(slots=True)
class _Answer:
    """What is owed for one message of the agent: words, or the outcome of a put once it is there. The put's octets are
    not held: an agent that does not read its answers would have them kept."""

    words: Sequence[pb.Down] = ()
    epoch: int = 0
    span: Span = (0, 0)
    stored: asyncio.Future[PutResult] | None = None

    @property
    def is_ready(self) -> bool:
        return self.stored is None or self.stored.done()


class _ProtocolError(Exception):
    """The agent does not keep to the protocol; the text is for it."""


class Stream:
    """One call of Push. A slot is taken for every message that is read and given back when it is answered."""

    def __init__(self, shared: Shared, agent_id: str, line: Line, context: Context) -> None:
        self._shared = shared
        self.agent_id = agent_id
        self._line = line
        self._context = context
        self._acks = Acks()
        self._allowance = shared.credit.allowance(agent_id)
        self._own = Budget(2 * credit.MOST * credit.MESSAGE_BYTES)
        self._slots = asyncio.Semaphore(2 * credit.MOST)
        self._answers: deque[_Answer] = deque()
        self._news = asyncio.Event()
        self._said_all = False
        self._granted: credit.Window | None = None  # None before the Welcome
        self._uses_it_up = False  # had as much in flight as it was granted, since it was granted
        self._late = 0  # messages that may still come to a paused agent's stream, on their way by then; < 0: too many
        self._alarmed: set[str] = set()
        self._writing_since = 0.0  # when the answer that is being written was begun; 0 = none is
        self._wall: clocks.WallClock | None = None  # the agent's, at its Hello

    async def run(self) -> None:
        """Until the agent has said all and got its answers, or the line is closed. A broken connection cancels it."""
        reading = asyncio.create_task(self._read())
        ending = asyncio.create_task(self._end_reading(reading))
        try:
            await self._send_answers()
        finally:
            reading.cancel()
            ending.cancel()
        problem = None if reading.cancelled() else reading.exception()
        if self._line.reason == REVOKED:
            await refuse(self._context)
        elif self._line.closing.is_set():
            spread = await self._shared.returning.spread_ms() if self._line.reason == STOPPING else 0
            away = pb.GoAway(reason=self._line.reason, retry_ms=stop_ms(spread, _DICE))
            await self._write(pb.Down(goaway=away))
        elif isinstance(problem, _ProtocolError):
            await self._context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(problem))
        elif problem is not None:
            raise problem

    async def _end_reading(self, reading: asyncio.Task[None]) -> None:
        """Wait until the agent has said all, the line is closed or old; then nothing more is read."""
        closing = asyncio.create_task(self._line.closing.wait())
        age_s = STREAM_AGE_S * random.uniform(0.8, 1.2)  # noqa: S311 - spreads reconnects
        try:
            await asyncio.wait({reading, closing}, timeout=age_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            closing.cancel()
        if not reading.done():
            self._line.close("the stream is old; open another")
            reading.cancel()
            await asyncio.wait({reading})
        self._said_all = True
        self._news.set()

    # From the agent ---------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            await self._read_all()
        except DecodeError:
            raise _ProtocolError("a message cannot be parsed; is this an agent, and of a version near ours?") from None

    async def _read_all(self) -> None:
        """A message is read when there is room for one like the last, and let go of before its item waits for its own.

        (gRPC's iterator of messages would keep the last one.)
        """
        greeted, cost = False, 0
        while True:
            await self._slots.acquire()
            await self._own.room(cost)
            await self._shared.total.room(cost)
            if self._late < -MOST_LATE:  # it does not keep to its pause, so the network is to hold it back
                await asyncio.sleep(min(self._allowance.wait_s(), LONGEST_HOLD_S))
            up = await self._context.read()
            if not isinstance(up, pb.Up):  # grpc.aio.EOF
                return
            which = up.WhichOneof("message")
            if which == "hello":
                if greeted:  # each names streams of which something is remembered
                    raise _ProtocolError("a stream has one Hello; open another stream")
                greeted = True
                await self._greet(up.hello)
            elif not greeted:
                raise _ProtocolError("the first message of a stream is a Hello")
            elif which == "batch":
                epoch, seq, item = up.batch.epoch, up.batch.seq, batch_item(up.batch)
                octets = len(up.batch.body)
                del up
                cost = await self._take(epoch, seq, item, octets)
            elif which == "gap":
                cost = await self._take(up.gap.epoch, up.gap.from_seq, gap_item(up.gap, self._wall, time.time_ns()))
            elif which == "bye":
                return
            else:  # a message of a later protocol: nothing is owed
                self._slots.release()

    async def _greet(self, hello: pb.Hello) -> None:
        arrived_ns = time.time_ns()
        if hello.protocol != PROTOCOL:
            raise _ProtocolError(
                f"this collector speaks protocol {PROTOCOL}, not {hello.protocol}; update the older one"
            )
        if len(hello.streams) > MAX_EPOCHS:
            raise _ProtocolError(f"a Hello names at most {MAX_EPOCHS} streams, not {len(hello.streams)}")
        try:
            held = await self._shared.store.held(self.agent_id, [stream.epoch for stream in hello.streams])
        except StoreError as problem:
            await self._context.abort(grpc.StatusCode.UNAVAILABLE, str(problem))
        await self._measure_clock(hello, arrived_ns)
        have = self._acks.greet(hello.streams, held)
        spread_ms = await self._shared.returning.spread_ms()
        nacks = []
        for stream in hello.streams:
            highest = held[stream.epoch].highest
            if highest >= stream.next_seq:
                nacks.append(pb.Down(nack=pb.Nack(epoch=stream.epoch, seq=highest, code=pb.ROLLED_BACK)))
                await self._alarm("agent.rolled_back", {"next_seq": stream.next_seq, "held": highest})
        # From here to the answer nothing is waited for: no Credit may come before the Welcome.
        messages, octets = self._granted = self._shared.credit.window(self._allowance)
        self._late = messages
        self._shared.credit.told(self, self._granted)
        welcome = pb.Welcome(
            have=have,
            window_messages=messages,
            window_bytes=octets,
            max_batch_bytes=MAX_BATCH_BYTES,
            codecs=CODECS,
            server_wall_ns=time.time_ns(),
            return_spread_ms=spread_ms,
        )
        self._owe(_Answer([pb.Down(welcome=welcome), *nacks]))

    async def _measure_clock(self, hello: pb.Hello, arrived_ns: int) -> None:
        """Before any batch of the session is taken: they are corrected by it."""
        if (taken := clocks.measured(hello, arrived_ns)) is None:
            return
        store = self._shared.store
        with contextlib.suppress(StoreError):  # the store says so itself; what was known of the clock holds
            if await asyncio.to_thread(self._compare_clock, hello, taken):
                await store.transact(lambda connection: clocks.remember(connection, self.agent_id, taken))

    def _compare_clock(self, hello: pb.Hello, taken: clocks.Measurement) -> bool:
        """Whether the measurement is news."""
        with self._shared.store.reader() as connection:
            self._wall = clocks.wall_clock(connection, self.agent_id, hello, taken.at_ns)
            return clocks.is_news(connection, self.agent_id, taken)

    async def _take(self, epoch: int, seq: int, item: Item | pb.NackCode, octets: int = 0) -> int:
        """What it costs of the budgets; `octets`: of what is no item."""
        credit_ = self._shared.credit
        credit_.pushes(self)
        if isinstance(item, int):
            if self._allowance.wait_s() > 0:
                self._late -= 1
            self._count_refused(octets)
            self._refuse(epoch, seq, item)
            return 0
        cost = item.cost_bytes
        if (wait_s := self._allowance.wait_s()) > 0:
            self._late -= 1
            if self._late < 0:
                self._count_refused(cost)
                self._refuse(epoch, seq, pb.OVER_QUOTA, int(wait_s * 1_000) + 1)
                return cost
        if isinstance(item, BatchItem):
            self._allowance.take(item.records, cost)
        else:
            self._allowance.take(0, cost, singles=1)
        await self._own.take(cost)
        await self._shared.total.take(cost)
        try:
            stored = self._shared.store.submit(self.agent_id, [item])
        except StoreError:  # the collector stops
            self._give(cost)
            self._refuse(epoch, seq, pb.RETRY, RETRY_STORE_MS)
            return cost
        stored.add_done_callback(lambda done: self._committed(done, cost))
        self._owe(_Answer(epoch=item.epoch, span=item.span, stored=stored))
        if self._granted is not None and 0 < self._granted[0] <= len(self._answers):
            self._uses_it_up = True
        return cost

    def _count_refused(self, octets: int) -> None:
        """It has cost the way and the look at it; a large one counts as the messages that a window has for it."""
        self._allowance.take(0, octets, singles=1)
        if self._late < 0:
            self._late -= octets // credit.MESSAGE_BYTES

    def _committed(self, stored: asyncio.Future[PutResult], cost: int) -> None:
        self._give(cost)
        if not stored.cancelled() and stored.exception() is None and (events := stored.result().events):
            self._shared.hub.publish([dict(event) for event in events])
        self._news.set()

    def _give(self, cost: int) -> None:
        self._own.give(cost)
        self._shared.total.give(cost)

    def _refuse(self, epoch: int, seq: int, code: pb.NackCode, retry_ms: int = 0) -> None:
        self._owe(_Answer([pb.Down(nack=pb.Nack(epoch=epoch, seq=seq, code=code, retry_ms=retry_ms))]))

    def _owe(self, answer: _Answer) -> None:
        self._answers.append(answer)
        self._news.set()

    # To the agent -----------------------------------------------------------------------------------------------

    def look_again(self) -> None:
        """The window may be another now."""
        if self._granted is not None and self._window() != self._granted:
            self._news.set()

    async def _send_answers(self) -> None:
        while self._answers or not self._said_all:
            await self._news.wait()
            self._news.clear()
            while self._answers and self._answers[0].is_ready:
                await self._send_ready()
            await self._grant()

    async def _send_ready(self) -> None:
        """The answer that is due next, and with it the puts behind it that are done."""
        first = self._answers[0]
        if first.stored is None:
            self._answers.popleft()
            for down in first.words:
                await self._write(down)
            self._slots.release()
            return
        ready = []
        while self._answers and (put := self._answers[0].stored) is not None and put.done():
            ready.append(self._answers.popleft())
        await self._answer_puts(ready)

    async def _answer_puts(self, answers: Sequence[_Answer]) -> None:
        """One Ack per epoch for all that is held, and a Nack for each item that is not."""
        durable = []
        nacks = []
        for answer in answers:
            assert answer.stored is not None
            code, retry_ms = _verdict(answer.stored)
            if code is None:
                durable.append(answer)
                continue
            seq = answer.span[0]
            nacks.append(pb.Down(nack=pb.Nack(epoch=answer.epoch, seq=seq, code=code, retry_ms=retry_ms)))
            if code == pb.CONFLICT:
                await self._alarm("agent.conflict", {"seq": seq})
        for nack in nacks:
            await self._write(nack)
        if durable:
            faults.reach("ack-before-send")
        for ack in self._acks.confirm(durable):
            await self._write(pb.Down(ack=ack))
        for _ in answers:
            self._slots.release()

    def _window(self) -> credit.Window:
        return self._shared.credit.window(self._allowance, uses_it_up=self._uses_it_up)

    async def _grant(self) -> None:
        """Say what the agent may have in flight from now on, where that is another window than before."""
        if self._granted is None or (window := self._window()) == self._granted:
            return
        if window != credit.PAUSE:
            self._late = max(window[0], self._granted[0])
        self._shared.credit.told(self, window)
        self._granted = window
        self._uses_it_up = window[0] > credit.USUAL
        await self._write(pb.Down(credit=pb.Credit(window_messages=window[0], window_bytes=window[1])))

    async def _write(self, down: pb.Down) -> None:
        self._writing_since = time.monotonic()
        await self._context.write(down)
        self._writing_since = 0.0

    @property
    def peer(self) -> str:
        """Who is at the other end of the connection, as gRPC names it."""
        return str(self._context.peer())

    def is_deaf(self, now: float) -> bool:
        """Whether an answer has waited too long for the agent to read; `now` is of the monotonic clock."""
        patience_s = CLOSE_S if self._line.closing.is_set() else DEAF_S
        return self._writing_since > 0.0 and now - self._writing_since > patience_s

    async def _alarm(self, type_: str, data: dict[str, Any]) -> None:
        """An event for people, once a stream at most."""
        if type_ in self._alarmed:
            return
        self._alarmed.add(type_)
        times = self._shared.frequent.due(self.agent_id, type_)
        if not times:
            return
        data = {**data, **counted(times)}
        try:
            event = await self._shared.store.transact(
                lambda connection: record_of_agent(connection, type_, self.agent_id, data)
            )
        except StoreError:
            return  # the store says so itself
        self._shared.hub.publish([event])


def _verdict(stored: asyncio.Future[PutResult]) -> tuple[pb.NackCode | None, int]:
    """(None, 0) where the item is durable, else (code, pause before the next try)."""
    if stored.cancelled() or isinstance(stored.exception(), StoreError):
        return pb.RETRY, RETRY_STORE_MS
    outcome = stored.result().outcomes[0]
    if outcome is Outcome.CONFLICT:
        return pb.CONFLICT, 0
    if outcome is Outcome.LATER:
        return pb.RETRY, RETRY_LATER_MS
    return None, 0
