"""All that is known of one site, in memory: sightings by MAC and by address, claims by subject, devices by key.

It mirrors the tables `sighting`, `claim`, `device`, `device_address` and is loaded from them; whoever changes it writes
the same change to the tables in the same transaction, or forgets it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from fieldwatch_proto.identity import NO_MAC, Sighting
from fieldwatch_proto.schema import SightingSource, vlan_ids

from fieldwatch_collector.ids import new_ulid


class SightingKey(NamedTuple):
    mac: bytes
    ip: bytes
    vlans: int
    source: int


@dataclass(slots=True)
class Seen:
    first_ns: int
    last_ns: int
    frames: int


class ClaimKey(NamedTuple):
    key: str
    value: str
    source: str


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


class SiteModel:
    """See the module. Use `load`."""

    def __init__(self, site: str) -> None:
        self.site = site
        self.sightings: dict[SightingKey, Seen] = {}
        self.by_mac: dict[bytes, set[SightingKey]] = {}
        self.by_ip: dict[bytes, set[SightingKey]] = {}
        self.claims: dict[str, dict[ClaimKey, tuple[int, int]]] = {}  # subject -> claim -> first, last
        self.devices: dict[str, DeviceRow] = {}
        self.by_id: dict[str, DeviceRow] = {}
        self.holders: dict[bytes, str] = {}  # address -> device id

    @classmethod
    def load(cls, connection: sqlite3.Connection, site: str) -> SiteModel:
        """From the tables."""
        model = cls(site)
        for mac, ip, vlans, source, first_ns, last_ns, frames in connection.execute(
            "SELECT mac, ip, vlans, source, first_ns, last_ns, frames FROM sighting WHERE site = ?", (site,)
        ):
            model.add_sighting(SightingKey(mac, ip, vlans, source), Seen(first_ns, last_ns, frames))
        for subject, key, value, source, first_ns, last_ns in connection.execute(
            "SELECT subject, key, value, source, first_ns, last_ns FROM claim WHERE site = ?", (site,)
        ):
            model.claims.setdefault(subject, {})[ClaimKey(key, value, source)] = (first_ns, last_ns)
        for row in connection.execute("SELECT * FROM device WHERE site = ?", (site,)):
            values = dict(row)
            for name in ("macs", "ips", "vlans", "sources"):
                values[name] = json.loads(values[name])
            model.add_device(DeviceRow(**values))
        model.holders = {
            row[0]: row[1]
            for row in connection.execute("SELECT ip, device FROM device_address WHERE site = ?", (site,))
        }
        return model

    def add_sighting(self, key: SightingKey, seen: Seen) -> None:
        self.sightings[key] = seen
        self.by_mac.setdefault(key.mac, set()).add(key)
        if key.ip:
            self.by_ip.setdefault(key.ip, set()).add(key)

    def add_device(self, row: DeviceRow) -> None:
        self.devices[row.key] = self.by_id[row.id] = row

    def remove_device(self, key: str) -> DeviceRow:
        row = self.devices.pop(key)
        del self.by_id[row.id]
        return row

    def macs_of(self, ips: Iterable[bytes]) -> set[bytes]:
        """MACs that were seen with any of these addresses."""
        return {key.mac for ip in ips for key in self.by_ip.get(ip, ()) if key.mac != NO_MAC}

    def ips_of(self, macs: Iterable[bytes]) -> set[bytes]:
        """Addresses that were seen with any of these MACs."""
        return {key.ip for mac in macs for key in self.by_mac.get(mac, ()) if key.ip}

    def rows_of(self, macs: Iterable[bytes], ips: Iterable[bytes]) -> list[Sighting]:
        """Every sighting of these MACs and of these addresses, in a fixed order."""
        keys: set[SightingKey] = set()
        for mac in macs:
            keys |= self.by_mac.get(mac, set())
        for ip in ips:
            keys |= self.by_ip.get(ip, set())
        rows = []
        for key in sorted(keys):
            seen = self.sightings[key]
            rows.append(
                Sighting(
                    tuple(vlan_ids(key.vlans)),
                    key.mac,
                    key.ip,
                    SightingSource(key.source),
                    seen.first_ns,
                    seen.last_ns,
                    seen.frames,
                )
            )
        return rows

    def facts_of(self, subjects: Iterable[str]) -> list[tuple[str, str, str, str, int]]:
        """What is claimed of these subjects, as `identity.resolve` takes it: at its first and its last time."""
        facts = []
        for subject in sorted(subjects):
            for claim, times in sorted(self.claims.get(subject, {}).items()):
                facts += [(subject, *claim, seen_ns) for seen_ns in sorted(set(times))]
        return facts


def device_id(connection: sqlite3.Connection, site: str, key: str) -> str:
    """The id of a device, the same for ever; made when it is first asked for."""
    row = connection.execute("SELECT id FROM device_id WHERE site = ? AND key = ?", (site, key)).fetchone()
    if row is not None:
        return str(row[0])
    made = new_ulid()
    connection.execute("INSERT INTO device_id(site, key, id) VALUES(?, ?, ?)", (site, key, made))
    return made
