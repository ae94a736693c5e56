"""All that is known of one site, in memory: sightings by MAC and by address, claims by subject, devices by key.

It mirrors the tables `sighting`, `claim`, `device`, `device_address` and is loaded from them; whoever changes it writes
the same change to the tables in the same transaction, or forgets it.
"""

from __future__ import annotations

import ipaddress
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from fieldwatch_proto.identity import (
    FAMILIES,
    MAX_WEAK_ADDRESSES,
    NO_MAC,
    Place,
    Prefix,
    Sighting,
    forwards,
    is_bindable,
    is_link_local,
    is_local,
)
from fieldwatch_proto.schema import AUTHORITATIVE, WEAK, SightingSource, vlan_ids

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
        self.remote_subjects = 0  # of the claims
        self._by_ip: dict[bytes, set[SightingKey]] = {}
        self._firm: dict[bytes, set[SightingKey]] = {}  # MAC -> rows of every source but weak ones that have an address
        self._owners: dict[bytes, set[bytes]] = {}  # address -> MACs that hold it by authority
        self._held: set[Place] = set()  # that hold one which is not link-local
        self._forwards: set[Place] = set()  # that forwarded a source which is not local
        self._near: dict[bytes, set[bytes]] = {}  # MAC -> link-local addresses that nobody holds: they are its own
        self._weak: dict[Place, set[bytes]] = {}  # other local addresses of that sort
        self._direct: dict[Place, set[bytes]] = {}  # local addresses of frames that nobody had forwarded
        self._foreign: dict[Place, set[bytes]] = {}  # addresses it used that others hold

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
        model.remote_subjects = sum(map(model.is_remote, model.claims))
        return model

    def is_remote(self, subject: str) -> bool:
        """Whether a claim's subject is a public address that no device of the site holds."""
        try:
            ip = ipaddress.ip_address(subject).packed
        except ValueError:
            return False  # a MAC
        return ip not in self.holders and not is_local(ip, self._prefixes)

    def add_device(self, row: DeviceRow) -> None:
        self.devices[row.key] = self.by_id[row.id] = row

    def remove_device(self, key: str) -> DeviceRow:
        row = self.devices.pop(key)
        del self.by_id[row.id]
        return row

    # Sightings --------------------------------------------------------------------------------------------------

    def add_sighting(self, key: SightingKey, seen: Seen) -> set[bytes]:
        """Take a row that was not there; the MACs that begin or cease to keep other addresses because of it."""
        self.sightings[key] = seen
        mac, ip, source = key.mac, key.ip, SightingSource(key.source)
        if any(ip):
            self._by_ip.setdefault(ip, set()).add(key)
        routed = forwards(source, ip, self._prefixes)
        weak = source in WEAK and not routed
        if not weak:
            self._firm.setdefault(mac, set()).add(key)
        if mac == NO_MAC:
            return set()
        users = {mac} if weak else set()
        binds = source in AUTHORITATIVE and is_bindable(ip) and mac not in self._owners.get(ip, ())
        if binds:
            users = {row.mac for row in self._by_ip[ip] if row.source in WEAK} - {NO_MAC}
        before = {each: self.kept_ips(each) - {ip} for each in users | {mac}}
        self._forwards.update((mac, family) for family in routed)
        if source is SightingSource.IP:
            self._direct.setdefault((mac, len(ip)), set()).add(ip)
        if binds:
            self._owners.setdefault(ip, set()).add(mac)
            if not is_link_local(ip):
                self._held.add((mac, len(ip)))
        self._classify(ip, users)
        return {each for each, kept in before.items() if kept != self.kept_ips(each) - {ip}}

    def _classify(self, ip: bytes, macs: set[bytes]) -> None:
        """What it says of these MACs that they sent frames from `ip`."""
        if not is_local(ip, self._prefixes):
            return
        owners = self._owners.get(ip)
        for mac in macs:
            place = mac, len(ip)
            weak = self._near.setdefault(mac, set()) if is_link_local(ip) else self._weak.setdefault(place, set())
            foreign = self._foreign.setdefault(place, set())
            weak.discard(ip)
            foreign.discard(ip)
            if not owners:
                weak.add(ip)
            elif mac not in owners:
                foreign.add(ip)

    def _kept(self, place: Place) -> set[bytes]:
        """Of the weak addresses those that the MAC does not forward, by the rule of `identity`."""
        weak = self._weak.get(place, set())
        if place in self._forwards or self._foreign.get(place) or len(weak) > MAX_WEAK_ADDRESSES:
            return set()
        if len(weak) > 1 or place in self._held:
            return weak & self._direct.get(place, set())
        return weak

    def kept_ips(self, mac: bytes) -> set[bytes]:
        """Local addresses that nobody holds by authority and that are the MAC's own; link-local ones beside these."""
        return set().union(*(self._kept((mac, family)) for family in FAMILIES))

    def macs_of(self, ips: Iterable[bytes]) -> set[bytes]:
        """MACs that were seen with any of these addresses."""
        return {key.mac for ip in ips for key in self._by_ip.get(ip, ()) if key.mac != NO_MAC}

    def weak_ips(self, mac: bytes) -> set[bytes]:
        """Local addresses that the MAC used and nobody holds by authority, its own or not."""
        return set().union(*(self._weak.get((mac, family), ()) for family in FAMILIES))

    def own_ips(self, macs: Iterable[bytes]) -> set[bytes]:
        """Addresses that may be shown with these MACs."""
        found: set[bytes] = set()
        for mac in macs:
            found.update(key.ip for key in self._firm.get(mac, ()) if any(key.ip))
            found |= self._near.get(mac, set())
            found |= self.kept_ips(mac)
        return found

    def rows_for(self, macs: set[bytes], ips: set[bytes]) -> list[Sighting]:
        """Rows from which `resolve` gives what all rows would of these addresses, and of those MACs whose `own_ips`
        are among them. In a fixed order."""
        keys: set[SightingKey] = set()
        for mac in macs:
            keys |= self._firm.get(mac, set())
            witnesses = set(self._near.get(mac, ()))
            for family in FAMILIES:
                witnesses.update(self._witnesses((mac, family)))
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

    def _witnesses(self, place: Place) -> Iterable[bytes]:
        """Addresses whose rows, with the firm ones, show what the MAC forwards and what it keeps."""
        if place in self._forwards:
            return ()
        return islice(self._foreign.get(place) or self._weak.get(place, set()), MAX_WEAK_ADDRESSES + 1)

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
