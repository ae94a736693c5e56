"""All that is known of one site: sightings by MAC and by address, claims by subject, devices by key.

It is the tables `sighting`, `claim`, `device` and `device_address`, of which `memory` keeps what was used last.

Beside the rows themselves it knows who holds an address by authority, and which MACs route, as `identity.resolve` would
find from all rows. With that a small set of rows gives `resolve` the same answer about a few devices as all rows would:
of a router with a hundred thousand addresses behind it, only those that matter are looked at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from itertools import islice

from fieldwatch_proto.identity import (
    FAMILIES,
    MAX_WEAK_ADDRESSES,
    NO_MAC,
    Prefix,
    Sighting,
    forwards,
    is_bindable,
    is_link_local,
    is_local,
)
from fieldwatch_proto.schema import AUTHORITATIVE, WEAK, SightingSource, vlan_ids

from fieldwatch_collector.projections.batch import MAX_TOTAL
from fieldwatch_collector.projections.devices import DeviceRow, read_device
from fieldwatch_collector.projections.loading import (
    add_weak,
    is_public,
    load_claims,
    load_holder,
    load_rows,
    load_station,
)
from fieldwatch_collector.projections.memory import ENOUGH, Claims, Memory, Rows, Sample, Seen, SightingKey, Station

# Of one address, and of one MAC with addresses that it is shown with. What touches such a row costs as many, each time:
# a host that claims addresses at random would hold up everybody.
MAX_ROWS = 4_096
WRITE_SIGHTING = (
    "INSERT INTO sighting(site, mac, ip, vlans, source, first_ns, last_ns, frames, agent, interface)"
    " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(site, mac, ip, vlans, source) DO UPDATE SET"
    " first_ns = min(first_ns, excluded.first_ns), last_ns = max(last_ns, excluded.last_ns),"
    f" frames = min(frames + excluded.frames, {MAX_TOTAL}), agent = excluded.agent,"
    " interface = excluded.interface"
)


class _Standing(Enum):
    """What an address is to a MAC that sent frames from it by no authority."""

    NOTHING = 0  # not local, or its own by authority
    WEAK = 1  # nobody holds it
    FOREIGN = 2  # others hold it


class SiteModel:
    """See the module. To be used in the writer's transactions, with `write` at the end of each batch."""

    def __init__(
        self, connection: sqlite3.Connection, site: str, memory: Memory, prefixes: Sequence[Prefix] = ()
    ) -> None:
        self.site = site
        self._connection = connection
        self._memory = memory
        self._prefixes = prefixes
        self._unwritten: list[tuple[object, ...]] = []  # sightings
        (self.sightings,) = connection.execute("SELECT count(*) FROM sighting WHERE site = ?", (site,)).fetchone()
        self.subjects = self.remote_subjects = 0  # of the claims
        for (subject,) in connection.execute("SELECT DISTINCT subject FROM claim WHERE site = ?", (site,)):
            self.subjects += 1
            ip = is_public(subject, prefixes)
            self.remote_subjects += ip is not None and not load_holder(connection, site, ip)

    def is_remote(self, subject: str) -> bool:
        """Whether a claim's subject is a public address that no device of the site holds."""
        ip = is_public(subject, self._prefixes)
        return ip is not None and not self.holder(ip)

    # Devices ----------------------------------------------------------------------------------------------------

    def device(self, key: str) -> DeviceRow | None:
        return self._memory.devices.get((self.site, key), self._load_device)

    def _load_device(self, place: tuple[str, str]) -> DeviceRow | None:
        return read_device(self._connection, *place)

    def device_of_id(self, id_: str) -> DeviceRow | None:
        key = self._memory.device_keys.get((self.site, id_), self._load_key)
        return self.device(key) if key else None

    def _load_key(self, place: tuple[str, str]) -> str:
        row = self._connection.execute("SELECT key FROM device_id WHERE site = ? AND id = ?", place).fetchone()
        return row[0] if row else ""

    def add_device(self, row: DeviceRow) -> None:
        self._memory.devices.put((self.site, row.key), row)

    def remove_device(self, row: DeviceRow) -> None:
        """Its row of the table too."""
        self._memory.devices.put((self.site, row.key), None)
        self._connection.execute("DELETE FROM device WHERE id = ?", (row.id,))

    def holder(self, ip: bytes) -> str:
        """The id of the device that has the address, or none."""
        return self._memory.holders.get((self.site, ip), self._load_holder)

    def _load_holder(self, place: tuple[str, bytes]) -> str:
        return load_holder(self._connection, *place)

    def hold(self, ip: bytes, id_: str) -> None:
        """Say which device has the address; none = nobody."""
        self._memory.holders.put((self.site, ip), id_)
        if id_:
            self._connection.execute(
                "INSERT OR REPLACE INTO device_address(site, ip, device) VALUES(?, ?, ?)", (self.site, ip, id_)
            )
        else:
            self._connection.execute("DELETE FROM device_address WHERE site = ? AND ip = ?", (self.site, ip))

    # Claims -----------------------------------------------------------------------------------------------------

    def claims_of(self, subject: str) -> Claims:
        """Empty where nothing is claimed; who adds the first one counts the subject."""
        return self._memory.claims.get((self.site, subject), self._load_claims)

    def _load_claims(self, place: tuple[str, str]) -> Claims:
        return load_claims(self._connection, *place)

    def facts_of(self, subjects: Iterable[str]) -> list[tuple[str, str, str, str, int]]:
        """What is claimed of these subjects, as `identity.resolve` takes it: at its first and its last time."""
        facts = []
        for subject in sorted(subjects):
            for claim, times in sorted(self.claims_of(subject).items()):
                facts += [(subject, *claim, seen_ns) for seen_ns in sorted(set(times))]
        return facts

    # Sightings --------------------------------------------------------------------------------------------------

    def _rows(self, where: bytes) -> Rows:
        """Of an address; of a MAC, those without one."""
        return self._memory.rows.get((self.site, where), self._load_rows)

    def _load_rows(self, place: tuple[str, bytes]) -> Rows:
        return load_rows(self._connection, *place)

    def _rows_of(self, ips: Iterable[bytes]) -> Iterable[Rows]:
        return (self._rows(ip) for ip in ips if any(ip))

    def _seen(self, key: SightingKey) -> Seen | None:
        return self._rows(key.ip if any(key.ip) else key.mac).seen.get(key)

    def _station(self, mac: bytes) -> Station:
        return self._memory.stations.get((self.site, mac), self._load_station)

    def _load_station(self, place: tuple[str, bytes]) -> Station:
        return load_station(self._connection, *place, self._prefixes)

    def _full(self, mac: bytes) -> Station:
        """The station with enough of its addresses at hand."""
        station = self._station(mac)
        if station.is_short:
            self.write()
            self._memory.stations.drop((self.site, mac))
            station = self._station(mac)
        return station

    def see(self, key: SightingKey, seen: Seen, agent: str, interface: str) -> bool:
        """Add to a row; False where it is not there."""
        found = self._seen(key)
        if found is None:
            return False
        found.first_ns = min(found.first_ns, seen.first_ns)
        found.last_ns = max(found.last_ns, seen.last_ns)
        found.frames = min(found.frames + seen.frames, MAX_TOTAL)
        self._to_write(key, seen, agent, interface)
        return True

    def _to_write(self, key: SightingKey, seen: Seen, agent: str, interface: str) -> None:
        self._unwritten.append((self.site, *key, seen.first_ns, seen.last_ns, seen.frames, agent, interface))

    def write(self) -> None:
        """Bring the table `sighting` up to what was taken."""
        self._connection.executemany(WRITE_SIGHTING, self._unwritten)
        self._unwritten.clear()

    def has_room(self, key: SightingKey) -> bool:
        """Whether a row that is not there may be added, see `MAX_ROWS`."""
        if len(self._rows(key.ip if any(key.ip) else key.mac).seen) >= MAX_ROWS:
            return False
        if key.mac == NO_MAC or (key.source in WEAK and not is_link_local(key.ip)):
            return True
        station = self._station(key.mac)
        return len(station.firm) + len(station.near) < MAX_ROWS

    def add_sighting(
        self, key: SightingKey, seen: Seen, agent: str, interface: str
    ) -> tuple[Collection[bytes], Collection[bytes]]:
        """Take a row that was not there; the MACs that begin or cease to keep other addresses because of it, and the
        addresses that may be others' now."""
        mac, ip, source = key.mac, key.ip, SightingSource(key.source)
        rows = self._rows(ip if any(ip) else mac)
        routed = forwards(source, ip, self._prefixes)
        weak = source in WEAK and not routed
        users: set[bytes] = set()  # to whom the address may be another thing now
        binds = source in AUTHORITATIVE and mac != NO_MAC and is_bindable(ip) and mac not in rows.owners
        if binds:
            users = {row.mac for row in rows.seen if row.source in WEAK} - {NO_MAC}
        elif weak and mac != NO_MAC and any(ip):
            users = {mac}
        before = {each: self.kept_ips(each) - {ip} for each in (users | {mac}) - {NO_MAC}}
        standing = {each: self._standing(rows, each, ip) for each in users}

        self.sightings += 1
        rows.seen[key] = Seen(seen.first_ns, seen.last_ns, seen.frames)
        self._to_write(key, seen, agent, interface)
        if binds:
            rows.owners.add(mac)
        if mac != NO_MAC:
            station = self._station(mac)
            station.forwards.update(routed)
            if not weak and any(ip):
                station.firm.add(key)
            if binds and not is_link_local(ip):
                station.held.add(len(ip))
        for each, was in standing.items():
            if (now := self._standing(rows, each, ip)) is not was:
                _move(self._station(each), ip, was, now)

        turned = {each for each, kept in before.items() if kept != self.kept_ips(each) - {ip}}
        return turned, set().union(*map(self._wavering_ips, turned))

    def _standing(self, rows: Rows, mac: bytes, ip: bytes) -> _Standing:
        if not is_local(ip, self._prefixes) or not rows.has_weak(mac) or mac in rows.owners:
            return _Standing.NOTHING
        return _Standing.FOREIGN if rows.owners else _Standing.WEAK

    def _kept(self, mac: bytes, family: int) -> set[bytes]:
        """Of the weak addresses those that the MAC does not forward, by the rule of `identity`."""
        station = self._full(mac)
        weak = station.weak[family]
        if family in station.forwards or station.foreign[family].count or weak.count > MAX_WEAK_ADDRESSES:
            return set()
        if weak.count > 1 or family in station.held:
            return {ip for ip in weak.some if self._is_direct(mac, ip)}
        return set(weak.some)

    def _is_direct(self, mac: bytes, ip: bytes) -> bool:
        """Whether frames of the address came from the MAC that nobody had forwarded."""
        return any(key.mac == mac and key.source == SightingSource.IP for key in self._rows(ip).seen)

    def kept_ips(self, mac: bytes) -> set[bytes]:
        """Local addresses that nobody holds by authority and that are the MAC's own; link-local ones beside these."""
        return set().union(*(self._kept(mac, family) for family in FAMILIES))

    def _wavering_ips(self, mac: bytes) -> set[bytes]:
        """Local addresses that the MAC used and nobody holds, of families of which it may have kept them until now."""
        weak = self._full(mac).weak.values()
        return set().union(*(sample.some for sample in weak if sample.count <= ENOUGH))

    def macs_of(self, ips: Iterable[bytes]) -> set[bytes]:
        """MACs that were seen with any of these addresses."""
        return {key.mac for rows in self._rows_of(ips) for key in rows.seen if key.mac != NO_MAC}

    def own_ips(self, macs: Iterable[bytes]) -> set[bytes]:
        """Addresses that may be shown with these MACs."""
        found: set[bytes] = set()
        for mac in macs:
            station = self._station(mac)
            found.update(key.ip for key in station.firm)
            found |= station.near
            found |= self.kept_ips(mac)
        return found

    def rows_for(self, macs: set[bytes], ips: set[bytes]) -> list[Sighting]:
        """Rows from which `resolve` gives what all rows would of these addresses, and of those MACs whose `own_ips`
        are among them. In a fixed order."""
        found: dict[SightingKey, Seen] = {}
        for mac in macs:
            found |= self._rows(mac).seen
            station = self._full(mac)
            for key in station.firm:
                found[key] = self._rows(key.ip).seen[key]
            witnesses = station.near.union(*(_witnesses(station, family) for family in FAMILIES))
            for rows in self._rows_of(witnesses):
                found |= {key: seen for key, seen in rows.seen.items() if key.mac == mac}
        for rows in self._rows_of(ips):
            found |= rows.seen
        for rows in self._rows_of({key.ip for key in found} - ips):
            # who holds an address decides what the others' rows mean
            found |= {key: seen for key, seen in rows.seen.items() if key.source in AUTHORITATIVE}
        return [
            Sighting(
                tuple(vlan_ids(key.vlans)),
                key.mac,
                key.ip,
                SightingSource(key.source),
                found[key].first_ns,
                found[key].last_ns,
                found[key].frames,
            )
            for key in sorted(found)
        ]

    def weight(self, ip: bytes, mac: bytes) -> tuple[bool, int]:
        """How well a device holds an address: by authority or not, and when last. NO_MAC: behind a router."""
        best = (False, 0)
        for key, seen in self._rows(ip).seen.items():
            if mac in (NO_MAC, key.mac):
                best = max(best, (mac != NO_MAC and key.source in AUTHORITATIVE, seen.last_ns))
        return best


def _move(station: Station, ip: bytes, was: _Standing, now: _Standing) -> None:
    """An address is another thing to a MAC than it was."""
    if was is _Standing.WEAK and is_link_local(ip):
        station.near.discard(ip)
    elif was is not _Standing.NOTHING:
        sample = _sample(station, ip, was)
        sample.remove(ip)
        station.is_short = station.is_short or len(sample.some) < min(sample.count, ENOUGH)
    if now is _Standing.WEAK:
        add_weak(station, ip)
    elif now is _Standing.FOREIGN:
        _sample(station, ip, now).add(ip)


def _sample(station: Station, ip: bytes, standing: _Standing) -> Sample:
    return (station.foreign if standing is _Standing.FOREIGN else station.weak)[len(ip)]


def _witnesses(station: Station, family: int) -> Iterable[bytes]:
    """Addresses whose rows, with the firm ones, show what the MAC forwards and what it keeps."""
    if family in station.forwards:
        return ()
    return islice(station.foreign[family].some or station.weak[family].some, MAX_WEAK_ADDRESSES + 1)
