"""What a process may run out of beside memory and room: file descriptors, and the inodes of the spool's file system.

Who has no descriptor left can open no file, accept nobody and begin no child, and cannot even count what it has. So
what fails for it counts as well, and for `KEPT_S` afterwards: long enough that a heartbeat tells of it. Inodes are
counted by the file system, which needs none for it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fieldwatch_proto.logs import get_logger

from fieldwatch_agent.control.health import OK, ResourceVitals, examine_resources
from fieldwatch_agent.descriptors import lacks_descriptors

KEPT_S = 30.0

log = get_logger(__name__)


class Shortage:
    """`look` is called about once a second, by one thread; `met` and `vitals` may be by any. `folder`: the spool's.

    `alarm(kind, data)` is told where it begins, `tell` where it begins and ends: the heartbeat should not wait.
    """

    def __init__(
        self,
        folder: Path,
        alarm: Callable[[str, dict[str, Any]], None],
        tell: Callable[[], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._alarm, self._tell, self._clock = folder, alarm, tell, clock
        self._short = False
        self._vitals = ResourceVitals(str(folder))
        self._no_descriptor_s = float("-inf")  # when something failed for it last

    def met(self, problem: OSError) -> None:
        """Something failed; what it means is judged here."""
        if lacks_descriptors(problem):
            self._no_descriptor_s = self._clock()

    def look(self) -> None:
        """Count again. Takes one descriptor for a moment."""
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        found = self._vitals._replace(max_descriptors=most)
        try:
            found = found._replace(descriptors=len(os.listdir("/proc/self/fd")) - 1)  # less the one that lists them
        except OSError as problem:
            self.met(problem)
        with contextlib.suppress(OSError):  # a disk that fails is the spool's to tell
            disk = os.statvfs(self._folder)
            found = found._replace(free_inodes=disk.f_favail, inodes=disk.f_files)
        self._vitals = found
        self._report()

    def _report(self) -> None:
        level, trouble = examine_resources(self.vitals)
        if self._short == (level != OK):
            return
        self._short = level != OK
        if self._short:
            log.error("the machine gives the agent too little", problem=trouble)
            self._alarm("agent.resource_trouble", {"trouble": trouble})
        else:
            log.info("the machine gives the agent enough again")
        self._tell()

    @property
    def vitals(self) -> ResourceVitals:
        """As `look` found them last, with what has failed since."""
        return self._vitals._replace(no_descriptor=self._clock() - self._no_descriptor_s < KEPT_S)
