"""The care of the configuration while the agent runs: reload, trial of the collector's settings, their end.

A configuration of the collector's counts from the moment that it is on disk. Keys that cannot change while the agent
runs make it begin anew in its place (a clean stop, then the same process with the same command line), so that the trial
is of all of it. It is confirmed by the first record that was sealed since and has reached the collector, and reverted
where none has for `[remote] trial`, where the agent cannot start with it, or at the third start.

A collector that is away during a trial looks like settings that break shipping. So what was reverted for want of a
fresh record stays a suspect until the configuration before has had as long: where that ships, the suspect is done with;
where it does not ship either, the suspect is tried once more as soon as a fresh record gets through.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.settings import ConfigError
from fieldwatch_proto.v1 import agent_pb2

from fieldwatch_agent.control.remote import RemoteConfiguration
from fieldwatch_agent.control.settings import Pushed, Settings

log = get_logger(__name__)

Changes = tuple[list[str], list[str]]
"""Keys that are in force now, and keys that wait for a restart."""


class ConfigurationCare:
    """`apply`: the live keys have changed, and what is sealed from now on is fresh; `restart`: begin anew; `event`:
    (severity, data) for the collector.
    """

    def __init__(
        self,
        settings: Settings,
        data: Path,
        *,
        apply: Callable[[], None],
        restart: Callable[[], None],
        event: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self.settings = settings
        self.remote = RemoteConfiguration(data)
        self._apply, self._restart, self._event = apply, restart, event
        self.turn = threading.Lock()
        """Held by who takes a configuration of the collector's, from the first check to the trial."""
        self._lock = threading.Lock()
        self._tries_s: float | None = None  # monotonic, since when the one on trial has counted
        self._judges_s: float | None = None  # since when the one before a suspect has to show that it ships

    # --- the start of the agent ---------------------------------------------------------------------------------

    def start(self, *, ships: bool) -> None:
        """Settle what is in force, before anything runs. Where nothing is shipped, nothing is tried."""
        tries = ships and "config" in self.settings.value.remote.allow
        if tries:
            self._safely(self.remote.count_start)
        try:
            self.settings.start_with(self.settings.read(self.remote.in_force))
        except ConfigError as problem:  # it was valid once; this agent is of another version
            text = str(problem)
            log.error("the collector's configuration cannot be used", problem=text)
            if self.remote.on_trial:
                self._safely(lambda: self.remote.revert(text))
                self.start(ships=False)
            else:
                self._safely(lambda: self.remote.drop(text))
        if tries and self.remote.on_trial:
            self._tries_s = time.monotonic()
        elif tries and self.remote.has_suspect:
            self._judges_s = time.monotonic()

    def started(self) -> None:
        """Events can be shipped now. The one that tells of the trial is also the fresh record that it waits for."""
        if self.remote.on_trial or self.remote.state == agent_pb2.CONFIG_REVERTED:
            self._tell("info" if self.remote.on_trial else "error")

    def start_failed(self, problem: BaseException) -> bool:
        """Whether another try, without the configuration on trial, is worth while."""
        if not self.remote.on_trial or self._tries_s is None:
            return False
        log.error("the agent does not start with the collector's configuration; it is reverted", problem=str(problem))
        self._safely(lambda: self.remote.revert(f"the agent does not start with it: {problem}"))
        return not self.remote.on_trial

    # --- while it runs ------------------------------------------------------------------------------------------

    def reload(self) -> Changes:
        """Raises ConfigError; nothing has changed then."""
        with self._lock:
            return self._adopt()

    def try_out(self, pushed: Pushed) -> Changes:
        """Put it on trial. The caller begins the agent anew where keys wait. Raises ConfigError, OSError."""
        with self._lock:
            self.settings.read(pushed)
            self.remote.try_out(pushed)
            self._tries_s = time.monotonic()
            changes = self._adopt()
            if changes[1]:
                self._tries_s = None  # it counts from the start that is to come
        log.info("a configuration of the collector's is on trial", version=pushed.version, restart=bool(changes[1]))
        if not changes[1]:
            self._tell("info")
        return changes

    def _adopt(self) -> Changes:
        changes = self.settings.adopt(self.settings.read(self.remote.in_force))
        self._apply()
        return changes

    def look(self, newest_s: float | None, later_s: float = 0.0) -> None:
        """Confirm or revert what is on trial. `newest_s`: see `Freshness`; `later_s`: so much later than configured
        are records sealed at present, to spare the disk.
        """
        trial_s = self.settings.value.remote.trial
        tries_s, judges_s = self._tries_s, self._judges_s
        if tries_s is not None and self.remote.on_trial:
            late = time.monotonic() - tries_s > trial_s + later_s
            self._look_at_trial(came=_is_since(newest_s, tries_s), late=late, trial_s=trial_s)
        elif judges_s is not None and self.remote.has_suspect:
            late = time.monotonic() - judges_s > trial_s + later_s
            self._look_at_suspect(came=_is_since(newest_s, judges_s), late=late)

    def _look_at_trial(self, *, came: bool, late: bool, trial_s: float) -> None:
        if came:
            self._tries_s = None
            self._safely(self.remote.confirm)
            in_force = self.remote.in_force
            log.info("the collector's configuration is confirmed", version=in_force and in_force.version)
            self._tell("info")
        elif late:
            self._tries_s = None
            self._revert(f"no fresh record reached the collector within {trial_s:g} s")

    def _look_at_suspect(self, *, came: bool, late: bool) -> None:
        if self.remote.excused and came:
            self._judges_s = None
            self._try_again()
        elif not self.remote.excused and (came or late):
            self._safely(lambda: self.remote.judge(guilty=came))
            if not came:
                log.info("the configuration before does not ship either; the reverted one is tried again when it does")
                self._tell("info")  # this is also the fresh record that is waited for

    def _try_again(self) -> None:
        try:
            self.remote.try_again()
        except OSError as problem:
            log.error("the collector's configuration is not tried again: the disk fails", problem=str(problem))
            return
        log.info("the collector was away: its configuration is tried once more", version=self.remote.version)
        self._tries_s = time.monotonic()
        try:
            with self._lock:
                waiting = self._adopt()[1]
        except ConfigError as problem:  # the agent's own file has changed meanwhile
            self._tries_s = None
            self._revert(str(problem))
            return
        if waiting:
            self._tries_s = None  # it counts from the start that is to come
            self._restart()
        else:
            self._tell("info")

    def _revert(self, problem: str) -> None:
        log.error("the collector's configuration is reverted", version=self.remote.version, problem=problem)
        self._safely(lambda: self.remote.revert(problem, suspected=True))
        try:
            with self._lock:
                waiting = self._adopt()[1]
        except ConfigError:  # the agent's own file is broken now: what runs goes on
            log.exception("the configuration before cannot be read; it counts from the next start")
            return
        self._tell("error")
        self._judges_s = time.monotonic()
        if waiting:
            self._judges_s = None  # it counts from the start that is to come
            self._restart()

    def stopped(self) -> None:
        """The agent was told to stop, or begins anew."""
        if self._tries_s is not None:
            self._safely(self.remote.count_stop)

    def _tell(self, severity: str) -> None:
        remote = self.remote
        self._event(severity, {"version": remote.version, "state": remote.state_name, "problem": remote.problem})

    def _safely(self, write: Callable[[], None]) -> None:
        """A disk that cannot be written must not end the agent: what counts now is in memory."""
        try:
            write()
        except OSError as problem:
            log.error("the state of the collector's configuration could not be written", problem=str(problem))


def _is_since(newest_s: float | None, since_s: float) -> bool:
    return newest_s is not None and newest_s >= since_s
