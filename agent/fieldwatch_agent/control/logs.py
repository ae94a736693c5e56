"""The daemon's log: its level, which a command may change for a while, and its newest lines, kept for diagnostics."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque

from fieldwatch_proto import logs
from fieldwatch_proto.logs import JsonForm, get_logger

MOST_LINES = 400
MOST_CHARS = 64 << 10

log = get_logger(__name__)


class Recent(logging.Handler):
    """The newest lines as JSON text, bounded in number and in characters."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonForm())
        self._lines: deque[str] = deque()
        self._chars = 0

    def emit(self, record: logging.LogRecord) -> None:  # under the handler's lock
        line = self.format(record)
        self._lines.append(line)
        self._chars += len(line)
        while len(self._lines) > MOST_LINES or self._chars > MOST_CHARS:
            self._chars -= len(self._lines.popleft())

    def lines(self) -> list[str]:
        with self.lock or threading.RLock():
            return list(self._lines)


class DaemonLog:
    """The level is the configured one, or for a while another one. Times are monotonic."""

    def __init__(self) -> None:
        self.recent = Recent()
        self._level, self._form = "info", "auto"
        self._until: float | None = None

    def configure(self, level: str, form: str) -> None:
        """As the configuration has it. What a command set for a while stays for that while."""
        present = logging.getLevelName(logging.getLogger().level).lower()
        logs.configure(level, form)
        logging.getLogger().addHandler(self.recent)
        self._level, self._form = level, form
        if self._until is not None:
            logging.getLogger().setLevel(present.upper())

    def override(self, level: str, seconds: float) -> None:
        """Another level for so long."""
        self._until = time.monotonic() + seconds
        logging.getLogger().setLevel(level.upper())

    def look(self) -> None:
        """Go back to the configured level when the time is over."""
        if self._until is not None and time.monotonic() >= self._until:
            self._until = None
            logging.getLogger().setLevel(self._level.upper())
            log.info("the log level is the configured one again", level=self._level)
