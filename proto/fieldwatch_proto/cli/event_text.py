"""An event in a few words for people: what it is about, and what is new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fieldwatch_proto.cli.tables import plain

_OF_DEVICES = ("ips", "macs", "vendor", "sources")  # what says most about a device that was just found


def subject_text(event: Mapping[str, Any]) -> str:
    """The name; of a device without one an address, else the id."""
    subject, data = event["subject"], event["data"]
    if subject["name"]:
        return str(subject["name"])
    device = data.get("device", data)
    if subject["kind"] == "device" and isinstance(device, dict):
        for key in ("ips", "macs"):
            found = device.get(key)
            if isinstance(found, list) and found:
                return str(found[0])
    return str(subject["id"])


def details_text(event: Mapping[str, Any]) -> str:
    """Changes as "vendor: a -> b" and "ips: +10.0.0.1 -10.0.0.2"; otherwise the plain values of the data."""
    data = event["data"]
    changes = data.get("changes")
    if isinstance(changes, dict):
        return "  ".join(_change(key, change) for key, change in changes.items() if isinstance(change, dict))
    keys = _OF_DEVICES if event["type"] == "device.discovered" else tuple(data)
    return "  ".join(
        f"{key}={plain(data[key])}"
        for key in keys
        if data.get(key) not in ("", None, [], {}) and not isinstance(data[key], dict)
    )


def _change(key: str, change: Mapping[str, Any]) -> str:
    before, after = change.get("before"), change.get("after")
    if isinstance(before, list) and isinstance(after, list):
        gone = [f"-{plain(item)}" for item in before if item not in after]
        come = [f"+{plain(item)}" for item in after if item not in before]
        return f"{key}: {' '.join(come + gone)}"
    return f"{key}: {plain(before) or 'none'} -> {plain(after) or 'none'}"
