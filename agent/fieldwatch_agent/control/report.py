"""One Control.Report call: what a command tells while it runs, to its end.

A few messages wait in a bounded queue, so that a file is made as fast as the collector takes it.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1 import agent_pb2, agent_pb2_grpc

CHUNK_BYTES = 256 << 10
QUEUE_MESSAGES = 4
LOOK_S = 0.2

log = get_logger(__name__)


class Report:
    """`ended` is called once, in a thread of gRPC's: True where the collector does not want the result any more."""

    def __init__(self, channel: grpc.Channel, ended: Callable[[bool], None] = lambda unwanted: None) -> None:
        self.delivered = False
        """Whether the collector has taken everything, the last message included."""
        self._queue: queue.Queue[agent_pb2.CommandReport | None] = queue.Queue(QUEUE_MESSAGES)
        self._over = threading.Event()
        self._last_sent = False
        self._ended = ended
        self._call: Any = agent_pb2_grpc.ControlStub(channel).Report.future(self._messages())  # type: ignore[no-untyped-call]
        self._call.add_done_callback(self._done)

    def _messages(self) -> Iterator[agent_pb2.CommandReport]:
        while (message := self._queue.get()) is not None:
            yield message

    def _done(self, call: Any) -> None:
        unwanted = False
        try:
            unwanted = call.result().cancelled
            self.delivered = self._last_sent
        except (grpc.RpcError, grpc.FutureCancelledError) as problem:
            log.debug("a report broke off", problem=str(problem)[:200])
        self._over.set()
        with contextlib.suppress(queue.Full):
            self._queue.put_nowait(None)  # for a generator that waits
        self._ended(unwanted)

    @property
    def over(self) -> bool:
        return self._over.is_set()

    def send(self, message: agent_pb2.CommandReport, check: Callable[[], None] = lambda: None) -> bool:
        """Queue a message, waiting for room; False where nobody hears it. `check` may end the waiting by raising."""
        while not self.over:
            check()
            with contextlib.suppress(queue.Full):
                self._queue.put(message, timeout=LOOK_S)
                return True
        return False

    def finish(self, message: agent_pb2.CommandReport, seconds: float) -> bool:
        """Send the last message and wait, at most so long, until the collector has it; whether it has."""
        deadline = time.monotonic() + seconds

        def check() -> None:
            if time.monotonic() >= deadline:
                raise queue.Full

        self._last_sent = True
        try:
            self.send(message, check)
            self._queue.put(None, timeout=max(0.0, deadline - time.monotonic()))
        except queue.Full:  # nothing is taken any more, though the connection is alive
            self._last_sent = False
        self._over.wait(max(0.0, deadline - time.monotonic()))
        if not self.over:
            self._call.cancel()
        return self.delivered
