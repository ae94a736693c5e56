"""The way to the collector: shipper, control session and the care of the certificate, from the enrolment on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1 import agent_pb2

from fieldwatch_agent.certificate_care import CertificateCare
from fieldwatch_agent.clock import Clock
from fieldwatch_agent.config import Collector
from fieldwatch_agent.control.session import ControlSession
from fieldwatch_agent.enrolment.identity import ENROL, EnrolmentError, usable_identity
from fieldwatch_agent.shipper.shipper import Shipper, open_channel
from fieldwatch_agent.spool.thread import SpoolThread

log = get_logger(__name__)


class Shipping:
    """`shipper`, `session` and `certificate` are there once the agent is enrolled, if it ships at all (`wanted`).

    `status` and `handle`: see `ControlSession`; `alarm`: see `Shipper`.
    """

    def __init__(
        self,
        folder: Path,
        settings: Collector,
        spool: SpoolThread,
        boot: bytes,
        clock: Clock,
        *,
        wanted: bool,
        status: Callable[[bool], agent_pb2.AgentStatus],
        handle: Callable[[agent_pb2.Command, grpc.Channel], None],
        alarm: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self.shipper: Shipper | None = None
        self.session: ControlSession | None = None
        self.certificate: CertificateCare | None = None
        self.wanted = wanted
        self._folder, self._settings, self._spool, self._boot, self._clock = folder, settings, spool, boot, clock
        self._status, self._handle, self._alarm = status, handle, alarm
        self._told = ""  # what keeps it from shipping, once it was said

    def look(self) -> None:
        """Begin when the agent is enrolled, from then on see to the certificate. To be called every second or so."""
        if self.certificate is not None:
            self.certificate.look()
        elif self.wanted:
            self._try_to_begin()

    def _try_to_begin(self) -> None:
        try:
            identity = usable_identity(self._folder)
        except EnrolmentError as problem:
            if self._told != str(problem):
                self._told = str(problem)
                log.error("not shipping; records are kept in the spool", problem=self._told)
            return
        if identity is None:
            if self._settings.address and not self._told:
                self._told = "not enrolled"
                log.warning(
                    "not enrolled: records are kept in the spool", collector=self._settings.address, remedy=ENROL
                )
            return
        address = self._settings.address or identity.address
        self.session = ControlSession(self._status, self._handle)
        self.session.start()
        self.shipper = Shipper(
            self._spool,
            address,
            lambda patience_s: open_channel(self._folder, address, patience_s),
            self._boot,
            retry_min_s=self._settings.retry_min,
            retry_max_s=self._settings.retry_max,
            beat=self.session.use,
            on_clock=self._clock.hear,
            alarm=self._alarm,
        )
        self.shipper.start()
        shipper = self.shipper
        self.certificate = CertificateCare(
            self._folder, address, identity, self._clock, lambda: shipper.refused, shipper.reconnect
        )

    @property
    def state(self) -> str:
        """For people."""
        if self.shipper is not None:
            return self.shipper.state
        if not self.wanted:
            return "local only"
        return f"not connected: {self._told}" if self._told not in ("", "not enrolled") else "not enrolled"

    def wake(self) -> None:
        """The spool holds something new."""
        if self.shipper is not None:
            self.shipper.wake()

    def tell(self) -> None:
        """Something has changed that people at the collector want to see at once."""
        if self.session is not None:
            self.session.change()

    def stop(self, seconds: float) -> None:
        """Bring away what can be brought away in so long, and end."""
        if self.shipper is not None:
            self.shipper.drain(seconds)
        if self.session is not None:
            self.session.stop()  # it has a last word, and needs the channel for it
        if self.shipper is not None:
            self.shipper.stop()
        if self.certificate is not None:
            self.certificate.close()
