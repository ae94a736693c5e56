"""Control.Session over the shipper's channel: AgentStatus every few seconds and on change; commands come back."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import grpc
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1 import agent_pb2, agent_pb2_grpc

from fieldwatch_agent.allowance import Allowance

PERIOD_S = 5.0
RETRY_S = 5.0
STOP_S = 2.0
COMMANDS = 1_000  # heard at once; behind them what comes waits in the network
COMMANDS_PER_S = 20.0

log = get_logger(__name__)


class ControlSession(threading.Thread):
    """Beats while there is a channel. `status(first)` gives the message, `first`: of this session. `handle` is given
    each command, and the channel to report on; it must not wait.
    """

    def __init__(
        self,
        status: Callable[[bool], agent_pb2.AgentStatus],
        handle: Callable[[agent_pb2.Command, grpc.Channel], None],
        period_s: float = PERIOD_S,
    ) -> None:
        super().__init__(name="control session", daemon=True)
        self.beats = 0
        self.failures = 0
        self._status, self._handle, self._period_s = status, handle, period_s
        self._commands = Allowance(COMMANDS, COMMANDS_PER_S)
        self._changed = threading.Condition()
        self._channel: grpc.Channel | None = None
        self._news = self._seen = 0
        self._stopping = False

    def use(self, channel: grpc.Channel | None) -> None:
        """The channel to beat on; None = there is none now."""
        with self._changed:
            self._channel = channel
            self._news += 1
            self._changed.notify_all()

    def change(self) -> None:
        """Something that people want to see at once has changed."""
        with self._changed:
            self._news += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Tell what is new, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self.join(STOP_S)

    def run(self) -> None:
        while True:
            with self._changed:
                while self._channel is None and not self._stopping:
                    self._changed.wait()
                if self._stopping:
                    return
                channel = self._channel
            assert channel is not None
            try:
                for command in agent_pb2_grpc.ControlStub(channel).Session(self._beat(channel)):  # type: ignore[no-untyped-call]
                    self._give(command, channel)
                    self._pause(channel, self._commands.spend())
            except (grpc.RpcError, ValueError) as problem:  # ValueError: the channel was closed under us
                log.debug("the control session ended", problem=str(problem)[:200])
            self._pause(channel, RETRY_S)

    def _pause(self, channel: grpc.Channel, seconds: float) -> None:
        """Unless there is another channel meanwhile; news alone are no reason."""
        with self._changed:
            self._changed.wait_for(lambda: self._channel is not channel or self._stopping, seconds)

    def _give(self, command: agent_pb2.Command, channel: grpc.Channel) -> None:
        """A command that cannot even be begun (no thread to be had) must not end the heartbeat."""
        if self._stopping:
            return  # it comes again with the next session
        try:
            self._handle(command, channel)
        except Exception:
            self.failures += 1
            log.exception("a command could not be begun", command=command.id[:64])

    def _beat(self, channel: grpc.Channel) -> Iterator[agent_pb2.AgentStatus]:
        first = True
        while True:
            with self._changed:
                self._seen = self._news
            yield self._status(first)
            first = False
            with self._changed:
                self.beats += 1
                self._changed.wait_for(lambda: self._news != self._seen or self._stopping, self._period_s)
                if self._channel is not channel or (self._stopping and self._news == self._seen):
                    return
