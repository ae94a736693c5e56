"""What commands may use of the agent that they run in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from fieldwatch_agent.clock import Clock
from fieldwatch_agent.control.configuration import ConfigurationCare
from fieldwatch_agent.control.logs import DaemonLog
from fieldwatch_agent.control.settings import Settings


class Agent(Protocol):
    """The daemon."""

    folder: Path
    clock: Clock
    settings: Settings
    configuration: ConfigurationCare
    log: DaemonLog

    @property
    def takes_configuration(self) -> bool:
        """False for a run that ends with its capture file."""

    def spool_status(self) -> dict[str, Any]:
        """What waits. Raises SpoolError."""

    def describe(self) -> dict[str, Any]:
        """The status for `spool status` and `status`."""

    def restart(self) -> None:
        """Stop cleanly and begin anew in the same process; returns at once."""
