"""The open streams of agents, so that a revocation or a shutdown reaches them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

REVOKED = "revoked"
STOPPING = "the collector stops"


class Line:
    """One open stream. `closing` is set when it must end; `reason` says why."""

    def __init__(self, agent_id: str) -> None:
        self.agent_id = agent_id
        self.closing = asyncio.Event()
        self.reason = ""

    def close(self, reason: str) -> None:
        if not self.closing.is_set():
            self.reason = reason
            self.closing.set()


class Fleet:
    """Lines are opened and closed on the event loop; `close_agent` and `close_all` may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lines: set[Line] = set()
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.contextmanager
    def line(self, agent_id: str) -> Iterator[Line]:
        """Hold a stream of this agent open."""
        opened = Line(agent_id)
        with self._lock:
            self._loop = asyncio.get_running_loop()
            self._lines.add(opened)
        try:
            yield opened
        finally:
            with self._lock:
                self._lines.discard(opened)

    def close_agent(self, agent_id: str) -> None:
        """End every stream of an agent that was revoked."""
        self._close([line for line in self._snapshot() if line.agent_id == agent_id], REVOKED)

    def close_all(self) -> None:
        """Tell every agent that the collector stops."""
        self._close(self._snapshot(), STOPPING)

    def _snapshot(self) -> list[Line]:
        with self._lock:
            return list(self._lines)

    def _close(self, lines: list[Line], reason: str) -> None:
        for line in lines:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(line.close, reason)
