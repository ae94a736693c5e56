"""One stream with the collector, from Hello to its end: the threads and the call around a `Conversation`.

Two threads meet in the inbox: gRPC's reader puts what the collector says into it, the session's own thread takes it out
and sends. Every duration is of the monotonic clock: a clock that is set, or wrong, changes nothing.

A collector that talks without end costs neither memory (the inbox is bounded, and what is behind it waits in the
network) nor the processor: what answers nothing is heard at `REMARKS_PER_S`.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from fieldwatch_proto.v1 import agent_pb2, agent_pb2_grpc

from fieldwatch_agent import faults
from fieldwatch_agent.allowance import Allowance
from fieldwatch_agent.shipper.agenda import Agenda
from fieldwatch_agent.shipper.conversation import MIN_RETRY_S, Conversation
from fieldwatch_agent.shipper.errors import ShipError, explain
from fieldwatch_agent.shipper.pace import Pace
from fieldwatch_agent.spool.thread import SpoolThread

WELCOME_TIMEOUT_S = 75.0  # with the connection and its TLS handshake, over a bad link
FINISH_S = 2.0
INBOX_MESSAGES = 256
PUT_S = 0.5
REMARKS = 1_000  # at once
REMARKS_PER_S = 100.0
REMARK_BYTES = 1 << 10  # what counts as one; a longer message counts as several
LONGEST_PAUSE_S = 5.0

Inbox = queue.Queue[agent_pb2.Down | BaseException | None]


class Session:
    """`run` returns when told to stop or to go away; raises ShipError when the stream fails."""

    def __init__(
        self,
        channel: grpc.Channel,
        address: str,
        spool: SpoolThread,
        agenda: Agenda,
        pace: Pace,
        boot: bytes,
        *,
        stopping: threading.Event,
        on_welcome: Callable[[agent_pb2.Welcome], None],
        on_ack: Callable[[], None],
        alarm: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._channel, self._address, self._agenda, self._stopping = channel, address, agenda, stopping
        self._inbox: Inbox = queue.Queue(INBOX_MESSAGES)
        self._over = threading.Event()
        self._remarks = Allowance(REMARKS, REMARKS_PER_S)
        self._outbox: queue.SimpleQueue[agent_pb2.Up | None] = queue.SimpleQueue()
        self._talk = Conversation(
            spool, agenda, pace, boot, time.monotonic, on_welcome=on_welcome, on_ack=on_ack, alarm=alarm
        )

    @property
    def retry_s(self) -> float | None:
        """The pause that the collector asked for when it sent us away."""
        return self._talk.retry_s

    @property
    def in_flight(self) -> int:
        """Messages that wait for their ack."""
        return len(self._talk.window)

    def wake(self) -> None:
        """The spool holds something new, or it is time to stop."""
        self._agenda.wake()
        with contextlib.suppress(queue.Full):  # then it is awake
            self._inbox.put_nowait(None)

    def run(self) -> None:
        call = agent_pb2_grpc.IngestStub(self._channel).Push(self._requests())  # type: ignore[no-untyped-call]
        reader = threading.Thread(target=self._read, args=(call,), name="shipper reader", daemon=True)
        reader.start()
        orderly = False
        try:
            self._greet()
            self._work()
            self._finish()
            self._outbox.put(agent_pb2.Up(bye=agent_pb2.Bye(reason="stop" if self._stopping.is_set() else "go away")))
            orderly = True
        except grpc.RpcError as problem:
            raise explain(problem, self._address) from None
        finally:
            self._outbox.put(None)
            if not orderly:
                call.cancel()
            self._over.set()
            reader.join(FINISH_S)
            call.cancel()

    def _requests(self) -> Iterator[agent_pb2.Up]:
        while (message := self._outbox.get()) is not None:
            yield message

    def _read(self, call: Any) -> None:
        try:
            for down in call:
                self._put(down)
            self._put(ShipError(f"{self._address}: the collector closed the stream", permanent=False))
        except grpc.RpcError as problem:
            self._put(problem)

    def _put(self, heard: agent_pb2.Down | BaseException) -> None:
        """Wait for room in the inbox, as long as somebody takes out of it."""
        while not self._over.is_set():
            with contextlib.suppress(queue.Full):
                self._inbox.put(heard, timeout=PUT_S)
                return

    def _next(self, timeout: float | None) -> agent_pb2.Down | None:
        """What the collector said; None when woken, or when the time is over."""
        try:
            found = self._inbox.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(found, BaseException):
            raise found
        return found

    def _listen(self, timeout: float | None) -> bool:
        """Wait for a message and take it in; False where there was none."""
        down = self._next(timeout)
        if down is None:
            return False
        if self._talk.hear(down):
            self._remarks.earn()
        elif pause := self._remarks.spend(1 + down.ByteSize() // REMARK_BYTES):
            self._stopping.wait(min(pause, LONGEST_PAUSE_S))
        return True

    def _greet(self) -> None:
        talk = self._talk
        self._outbox.put(talk.greet())
        deadline = time.monotonic() + WELCOME_TIMEOUT_S
        while not (talk.welcomed or talk.leaving or self._stopping.is_set()):
            if time.monotonic() > deadline:
                raise ShipError(f"{self._address}: the collector did not answer the greeting", permanent=False)
            self._listen(max(MIN_RETRY_S, deadline - time.monotonic()))

    def _work(self) -> None:
        talk = self._talk
        while not (talk.leaving or self._stopping.is_set()):
            for message in talk.say():
                self._outbox.put(message)
                faults.reach("send-before-ack")
            if talk.leaving or self._listen(talk.pause()):
                continue
            waited = talk.overdue()
            if waited:
                raise ShipError(f"{self._address}: no ack for {waited:.0f} s", permanent=False)

    def _finish(self) -> None:
        """Take in the acks that are on their way. That the stream ends meanwhile is no failure: it was to end."""
        window = self._talk.window
        deadline = time.monotonic() + FINISH_S
        with contextlib.suppress(ShipError, grpc.RpcError):
            while len(window) and window.next_due() is None and time.monotonic() < deadline:
                self._listen(max(MIN_RETRY_S, deadline - time.monotonic()))
