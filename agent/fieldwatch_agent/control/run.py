"""One command while it runs: what its function asks and tells."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from fieldwatch_proto.v1 import agent_pb2

from fieldwatch_agent.control.report import CHUNK_BYTES, Report

MAX_TEXT_CHARS = 1_000


class CommandError(Exception):
    """The command cannot be done: one line that says what, where, and what to do next."""


class StoppedError(Exception):
    """The command has to end now. `state`: COMMAND_CANCELLED or COMMAND_FAILED."""

    def __init__(self, state: agent_pb2.CommandState, text: str) -> None:
        super().__init__(text)
        self.state = state


class Run:
    """`check` and `wait` raise StoppedError once the command was cancelled, is out of time, or nobody hears it."""

    def __init__(self, command: agent_pb2.Command, timeout_s: float) -> None:
        self.id, self.name, self.actor = command.id, command.name, command.actor
        self.config = command.config
        self.report: Report | None = None
        self.sent_bytes = 0
        """Of the file that the command makes."""
        self.ending = False  # it works no more, its end is being told
        self._deadline = time.monotonic() + timeout_s
        self._timeout_s = timeout_s
        self._stopped = threading.Event()
        self._why: StoppedError | None = None
        self._state: agent_pb2.CommandState = agent_pb2.COMMAND_ACCEPTED
        self._percent, self._text = 0, ""

    # --- for the command ----------------------------------------------------------------------------------------

    @property
    def remaining_s(self) -> float:
        return max(0.0, self._deadline - time.monotonic())

    def check(self) -> None:
        if self._why is not None:
            raise self._why
        if time.monotonic() >= self._deadline:
            raise StoppedError(agent_pb2.COMMAND_FAILED, f"not done within {self._timeout_s:g} s; it was ended")

    def wait(self, seconds: float) -> None:
        self._stopped.wait(min(seconds, self.remaining_s))
        self.check()

    def progress(self, percent: int, text: str = "") -> None:
        """For people who wait. Raises StoppedError."""
        self.check()
        self._state = agent_pb2.COMMAND_RUNNING
        self._percent, self._text = percent, text[:MAX_TEXT_CHARS]
        if self.report is not None:
            self.report.send(self.present(), self.check)

    def send_file(self, name: str, pieces: Iterable[bytes]) -> int:
        """Stream a file to the collector; the octets sent. Raises StoppedError where nobody takes it."""
        for piece in pieces:
            for start in range(0, len(piece), CHUNK_BYTES):
                self.check()
                message = self.present()
                message.chunk = piece[start : start + CHUNK_BYTES]
                if not self.sent_bytes:
                    message.file_name = name
                if self.report is None or not self.report.send(message, self.check):
                    self.check()
                    raise StoppedError(agent_pb2.COMMAND_FAILED, LOST_FILE)
                self.sent_bytes += len(message.chunk)
        return self.sent_bytes

    # --- for the runner -----------------------------------------------------------------------------------------

    def stop(self, state: agent_pb2.CommandState, text: str) -> None:
        """The first word counts."""
        if self._why is None:
            self._why = StoppedError(state, text)
            self._stopped.set()

    def present(self) -> agent_pb2.CommandReport:
        """Where the command stands."""
        return agent_pb2.CommandReport(id=self.id, state=self._state, percent=self._percent, text=self._text)


LOST_FILE = "the connection to the collector broke while the file was sent; give the command again"
