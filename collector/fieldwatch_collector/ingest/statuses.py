"""AgentStatus as the store keeps it: JSON, with the texts of a stranger bounded."""

from __future__ import annotations

import json
from typing import Any

from fieldwatch_proto.v1 import agent_pb2 as pb
from google.protobuf.json_format import MessageToDict

from fieldwatch_collector.commands.reports import clean
from fieldwatch_collector.foreign_json import json_object
from fieldwatch_collector.identity.agents import clean_name

MAX_INTERFACES = 64
MAX_COMPONENTS = 256
MAX_COMMANDS = 64
MAX_EFFECTIVE_BYTES = 128 << 10

_LEVELS = {pb.HEALTH_OK: "ok", pb.HEALTH_DEGRADED: "degraded", pb.HEALTH_FAILED: "failed"}
_CONFIG_STATES = {
    pb.CONFIG_APPLIED: "applied",
    pb.CONFIG_CONFIRMED: "confirmed",
    pb.CONFIG_REVERTED: "reverted",
    pb.CONFIG_REJECTED: "rejected",
}


def stored_status(status: pb.AgentStatus) -> dict[str, Any]:
    """The status without the effective settings. 64-bit numbers are text, as protobuf's JSON has them.

    health: ``[{component, level, reason}]`` with level ok, degraded or failed. config: ``{version, state, problem,
    effective_hash}`` with state "", applied, confirmed, reverted or rejected, and the hash in hex.
    """
    bounded = pb.AgentStatus()
    bounded.CopyFrom(status)
    for name in ("version", "hostname", "state", "boot_id"):
        setattr(bounded, name, clean_name(getattr(status, name)))
    del bounded.interfaces[MAX_INTERFACES:]
    for interface in bounded.interfaces:
        interface.name = clean_name(interface.name)
    allowed = [clean_name(name) for name in status.allowed_commands[:MAX_COMMANDS]]
    bounded.ClearField("allowed_commands")
    bounded.ClearField("health")
    bounded.ClearField("config")
    found: dict[str, Any] = MessageToDict(bounded, preserving_proto_field_name=True)
    found.setdefault("version", "")
    found["allowed_commands"] = allowed
    found["health"] = [
        {"component": clean_name(one.component), "level": _LEVELS.get(one.level, ""), "reason": clean(one.reason)}
        for one in status.health[:MAX_COMPONENTS]
    ]
    found["config"] = {
        "version": min(status.config.version, (1 << 63) - 1),
        "state": _CONFIG_STATES.get(status.config.state, ""),
        "problem": clean(status.config.problem),
        "effective_hash": status.config.effective_hash[:32].hex(),
    }
    return found


def newer_status(held: pb.AgentStatus | None, status: pb.AgentStatus) -> pb.AgentStatus:
    """A status in the place of one that was not written yet: settings that only the earlier one tells go with it."""
    if held is not None and held.config.effective and held.config.effective_hash == status.config.effective_hash:
        status.config.effective = status.config.effective or held.config.effective
    return status


def effective_of(status: pb.AgentStatus) -> str:
    """The effective settings, where the status holds them: a JSON object. Empty where it does not."""
    octets = status.config.effective
    if not octets or len(octets) > MAX_EFFECTIVE_BYTES:
        return ""
    found = json_object(octets)
    return "" if found is None else json.dumps(found, separators=(",", ":"))
