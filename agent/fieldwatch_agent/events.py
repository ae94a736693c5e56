"""Events that the agent tells of itself, shipped like everything else.

======================  ==============================================================================================
type                    told of
======================  ==============================================================================================
agent.command_handled   what became of a collector's command on the device (see `control.runner`)
agent.config_trial      a configuration of the collector's: applied, confirmed, reverted (see `control.configuration`)
agent.spool_..., ...    alarms of spool and shipper, by the name that they give
======================  ==============================================================================================
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

from fieldwatch_proto.records import records_of
from fieldwatch_proto.schema import Kind

from fieldwatch_agent.sealer import Sealer


class Events:
    """For any thread. `subject`: whom they are about, by the time that they are told."""

    def __init__(self, sealer: Sealer, subject: Callable[[], str]) -> None:
        self._sealer, self._subject = sealer, subject

    def alarm(self, kind: str, data: dict[str, Any]) -> None:
        self._tell(kind, "error", data)

    def command(self, data: dict[str, Any]) -> None:
        severity = "warning" if data["outcome"] in ("refused", "failed") else "info"
        self._tell("agent.command_handled", severity, data)

    def configuration(self, severity: str, data: dict[str, Any]) -> None:
        self._tell("agent.config_trial", severity, data)

    def _tell(self, kind: str, severity: str, data: dict[str, Any]) -> None:
        row = {
            "ts_ns": time.time_ns(),
            "type": kind,
            "severity": severity,
            "subject": self._subject(),
            "data": json.dumps(data, sort_keys=True),
        }
        self._sealer.add(records_of(Kind.EVENT, [row]), 0)
