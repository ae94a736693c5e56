"""The collector's configuration on disk: the one that is confirmed, the one on trial, the newest that was tried.

    signed, newer, valid ─► on trial ─► confirmed          a fresh record reached the collector
                               └──────► reverted           none did in time, or the agent was started a third time
    signed, newer ─► rejected                              what it says is not valid here
    reverted, for no fresh record came ─► on trial again   none came with the one before either: the collector was away

The second trial is the last one, and begins when a fresh record shows that the collector is back.

A version that was signed is never taken again, nor one below it (`floor`): an old configuration cannot be played back.
What was not signed leaves no trace here: else a forger could choose the version that the collector has to beat.
The trial is on disk before the settings count: whatever they do to the agent, its third start is without them.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from fieldwatch_proto.v1 import agent_pb2

from fieldwatch_agent.control.files import read_object, write_object
from fieldwatch_agent.control.settings import Pushed

FILE_NAME = "remote.json"
MOST_STARTS = 2
MAX_PROBLEM_CHARS = 1_000

_STATES = (
    *(agent_pb2.CONFIG_APPLIED, agent_pb2.CONFIG_CONFIRMED),
    *(agent_pb2.CONFIG_REVERTED, agent_pb2.CONFIG_REJECTED),
)


class RemoteConfiguration:
    """For several threads. What changes it is on disk when it returns. Raises OSError where it cannot be written."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._lock = threading.RLock()
        found = read_object(data, FILE_NAME)
        self._confirmed = _pushed(found.get("confirmed"))
        self._trial = _pushed(found.get("trial"))
        self._starts = _number(found.get("starts"))
        self._suspect = _pushed(found.get("suspect"))  # reverted, and the one before is yet to show that it ships
        self.excused = found.get("excused") is True
        """Whether the one before the suspect could not ship either."""
        self._last_trial = found.get("last_trial") is True
        self.floor = _number(found.get("floor"))
        """The newest version that the collector is known to have signed."""
        told = found.get("told")
        told = told if isinstance(told, dict) else {}
        self.version, self.problem = _number(told.get("version")), str(told.get("problem", ""))
        self.state: agent_pb2.ConfigState = agent_pb2.CONFIG_STATE_UNSPECIFIED
        for state in _STATES:
            if agent_pb2.ConfigState.Name(state) == told.get("state"):
                self.state = state

    @property
    def in_force(self) -> Pushed | None:
        return self._trial or self._confirmed

    @property
    def on_trial(self) -> bool:
        return self._trial is not None

    @property
    def has_suspect(self) -> bool:
        """Whether what was reverted may be tried again."""
        return self._suspect is not None

    @property
    def state_name(self) -> str:
        """For people and programs: none, applied (on trial), confirmed, reverted, rejected."""
        if self.state == agent_pb2.CONFIG_STATE_UNSPECIFIED:
            return "none"
        return agent_pb2.ConfigState.Name(self.state).removeprefix("CONFIG_").lower()

    def count_start(self) -> None:
        """The agent starts: with a configuration on trial at most `MOST_STARTS` times, then it is reverted."""
        with self._lock:
            if self._trial is None:
                return
            if self._starts >= MOST_STARTS:
                self.revert("the agent ended and was started for the third time while this was on trial")
                return
            self._starts += 1
            self._write()

    def count_stop(self) -> None:
        """The agent was told to stop: that start was no failure."""
        with self._lock:
            if self._trial is not None and self._starts:
                self._starts -= 1
                self._write()

    def try_out(self, pushed: Pushed) -> None:
        self._put_on_trial(pushed, last=False)

    def try_again(self) -> None:
        """The suspect, for the last time."""
        if self._suspect is not None:
            self._put_on_trial(self._suspect, last=True)

    def _put_on_trial(self, pushed: Pushed, *, last: bool) -> None:
        with self._lock:
            before = dict(vars(self))
            self._trial, self._starts, self._suspect, self._last_trial = pushed, 0, None, last
            self.floor = self.version = pushed.version
            self.state, self.problem = agent_pb2.CONFIG_APPLIED, ""
            try:
                self._write()
            except OSError:
                vars(self).update(before)
                raise

    def judge(self, *, guilty: bool) -> None:
        """The configuration before ships, and the suspect did not: it is done with; or neither does."""
        with self._lock:
            if guilty:
                self._suspect = None
            else:
                self.excused = True
                self.problem += "; nor did one with the configuration before: it is tried again when one does"
            self._write()

    def confirm(self) -> None:
        """What is told of a newer version, which was rejected meanwhile, stays."""
        with self._lock:
            if self._trial is not None:
                if self.version == self._trial.version:
                    self.state, self.problem = agent_pb2.CONFIG_CONFIRMED, ""
                self._confirmed, self._trial, self._last_trial = self._trial, None, False
                self._write()

    def revert(self, problem: str, *, suspected: bool = False) -> None:
        """The one before is in force again; `suspected`: its first trial may have failed for another reason."""
        with self._lock:
            if self._trial is not None:
                newest = self.version == self._trial.version
                if newest:
                    self.state, self.problem = agent_pb2.CONFIG_REVERTED, problem[:MAX_PROBLEM_CHARS]
                else:  # a newer one was rejected meanwhile: nobody wants this one any more
                    also = f"; version {self._trial.version}, which was on trial, is reverted: {problem}"
                    self.problem = (self.problem + also)[:MAX_PROBLEM_CHARS]
                self._suspect = self._trial if suspected and newest and not self._last_trial else None
                self._trial, self.excused, self._last_trial = None, False, False
                self._write()

    def reject(self, version: int, problem: str) -> None:
        """The one before stays in force."""
        with self._lock:
            self.floor, self._suspect = max(self.floor, version), None
            self.version, self.state, self.problem = version, agent_pb2.CONFIG_REJECTED, problem[:MAX_PROBLEM_CHARS]
            self._write()

    def drop(self, problem: str) -> None:
        """The confirmed one cannot be used by this agent; nothing of the collector's is in force."""
        with self._lock:
            if self._confirmed is not None:
                version, self._confirmed = self._confirmed.version, None
                self.reject(version, problem)

    def retell(self) -> None:
        """What is in force was sent again: that is what there is to tell."""
        with self._lock:
            if self.in_force is not None and self.version != self.in_force.version:
                self.version, self.problem = self.in_force.version, ""
                self.state = agent_pb2.CONFIG_APPLIED if self.on_trial else agent_pb2.CONFIG_CONFIRMED
                self._write()

    def _write(self) -> None:
        value = {
            "floor": self.floor,
            "confirmed": self._confirmed and self._confirmed._asdict(),
            "trial": self._trial and self._trial._asdict(),
            "starts": self._starts,
            "suspect": self._suspect and self._suspect._asdict(),
            "excused": self.excused,
            "last_trial": self._last_trial,
            "told": {
                "version": self.version,
                "state": agent_pb2.ConfigState.Name(self.state),
                "problem": self.problem,
            },
        }
        write_object(self._data, FILE_NAME, value)


def _pushed(entry: Any) -> Pushed | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("settings"), dict):
        return None
    return Pushed(_number(entry.get("version")), entry["settings"])


def _number(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
