"""The certificate of a running agent: renewed at half of its life or when it is refused, in a child.

Its age is taken by the collector's clock. Before that was heard, a clock that no time service keeps right is given
`HEARING_S` to be contradicted, so that a start in the wrong year asks for no certificate.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fieldwatch_proto.logs import get_logger

from fieldwatch_agent.clock import Clock
from fieldwatch_agent.enrolment.identity import ENROL_AGAIN, EnrolmentError, Identity, load_identity

RETRY_S = 600.0
RECOVER_RETRY_S = 60.0  # past its end nothing is shipped
HEARING_S = 10.0

log = get_logger(__name__)


class CertificateCare:
    """`look` is called every second or so; `is_refused` asks whether the collector accepts the certificate no more;
    `renewed` is told when a new one is in force.
    """

    def __init__(
        self,
        folder: Path,
        address: str,
        identity: Identity,
        clock: Clock,
        is_refused: Callable[[], bool],
        renewed: Callable[[], None],
    ) -> None:
        self.identity = identity
        self._folder, self._address, self._clock = folder, address, clock
        self._is_refused, self._renewed = is_refused, renewed
        self._child: subprocess.Popen[str] | None = None
        self._not_before = 0.0
        self._hearing_until = time.monotonic() + HEARING_S
        self._spread = int.from_bytes(os.urandom(4)) / 2**32

    @property
    def now_s(self) -> float:
        """Unix seconds, to judge the certificate by."""
        return self._clock.now_s(self.identity.not_before)

    @property
    def is_due(self) -> bool:
        if not self._clock.is_known and time.monotonic() < self._hearing_until:
            return False
        return self.now_s >= self.identity.renew_at(self._spread)

    def look(self) -> None:
        """Begin a renewal that is due, end one that is done; what the child says is logged."""
        if self._child is not None:
            self._end(self._child)
        elif self._is_refused() and self._is_enrolled_again():
            self._renewed()
        elif time.monotonic() >= self._not_before and (self.is_due or self._is_refused()):
            self._begin()

    def _is_enrolled_again(self) -> bool:
        """Whether somebody has given the device another identity meanwhile; from now on it is that one."""
        try:
            found = load_identity(self._folder)
        except EnrolmentError:
            return False  # the shipper says what is wrong with it
        if found is None or found == self.identity:
            return False
        self.identity = found
        log.info("the device was enrolled again", agent=found.agent_id)
        return True

    def _end(self, child: subprocess.Popen[str]) -> None:
        if child.poll() is None:
            return
        self._child = None
        problem = child.communicate()[1].strip()
        renewed = load_identity(self._folder) if child.returncode == 0 else None
        if renewed is None:
            log.warning("the certificate was not renewed; trying again later", problem=problem)
            return
        self.identity = renewed
        log.info("the certificate was renewed")
        self._renewed()

    def _begin(self) -> None:
        now_s = self.now_s
        expired = now_s > self.identity.not_after
        self._not_before = time.monotonic() + (RECOVER_RETRY_S if expired else RETRY_S)
        if expired:
            log.warning(
                "the certificate has expired; asking for another with its key, records are kept in the spool",
                expired=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.identity.not_after)),
                remedy=f"where that fails: check the clock, or {ENROL_AGAIN}",
            )
        command = [sys.executable, "-m", "fieldwatch_agent.enrolment.renew", "--data", str(self._folder)]
        try:
            self._child = subprocess.Popen(  # noqa: S603
                [*command, "--address", self._address, "--now", str(now_s)],
                stdin=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
            )
        except OSError as problem:  # no process or descriptor is left for it
            log.warning("the renewal of the certificate cannot be begun; trying again later", problem=str(problem))

    def close(self) -> None:
        if self._child is not None:
            self._child.terminate()
