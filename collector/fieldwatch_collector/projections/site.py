"""All that is known of one site, in memory: sightings by MAC and by address, claims by subject, devices by key.

It mirrors the tables `sighting`, `claim`, `device`, `device_address` and is loaded from them; whoever changes it writes
the same change to the tables in the same transaction, or forgets it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from fieldwatch_proto.identity import MAX_WEAK_ADDRESSES, NO_MAC, Prefix, Sighting, is_bindable, is_link_local, is_local
from fieldwatch_proto.schema import AUTHORITATIVE, SightingSource, vlan_ids

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
    """See the module. Use `load`.

    Beside the rows themselves it keeps who holds an address by authority, and which MACs route, as `identity.resolve`
    would find from all rows. With that a small set of rows gives `resolve` the same answer about a few devices as all
    rows would: of a router with a hundred thousand addresses behind it, only those that matter are looked at.
    """

    def __init__(self, site: str, prefixes: Sequence[Prefix] = ()) -> None:
        self.site = site
        self._prefixes = prefixes
        self.sightings: dict[SightingKey, Seen] = {}
        self.claims: dict[str, dict[ClaimKey, tuple[int, int]]] = {}  # subject -> claim -> first, last
        self.devices: dict[str, DeviceRow] = {}
        self.by_id: dict[str, DeviceRow] = {}
        self.holders: dict[bytes, str] = {}  # address -> device id
        self._by_ip: dict[bytes, set[SightingKey]] = {}
        self._firm: dict[bytes, set[SightingKey]] = {}  # MAC -> rows of every source but plain IP
        self._owners: dict[bytes, set[bytes]] = {}  # address -> MACs that hold it by authority
        self._forwards: set[bytes] = set()  # MACs that sent frames of others
        self._near: dict[bytes, set[bytes]] = {}  # MAC -> link-local addresses that nobody holds: they are its own
        self._weak: dict[bytes, dict[int, set[bytes]]] = {}  # MAC -> family -> other local addresses of that sort
        self._foreign: dict[bytes, set[bytes]] = {}  # MAC -> addresses it used that others hold

    @classmethod
    def load(cls, connection: sqlite3.Connection, site: str, prefixes: Sequence[Prefix] = ()) -> SiteModel:
        """From the tables."""
        model = cls(site, prefixes)
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

    def add_device(self, row: DeviceRow) -> None:
        self.devices[row.key] = self.by_id[row.id] = row

    def remove_device(self, key: str) -> DeviceRow:
        row = self.devices.pop(key)
        del self.by_id[row.id]
        return row

    # Sightings --------------------------------------------------------------------------------------------------

    def add_sighting(self, key: SightingKey, seen: Seen) -> set[bytes]:
        """Take a row that was not there; the MACs that begin or cease to route because of it."""
        self.sightings[key] = seen
        mac, ip = key.mac, key.ip
        if any(ip):
            self._by_ip.setdefault(ip, set()).add(key)
        source = SightingSource(key.source)
        if source is not SightingSource.IP:
            self._firm.setdefault(mac, set()).add(key)
        if mac == NO_MAC:
            return set()
        if source is SightingSource.IP:
            return self._reclassify(ip, {mac})
        if source is SightingSource.FORWARD:
            routed = self.routes(mac)
            self._forwards.add(mac)
            return set() if routed else {mac}
        if source in AUTHORITATIVE and is_bindable(ip):
            owners = self._owners.setdefault(ip, set())
            if mac not in owners:
                owners.add(mac)
                users = {row.mac for row in self._by_ip[ip] if row.source == SightingSource.IP}
                return self._reclassify(ip, users - {NO_MAC})
        return set()

    def _reclassify(self, ip: bytes, macs: set[bytes]) -> set[bytes]:
        """What it says of these MACs that they sent plain frames from `ip`; those for which routing changed."""
        if not is_local(ip, self._prefixes):
            return set()
        changed = set()
        owners = self._owners.get(ip)
        for mac in macs:
            before = self.routes(mac)
            weak = (
                self._near.setdefault(mac, set())
                if is_link_local(ip)
                else self._weak.setdefault(mac, {}).setdefault(len(ip), set())
            )
            foreign = self._foreign.setdefault(mac, set())
            weak.discard(ip)
            foreign.discard(ip)
            if not owners:
                weak.add(ip)
            elif mac not in owners:
                foreign.add(ip)
            if before != self.routes(mac):
                changed.add(mac)
        return changed

    def routes(self, mac: bytes) -> bool:
        """Whether the MAC routes, by the rule of `identity`."""
        return (
            mac in self._forwards
            or bool(self._foreign.get(mac))
            or any(len(ips) > MAX_WEAK_ADDRESSES for ips in self._weak.get(mac, {}).values())
        )

    def macs_of(self, ips: Iterable[bytes]) -> set[bytes]:
        """MACs that were seen with any of these addresses."""
        return {key.mac for ip in ips for key in self._by_ip.get(ip, ()) if key.mac != NO_MAC}

    def weak_ips(self, mac: bytes) -> set[bytes]:
        """Local addresses that the MAC used and nobody holds by authority; its own as long as it does not route."""
        return set().union(*self._weak.get(mac, {}).values())

    def own_ips(self, macs: Iterable[bytes]) -> set[bytes]:
        """Addresses that may be shown with these MACs."""
        found: set[bytes] = set()
        for mac in macs:
            found.update(key.ip for key in self._firm.get(mac, ()) if any(key.ip))
            found |= self._near.get(mac, set())
            if not self.routes(mac):
                found |= self.weak_ips(mac)
        return found

    def rows_for(self, macs: set[bytes], ips: set[bytes]) -> list[Sighting]:
        """Rows from which `resolve` gives what all rows would of these addresses, and of those MACs whose `own_ips`
        are among them. In a fixed order."""
        keys: set[SightingKey] = set()
        for mac in macs:
            keys |= self._firm.get(mac, set())
            if not self.routes(mac):
                witnesses = self.weak_ips(mac) | self._near.get(mac, set())
            elif mac in self._forwards:
                witnesses = set()
            elif self._foreign.get(mac):
                witnesses = {next(iter(self._foreign[mac]))}
            else:
                witnesses = {ip for family in self._weak[mac].values() for ip in islice(family, MAX_WEAK_ADDRESSES + 1)}
            for ip in witnesses:
                keys.update(key for key in self._by_ip[ip] if key.mac == mac)
        for ip in ips:
            keys |= self._by_ip.get(ip, set())
        for ip in {key.ip for key in keys} - ips:  # who holds an address decides what the others' rows mean
            keys.update(key for key in self._by_ip.get(ip, ()) if SightingSource(key.source) in AUTHORITATIVE)
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

    def weight(self, ip: bytes, mac: bytes) -> tuple[bool, int]:
        """How well a device holds an address: by authority or not, and when last. NO_MAC: behind a router."""
        best = (False, 0)
        for key in self._by_ip.get(ip, ()):
            if mac in (NO_MAC, key.mac):
                authority = mac != NO_MAC and SightingSource(key.source) in AUTHORITATIVE
                best = max(best, (authority, self.sightings[key].last_ns))
        return best

    # Claims -----------------------------------------------------------------------------------------------------

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
