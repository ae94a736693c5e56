"""A device as the table `device` keeps it, and as people are told of it."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from fieldwatch_proto.schema import time_text

from fieldwatch_collector.ids import new_ulid

LISTS = ("macs", "ips", "vlans", "sources")  # columns of JSON


@dataclass(slots=True)
class DeviceRow:
    """A row of the table `device`; lists are sorted, as shown."""

    id: str
    site: str
    key: str
    name: str = ""
    name_source: str = ""
    vendor: str = ""
    macs: list[str] = field(default_factory=list)
    ips: list[str] = field(default_factory=list)
    vlans: list[int] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    first_ns: int = 0
    last_ns: int = 0
    frames: int = 0
    flows: int = 0
    bytes: int = 0


def read_device(connection: sqlite3.Connection, site: str, key: str) -> DeviceRow | None:
    """From the table."""
    row = connection.execute("SELECT * FROM device WHERE site = ? AND key = ?", (site, key)).fetchone()
    if row is None:
        return None
    values = dict(row)
    return DeviceRow(**values | {name: json.loads(values[name]) for name in LISTS})


def write_devices(connection: sqlite3.Connection, rows: Iterable[DeviceRow]) -> None:
    """Bring the table up to these rows."""
    connection.executemany(
        "INSERT OR REPLACE INTO device(id, site, key, name, name_source, vendor, macs, ips, vlans, sources,"
        " first_ns, last_ns, frames, flows, bytes) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            (
                row.id,
                row.site,
                row.key,
                row.name,
                row.name_source,
                row.vendor,
                json.dumps(row.macs),
                json.dumps(row.ips),
                json.dumps(row.vlans),
                json.dumps(row.sources),
                row.first_ns,
                row.last_ns,
                row.frames,
                row.flows,
                row.bytes,
            )
            for row in rows
        ),
    )


def device_id(connection: sqlite3.Connection, site: str, key: str) -> str:
    """The id of a device, the same for ever; made when it is first asked for."""
    row = connection.execute("SELECT id FROM device_id WHERE site = ? AND key = ?", (site, key)).fetchone()
    if row is not None:
        return str(row[0])
    made = new_ulid()
    connection.execute("INSERT INTO device_id(site, key, id) VALUES(?, ?, ?)", (site, key, made))
    return made


def device_object(row: DeviceRow) -> dict[str, Any]:
    """As query.proto's Device."""
    return {
        "id": row.id,
        "site": row.site,
        "name": row.name,
        "name_source": row.name_source,
        "macs": row.macs,
        "ips": row.ips,
        "vendor": row.vendor,
        "sources": row.sources,
        "vlans": row.vlans,
        "first_seen": time_text(row.first_ns),
        "last_seen": time_text(row.last_ns),
        "frames": row.frames,
        "flows": row.flows,
        "bytes": row.bytes,
    }
