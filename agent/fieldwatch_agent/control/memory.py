"""Which commands were given, so that one that comes again is not done again: the newest `MOST`, on disk.

A command is written down before it begins and when it has ended. One that began and did not end before the agent was
killed has failed: it is not tried again, whatever it was that ended the agent.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1 import agent_pb2

from fieldwatch_agent.control.files import read_object, write_object

FILE_NAME = "commands.json"
MOST = 64
MAX_RESULT_BYTES = 16 << 10

log = get_logger(__name__)


class Memory:
    """For several threads."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._lock = threading.Lock()
        self._known: dict[str, dict[str, Any]] = {}
        for command_id, entry in read_object(data, FILE_NAME).items():
            if isinstance(entry, dict):
                self._known[command_id] = entry

    def find(self, command_id: str) -> agent_pb2.CommandReport | None:
        """How the command ended; None for one that was never begun."""
        with self._lock:
            entry = self._known.get(command_id)
        if entry is None:
            return None
        try:
            result = entry["result"].encode("utf-8")
            return agent_pb2.CommandReport(id=command_id, state=entry["state"], text=entry["text"], result=result)
        except (KeyError, ValueError, AttributeError, TypeError):
            text = "the agent ended while the command ran; give it again if it is still wanted"
            return agent_pb2.CommandReport(id=command_id, state=agent_pb2.COMMAND_FAILED, text=text)

    def begin(self, command_id: str, name: str) -> None:
        self._write(command_id, {"name": name})

    def end(self, name: str, report: agent_pb2.CommandReport) -> None:
        result = report.result.decode("utf-8") if len(report.result) <= MAX_RESULT_BYTES else "{}"
        state = agent_pb2.CommandState.Name(report.state)
        self._write(report.id, {"name": name, "state": state, "text": report.text, "result": result})

    def _write(self, command_id: str, entry: dict[str, Any]) -> None:
        with self._lock:
            self._known.pop(command_id, None)
            self._known[command_id] = entry
            while len(self._known) > MOST:
                del self._known[next(iter(self._known))]
            try:
                write_object(self._data, FILE_NAME, self._known)
            except OSError as problem:  # the agent's own log and the collector's table still hold it
                log.warning("a command could not be written down", command=command_id, problem=str(problem))
