"""The open streams of agents, so that a revocation or a shutdown reaches them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

REVOKED = "revoked"
STOPPING = "the collector stops"
CROWDED = "this agent has too many streams; the oldest is closed for a newer one"
MAX_LINES = 20  # of one agent: each may hold a message of 8 MiB. Two and the reports of commands; others are dead


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
        self._lines: dict[str, list[Line]] = {}  # of each agent, the oldest first
        self._loop: asyncio.AbstractEventLoop | None = None

    @contextlib.contextmanager
    def line(self, agent_id: str) -> Iterator[Line]:
        """Hold a stream of this agent open; where there are too many of it, its oldest one has to end."""
        opened = Line(agent_id)
        with self._lock:
            self._loop = asyncio.get_running_loop()
            lines = self._lines.setdefault(agent_id, [])
            lines.append(opened)
            crowding = lines[:-MAX_LINES]
        for line in crowding:
            line.close(CROWDED)
        try:
            yield opened
        finally:
            with self._lock:
                lines.remove(opened)
                if not lines:
                    del self._lines[agent_id]

    def close_agent(self, agent_id: str) -> None:
        """End every stream of an agent that was revoked."""
        with self._lock:
            lines = list(self._lines.get(agent_id, ()))
        self._close(lines, REVOKED)

    def close_all(self) -> None:
        """Tell every agent that the collector stops."""
        with self._lock:
            lines = [line for lines in self._lines.values() for line in lines]
        self._close(lines, STOPPING)

    def _close(self, lines: list[Line], reason: str) -> None:
        for line in lines:
            assert self._loop is not None
            self._loop.call_soon_threadsafe(line.close, reason)
