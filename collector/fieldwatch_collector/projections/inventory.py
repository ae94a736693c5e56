"""Devices from sightings and facts, kept up to date batch by batch.

The rule is `fieldwatch_proto.identity.resolve`, and it is applied to the neighbourhood of what a batch touched: a
device depends on the sightings of its MAC, on who else was seen with its addresses, and on which of those route. The
rows that `SiteModel.rows_for` picks give the same devices as those of the whole site would (a test pins that), and a
batch costs what it touches, not what the site holds.
"""

from __future__ import annotations

import functools
import ipaddress
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fieldwatch_proto.columns import MAX_RECORDS
from fieldwatch_proto.identity import NO_MAC, Device, Prefix, is_unicast_mac, resolve
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.schema import Kind, SightingSource, ip_text, mac_text, time_text
from fieldwatch_proto.vendors import Vendors

from fieldwatch_collector.journal import record
from fieldwatch_collector.projections.batch import MAX_TOTAL, OpenBatch
from fieldwatch_collector.projections.flows import bind_late, rebind
from fieldwatch_collector.projections.site import ClaimKey, DeviceRow, Seen, SightingKey, SiteModel, device_id

MAX_SIGHTINGS = 500_000  # of one site
MAX_SUBJECTS = 100_000  # of one site, of which anything is claimed
MAX_REMOTE_SUBJECTS = 20_000  # of these, public addresses that nobody here holds: names of the Internet crowd out none
MAX_CLAIMS = 256  # of one subject
MAX_CONFIDENCE = 100
SOURCES = {int(source) for source in SightingSource}

log = get_logger(__name__)
Event = dict[str, Any]


@dataclass(slots=True)
class _Touched:
    """What a batch touched. `turned`: MACs that began or ceased to keep addresses; these become other devices'."""

    macs: set[bytes] = field(default_factory=set)
    ips: set[bytes] = field(default_factory=set)
    turned: set[bytes] = field(default_factory=set)
    subjects: set[str] = field(default_factory=set)


class InventoryProjection:
    """Kinds sighting and fact -> tables sighting, claim, device, device_address."""

    name = "inventory"
    kinds = frozenset({Kind.SIGHTING, Kind.FACT})
    part = MAX_RECORDS
    rebuilt = True

    def __init__(self, prefixes: Sequence[Prefix] = ()) -> None:
        self._prefixes = prefixes
        self._sites: dict[str, SiteModel] = {}
        self._updated: dict[str, DeviceRow] = {}
        self._dirty: dict[str, DeviceRow] = {}
        self.dropped = 0  # sightings and claims beyond the limits, since the start

    def apply(self, connection: sqlite3.Connection, batch: OpenBatch) -> list[Event]:
        model = self.model(connection, batch.site)
        touched = _Touched()
        dropped = self.dropped
        if batch.records.kind is Kind.SIGHTING:
            self._take_sightings(connection, model, batch, touched)
        else:
            self._take_facts(connection, model, batch, touched)
        if self.dropped > dropped and dropped == 0:
            log.warning("the inventory is full; more is not kept", site=batch.site)
        events = _Resolution(self, connection, model, batch, touched).run()
        self.write_devices(connection)
        return events

    def model(self, connection: sqlite3.Connection, site: str) -> SiteModel:
        """The site as the tables hold it."""
        model = self._sites.get(site)
        if model is None:
            model = self._sites[site] = SiteModel.load(connection, site, self._prefixes)
        return model

    def add_traffic(self, row: DeviceRow, flows: int, octets: int) -> None:
        """Count flows of a device; `write_devices` must follow."""
        row.flows += flows
        row.bytes = min(row.bytes + octets, MAX_TOTAL)
        self.changed(row)

    def changed(self, row: DeviceRow) -> None:
        """The row must be written and told of."""
        self._dirty[row.id] = self._updated[row.id] = row

    def removed(self, row: DeviceRow) -> None:
        self._dirty.pop(row.id, None)
        self._updated.pop(row.id, None)

    def write_devices(self, connection: sqlite3.Connection) -> None:
        """Bring the table `device` up to the rows that changed."""
        connection.executemany(
            "INSERT OR REPLACE INTO device(id, site, key, name, name_source, vendor, macs, ips, vlans, sources,"
            " first_ns, last_ns, frames, flows, bytes) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
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
                for row in self._dirty.values()
            ],
        )
        self._dirty.clear()

    def take_updates(self) -> list[Event]:
        """A transient message for every device that changed since the last call."""
        updated, self._updated = self._updated, {}
        return [{"v": 1, "type": "device.updated", "data": device_object(row)} for row in updated.values()]

    def clear(self, connection: sqlite3.Connection) -> None:
        for table in ("sighting", "claim", "device", "device_address"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours

    def forget(self) -> None:
        self._sites.clear()
        self._dirty.clear()
        self._updated.clear()

    # What came ---------------------------------------------------------------------------------------------------

    def _take_sightings(
        self, connection: sqlite3.Connection, model: SiteModel, batch: OpenBatch, touched: _Touched
    ) -> None:
        kept = []
        rows = zip(
            batch.column("mac"),
            batch.addresses("ip"),
            batch.column("vlans"),
            batch.column("source"),
            batch.times("first_ns"),
            batch.times("last_ns"),
            batch.counts("frames"),
            batch.column("interface"),
            strict=True,
        )
        for mac, ip, vlans, source, first_ns, last_ns, frames, interface in rows:
            if source not in SOURCES or not (is_unicast_mac(mac) or mac == NO_MAC) or vlans >> 63:
                continue
            key = SightingKey(mac, ip, vlans, source)
            seen = model.sightings.get(key)
            if seen is None:
                if len(model.sightings) >= MAX_SIGHTINGS:
                    self.dropped += 1
                    continue
                touched.turned |= model.add_sighting(key, Seen(first_ns, last_ns, frames))
                touched.macs |= model.macs_of((ip,))
            else:
                seen.first_ns = min(seen.first_ns, first_ns)
                seen.last_ns = max(seen.last_ns, last_ns)
                seen.frames = min(seen.frames + frames, MAX_TOTAL)
            touched.macs.add(mac)
            touched.ips.add(ip)
            kept.append((batch.site, vlans, mac, ip, source, first_ns, last_ns, frames, batch.agent, interface))
        connection.executemany(
            "INSERT INTO sighting(site, vlans, mac, ip, source, first_ns, last_ns, frames, agent, interface)"
            " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT(site, mac, ip, vlans, source) DO UPDATE SET"
            " first_ns = min(first_ns, excluded.first_ns), last_ns = max(last_ns, excluded.last_ns),"
            f" frames = min(frames + excluded.frames, {MAX_TOTAL}), agent = excluded.agent,"
            " interface = excluded.interface",
            kept,
        )

    def _take_facts(
        self, connection: sqlite3.Connection, model: SiteModel, batch: OpenBatch, touched: _Touched
    ) -> None:
        kept = []
        rows = zip(
            batch.column("subject"),
            batch.column("key"),
            batch.column("value"),
            batch.column("source"),
            batch.column("confidence"),
            batch.times("seen_ns"),
            batch.column("evidence"),
            strict=True,
        )
        for text, key, value, source, confidence, seen_ns, evidence in rows:
            subject = canonical_subject(text)
            if not subject or not key:
                continue
            claims = model.claims.get(subject)
            if claims is None:
                remote = model.is_remote(subject)
                if len(model.claims) >= MAX_SUBJECTS or (remote and model.remote_subjects >= MAX_REMOTE_SUBJECTS):
                    self.dropped += 1
                    continue
                claims = model.claims[subject] = {}
                model.remote_subjects += remote
            claim = ClaimKey(key, value, source)
            times = claims.get(claim)
            if times is None and len(claims) >= MAX_CLAIMS:
                self.dropped += 1
                continue
            claims[claim] = (min(times[0], seen_ns), max(times[1], seen_ns)) if times else (seen_ns, seen_ns)
            touched.subjects.add(subject)
            level = min(confidence, MAX_CONFIDENCE)
            kept.append((batch.site, subject, *claim, level, seen_ns, seen_ns, evidence, batch.agent))
        connection.executemany(
            "INSERT INTO claim(site, subject, key, value, source, confidence, first_ns, last_ns, times, evidence,"
            " agent) VALUES(?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)"
            " ON CONFLICT(site, subject, key, value, source) DO UPDATE SET"
            " evidence = CASE WHEN excluded.last_ns >= last_ns THEN excluded.evidence ELSE evidence END,"
            " agent = CASE WHEN excluded.last_ns >= last_ns THEN excluded.agent ELSE agent END,"
            " confidence = max(confidence, excluded.confidence), times = times + 1,"
            " first_ns = min(first_ns, excluded.first_ns), last_ns = max(last_ns, excluded.last_ns)",
            kept,
        )


class _Resolution:
    """One application of the rule to the neighbourhood of what a batch touched."""

    def __init__(
        self,
        inventory: InventoryProjection,
        connection: sqlite3.Connection,
        model: SiteModel,
        batch: OpenBatch,
        touched: _Touched,
    ) -> None:
        self._inventory = inventory
        self._connection = connection
        self._model = model
        self._batch = batch
        self._prefixes = inventory._prefixes
        self._events: list[Event] = []
        self._bound: dict[bytes, str] = {}  # addresses that had no holder before
        self._find_targets(touched)

    def _find_targets(self, touched: _Touched) -> None:
        """MACs and addresses whose devices may be others now; subjects whose claims belong to them."""
        model = self._model
        self._macs, self._ips = touched.macs | touched.turned, touched.ips
        for mac in touched.turned:
            freed = model.weak_ips(mac)
            self._ips |= freed
            self._macs |= model.macs_of(freed)
        for subject in touched.subjects:
            if _is_mac(subject):
                self._macs.add(bytes.fromhex(subject.replace(":", "")))
            else:
                ip = ipaddress.ip_address(subject).packed
                self._ips.add(ip)
                self._macs |= model.macs_of((ip,))
        self._macs.discard(NO_MAC)
        self._ips = {ip for ip in self._ips if any(ip)}
        self._subjects = touched.subjects

    def run(self) -> list[Event]:
        model = self._model
        addresses = model.own_ips(self._macs) | self._ips
        rows = model.rows_for(self._macs | model.macs_of(addresses), addresses)
        subjects = {mac_text(mac) for mac in self._macs} | {ip_text(ip) for ip in addresses}
        found = {device.key: device for device in resolve(rows, model.facts_of(subjects), self._prefixes)}

        wanted = [f"mac:{mac_text(mac)}" for mac in sorted(self._macs)]
        wanted += [f"ip:{ip_text(ip)}" for ip in sorted(self._ips)]
        gone, made = [], []
        for key in wanted:
            device = found.get(key)
            if device is not None:
                made += self._update(device)
            elif key in model.devices:
                gone.append(key)
        moved = self._settle_addresses(found, addresses)
        for key in gone:
            self._retire(key)
        self._assign_claims(moved, made)
        if self._bound:
            for device_id_, flows, octets in bind_late(self._connection, model.site, self._bound):
                self._inventory.add_traffic(model.by_id[device_id_], flows, octets)
        return self._events

    def _update(self, device: Device) -> list[str]:
        """Bring the device's row up to date; its key where it is new."""
        model = self._model
        row = model.devices.get(device.key)
        new = row is None
        if row is None:
            row = DeviceRow(device_id(self._connection, model.site, device.key), model.site, device.key)
            model.add_device(row)
        before = (row.name, row.ips, row.vendor)
        best = device.names[0] if device.names else None
        row.name, row.name_source = (best.name, best.source) if best else ("", "")
        row.vendor = _vendors().lookup(device.mac) if device.mac != NO_MAC else ""
        row.macs = [mac_text(device.mac)] if device.mac != NO_MAC else []
        row.ips = [ip_text(ip) for ip in sorted(device.ips, key=lambda ip: (len(ip), ip))]
        row.vlans = sorted(device.vlans)
        row.sources = sorted(device.sources)
        row.first_ns, row.last_ns, row.frames = device.first_ns, device.last_ns, min(device.frames, MAX_TOTAL)
        self._inventory.changed(row)
        if new:
            self._tell("device.discovered", row, device_object(row))
        elif before != (row.name, row.ips, row.vendor):
            now = {"name": (before[0], row.name), "ips": (before[1], row.ips), "vendor": (before[2], row.vendor)}
            changes = {name: {"before": old, "after": new_} for name, (old, new_) in now.items() if old != new_}
            self._tell("device.changed", row, {"changes": changes, "device": device_object(row)})
        return [device.key] if new else []

    def _settle_addresses(self, found: dict[str, Device], addresses: set[bytes]) -> set[bytes]:
        """Who holds each address now; those that moved."""
        model = self._model
        candidates: dict[bytes, list[Device]] = {}
        for device in found.values():
            for ip in device.ips:
                if ip in addresses and device.key in model.devices:
                    candidates.setdefault(ip, []).append(device)
        moved = set()
        for ip in addresses:
            holder = max(
                candidates.get(ip, ()),
                key=lambda device, ip=ip: (model.weight(ip, device.mac), device.key),
                default=None,
            )
            holder_id = model.devices[holder.key].id if holder is not None else None
            if model.holders.get(ip) == holder_id:
                continue
            moved.add(ip)
            place = (model.site, ip)
            if holder_id is None:
                del model.holders[ip]
                self._connection.execute("DELETE FROM device_address WHERE site = ? AND ip = ?", place)
                continue
            if ip not in model.holders:
                self._bound[ip] = holder_id
            model.holders[ip] = holder_id
            self._connection.execute(
                "INSERT OR REPLACE INTO device_address(site, ip, device) VALUES(?, ?, ?)", (*place, holder_id)
            )
        return moved

    def _retire(self, key: str) -> None:
        """A device that was an address behind a router, and whose address turned out to be another device's."""
        model = self._model
        row = model.remove_device(key)
        self._inventory.removed(row)
        self._connection.execute("DELETE FROM device WHERE id = ?", (row.id,))
        heir = None
        if key.startswith("ip:"):
            heir = model.by_id.get(model.holders.get(ipaddress.ip_address(key[3:]).packed, ""))
        rebind(self._connection, row.id, heir.id if heir else "", row.first_ns)
        self._connection.execute("UPDATE claim SET device = ? WHERE device = ?", (heir.id if heir else None, row.id))
        if heir is not None:
            self._inventory.add_traffic(heir, row.flows, row.bytes)
            self._tell("device.merged", heir, {"merged": row.id, "device": device_object(heir)})

    def _assign_claims(self, moved: Iterable[bytes], made: Iterable[str]) -> None:
        """Say of each claim to which device its subject belongs."""
        model = self._model
        subjects = self._subjects | {ip_text(ip) for ip in moved} | {key.partition(":")[2] for key in made}
        updates = []
        for subject in subjects:
            if subject not in model.claims:
                continue
            row = model.devices.get(f"mac:{subject}") or model.devices.get(f"ip:{subject}")
            holder = row.id if row else None
            if row is None and not _is_mac(subject):
                holder = model.holders.get(ipaddress.ip_address(subject).packed)
            updates.append((holder, model.site, subject, holder))
        self._connection.executemany(
            "UPDATE claim SET device = ? WHERE site = ? AND subject = ? AND device IS NOT ?", updates
        )

    def _tell(self, type_: str, row: DeviceRow, data: dict[str, Any]) -> None:
        if self._batch.quiet:
            return
        self._events.append(
            record(
                self._connection,
                type_,
                site=row.site,
                agent=self._batch.agent,
                subject=("device", row.id, row.name),
                data=data,
                evidence=[f"batch:{self._batch.position}"],
            )
        )


@functools.cache
def _vendors() -> Vendors:
    """The table, loaded when the first device is written."""
    return Vendors.load()


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


def canonical_subject(text: str) -> str:
    """The MAC or address that a fact is about, in its one form; empty where it is neither."""
    if _is_mac(text):
        mac = text.lower()
        return mac if is_unicast_mac(bytes.fromhex(mac.replace(":", ""))) else ""
    try:
        return str(ipaddress.ip_address(text)) if len(text) <= 45 and "%" not in text else ""
    except ValueError:
        return ""


def _is_mac(text: str) -> bool:
    parts = text.split(":")
    return len(text) == 17 and len(parts) == 6 and all(len(p) == 2 and set(p) <= _HEX for p in parts)


_HEX = frozenset("0123456789abcdefABCDEF")
