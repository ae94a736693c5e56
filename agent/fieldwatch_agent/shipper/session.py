"""One stream with the collector, from Hello to its end.

Two threads meet in the inbox: gRPC's reader puts what the collector says into it, the session's own thread takes it out
and sends. The order: Hello -> Welcome (what the collector has is deleted at once) -> batches and gaps, oldest first, as
many as the window allows -> acks, nacks, credit. An item leaves the spool only when its ack is here.

What the collector has may be more than this agent ever gave: then the spool's file is an older copy (a restored card).
Nothing is deleted on its word for that epoch; everything is sent and told apart by its digest, and new seals get
numbers of a new epoch.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import grpc
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1 import agent_pb2, agent_pb2_grpc

from fieldwatch_agent import faults
from fieldwatch_agent.shipper.errors import ShipError, explain
from fieldwatch_agent.shipper.messages import hello, up
from fieldwatch_agent.shipper.window import Flight, Window
from fieldwatch_agent.spool.items import START, Batch, Place
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread

WELCOME_TIMEOUT_S = 30.0
ACK_TIMEOUT_S = 120.0
FINISH_S = 2.0
MIN_RETRY_S = 0.01
REFUSED_GAP_S = 60.0

log = get_logger(__name__)

Inbox = queue.SimpleQueue[agent_pb2.Down | BaseException | None]


class Session:
    """`run` returns when told to stop or to go away; raises ShipError when the stream fails."""

    def __init__(
        self,
        channel: grpc.Channel,
        address: str,
        spool: SpoolThread,
        boot: bytes,
        *,
        stopping: threading.Event,
        on_welcome: Callable[[], None],
        on_ack: Callable[[], None],
        alarm: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self.retry_s: float | None = None
        """The pause that the collector asked for when it sent us away."""
        self._channel, self._address, self._spool, self._boot = channel, address, spool, boot
        self._stopping, self._on_welcome, self._on_ack, self._alarm = stopping, on_welcome, on_ack, alarm
        self._inbox: Inbox = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[agent_pb2.Up | None] = queue.SimpleQueue()
        self._window = Window()
        self._place: Place = START
        self._more = True  # the spool may hold what was not leased yet
        self._leaving = False
        self._rolled_back: set[int] = set()

    def wake(self) -> None:
        """The spool holds something new, or it is time to stop."""
        self._more = True
        self._inbox.put(None)

    def run(self) -> None:
        call = agent_pb2_grpc.IngestStub(self._channel).Push(self._requests())  # type: ignore[no-untyped-call]
        reader = threading.Thread(target=self._read, args=(call,), name="shipper reader", daemon=True)
        reader.start()
        try:
            self._greet()
            self._work()
            self._outbox.put(agent_pb2.Up(bye=agent_pb2.Bye(reason="stop" if self._stopping.is_set() else "go away")))
        except grpc.RpcError as problem:
            raise explain(problem, self._address) from None
        finally:
            self._outbox.put(None)
            if not self._leaving:
                call.cancel()
            reader.join(FINISH_S)
            call.cancel()

    def _requests(self) -> Iterator[agent_pb2.Up]:
        while (message := self._outbox.get()) is not None:
            yield message

    def _read(self, call: Any) -> None:
        try:
            for down in call:
                self._inbox.put(down)
            self._inbox.put(ShipError(f"{self._address}: the collector closed the stream", permanent=False))
        except grpc.RpcError as problem:
            self._inbox.put(problem)

    def _next(self, timeout: float | None) -> agent_pb2.Down | None:
        """What the collector said; None when woken, or when the time is over."""
        try:
            found = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(found, BaseException):
            raise found
        return found

    # --- the conversation ---------------------------------------------------------------------------------------

    def _greet(self) -> None:
        streams, buffered = self._spool.call(lambda store: (store.streams(), store.status().body_bytes))
        self._outbox.put(hello(streams, self._boot, buffered))
        deadline = time.monotonic() + WELCOME_TIMEOUT_S
        while True:
            if self._stopping.is_set():
                self._leaving = True
                return
            if time.monotonic() > deadline:
                raise ShipError(f"{self._address}: the collector did not answer the greeting", permanent=False)
            down = self._next(max(MIN_RETRY_S, deadline - time.monotonic()))
            if down is None:
                continue
            if down.WhichOneof("message") == "welcome":
                break
            self._hear(down)
            if self._leaving:
                return
        welcome = down.welcome
        self._window.grant(welcome.window_messages, welcome.window_bytes)
        next_seqs = {stream.epoch: stream.next_seq for stream in streams}
        for have in welcome.have:
            also = [(part.from_seq, part.to_seq) for part in have.also]
            newest = max([have.upto, *(high for _, high in also)])
            if have.epoch in next_seqs and newest >= next_seqs[have.epoch]:
                self._roll_back(have.epoch, newest)
            elif have.epoch in next_seqs:
                self._spool.ack(have.epoch, have.upto, also)
        self._on_welcome()

    def _work(self) -> None:
        heard = time.monotonic()
        while not (self._leaving or self._stopping.is_set()):
            self._resend()
            self._send()
            down = self._next(self._pause(heard))
            now = time.monotonic()
            if down is not None:
                heard = now
                self._hear(down)
            elif len(self._window) == 0 or self._window.paused or self._window.next_due() is not None:
                heard = now
            elif now - heard > ACK_TIMEOUT_S:
                raise ShipError(f"{self._address}: no ack for {ACK_TIMEOUT_S:.0f} s", permanent=False)
        deadline = time.monotonic() + FINISH_S
        self._leaving = True
        while len(self._window) and time.monotonic() < deadline:  # acks that are on their way
            down = self._next(max(MIN_RETRY_S, deadline - time.monotonic()))
            if down is not None:
                self._hear(down)
            if self._window.next_due() is not None:
                break

    def _pause(self, heard: float) -> float | None:
        due = self._window.next_due()
        if due is not None and not self._window.paused:
            return max(MIN_RETRY_S, due - time.monotonic())
        if len(self._window):
            return max(MIN_RETRY_S, heard + ACK_TIMEOUT_S - time.monotonic())
        return None

    def _send(self) -> None:
        while self._more:
            messages, octets = self._window.room()
            if self._rolled_back and len(self._window):
                messages = 0  # one at a time, see `_acked`
            if not messages:
                return
            self._more = False  # before the look: what comes after it sets it again
            most = 1 if self._rolled_back else messages
            items = self._spool.call(partial(Store.lease, after=self._place, max_items=most, max_bytes=octets))
            for found, item in items:
                size = len(item.body) if isinstance(item, Batch) else 0
                self._more = True
                if size > self._window.octets - self._window.in_flight_bytes and len(self._window):
                    return  # it waits for room; leased again then
                self._place = found
                self._outbox.put(self._window.add(item, up(item)).message)
                faults.reach("send-before-ack")

    def _resend(self) -> None:
        if self._window.paused:
            return
        for flight in self._window.due(time.monotonic()):
            flight.due = None
            self._outbox.put(flight.message)

    # --- what the collector says --------------------------------------------------------------------------------

    def _hear(self, down: agent_pb2.Down) -> None:
        said = down.WhichOneof("message")
        if said == "ack":
            self._acked(down.ack)
        elif said == "nack":
            self._nack(down.nack)
        elif said == "credit":
            self._window.grant(down.credit.window_messages, down.credit.window_bytes)
        elif said == "goaway":
            log.info("the collector asks to come back later", reason=down.goaway.reason[:200])
            self.retry_s = down.goaway.retry_ms / 1000
            self._leaving = True

    def _acked(self, ack: agent_pb2.Ack) -> None:
        also = [(part.from_seq, part.to_seq) for part in ack.also]
        flights = self._window.ack(ack.epoch, ack.upto, also)
        if ack.epoch in self._rolled_back:
            # Its high-water mark covers numbers that it never compared: only what was in flight (one) counts.
            self._spool.ack(ack.epoch, 0, [(flight.from_seq, flight.to_seq) for flight in flights])
        else:
            self._spool.ack(ack.epoch, ack.upto, also)
        self._on_ack()

    def _nack(self, nack: agent_pb2.Nack) -> None:
        if nack.code == agent_pb2.ROLLED_BACK:
            self._roll_back(nack.epoch, nack.seq)
        flight = self._window.get(nack.epoch, nack.seq)
        if flight is None:
            return
        if nack.code == agent_pb2.CONFLICT:
            self._relabel(flight)
        elif nack.code in (agent_pb2.TOO_BIG, agent_pb2.SCHEMA):
            self._refused(flight, agent_pb2.NackCode.Name(nack.code))
        else:  # RETRY, OVER_QUOTA, ROLLED_BACK, and what later versions may say: the batch itself is fine
            flight.due = time.monotonic() + max(MIN_RETRY_S, nack.retry_ms / 1000)

    def _relabel(self, flight: Flight) -> None:
        self._window.remove(flight)
        new = self._spool.call(lambda store: store.relabel(flight.epoch, flight.from_seq))
        self._more = True
        if new is not None:
            data = {"epoch": flight.epoch, "seq": flight.from_seq, "new_epoch": new[0], "new_seq": new[1]}
            log.warning("the collector holds other data under this number; the batch got a new one", **data)
            self._alarm("agent.spool_conflict", data)

    def _refused(self, flight: Flight, why: str) -> None:
        """The collector will never take this batch: its gap goes in its place."""
        gap = self._spool.call(
            lambda store: store.refuse(flight.epoch, flight.from_seq, f"refused by the collector: {why}")
        )
        if gap is None:  # it is a gap itself; it stays in the spool
            flight.due = time.monotonic() + REFUSED_GAP_S
            return
        self._window.remove(flight)
        self._outbox.put(self._window.add(gap, up(gap)).message)
        log.error("the collector refuses a batch; it is declared lost", epoch=gap.epoch, seq=gap.from_seq, why=why)

    def _roll_back(self, epoch: int, held: int) -> None:
        self._rolled_back.add(epoch)
        renewed = self._spool.call(lambda store: store.leave_epoch(epoch))
        if renewed:
            data = {"epoch": epoch, "held": held, "new_epoch": renewed}
            log.error("the spool is older than what the collector has of it (a restored or cloned disk?)", **data)
            self._alarm("agent.spool_rolled_back", data)
