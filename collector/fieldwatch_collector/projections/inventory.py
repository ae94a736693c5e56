"""Devices from sightings and facts, kept up to date batch by batch: `resolution` says what a batch changes."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

from fieldwatch_proto.identity import NO_MAC, Prefix, is_unicast_mac
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.schema import Kind, SightingSource

from fieldwatch_collector.projections.batch import MAX_TOTAL, PART, OpenBatch
from fieldwatch_collector.projections.devices import DeviceRow, device_object, write_devices
from fieldwatch_collector.projections.memory import ClaimKey, Memory, Seen, SightingKey
from fieldwatch_collector.projections.resolution import Resolution, Touched
from fieldwatch_collector.projections.site import SiteModel
from fieldwatch_collector.projections.subjects import canonical_subject

MAX_SIGHTINGS = 500_000  # of one site
MAX_SUBJECTS = 100_000  # of one site, of which anything is claimed
MAX_REMOTE_SUBJECTS = 20_000  # of these, public addresses that nobody here holds: names of the Internet crowd out none
MAX_CLAIMS = 256  # of one subject
MAX_CONFIDENCE = 100
SOURCES = {int(source) for source in SightingSource}

log = get_logger(__name__)
Event = dict[str, Any]


class InventoryProjection:
    """Kinds sighting and fact -> tables sighting, claim, device, device_address."""

    name = "inventory"
    kinds = frozenset({Kind.SIGHTING, Kind.FACT})
    part = PART
    rebuilt = True

    def __init__(self, prefixes: Sequence[Prefix] = ()) -> None:
        self._prefixes = prefixes
        self._memory = Memory()
        self._sites: dict[str, SiteModel] = {}
        self._updated: dict[str, DeviceRow] = {}
        self._dirty: dict[str, DeviceRow] = {}
        self.dropped = 0  # sightings and claims beyond the limits, since the start

    def apply(self, connection: sqlite3.Connection, batch: OpenBatch) -> list[Event]:
        model = self.model(connection, batch.site)
        touched = Touched()
        dropped = self.dropped
        if batch.records.kind is Kind.SIGHTING:
            self._take_sightings(model, batch, touched)
        else:
            self._take_facts(connection, model, batch, touched)
        if self.dropped > dropped and dropped == 0:
            log.warning("the inventory is full; more is not kept", site=batch.site)
        events = Resolution(self, connection, model, batch, touched, self._prefixes).run()
        self.write_devices(connection)
        return events

    def model(self, connection: sqlite3.Connection, site: str) -> SiteModel:
        """The site as the tables hold it."""
        model = self._sites.get(site)
        if model is None:
            model = self._sites[site] = SiteModel(connection, site, self._memory, self._prefixes)
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
        """Bring the table `device` up to the rows that changed. After that the memory may let go of what it holds."""
        write_devices(connection, self._dirty.values())
        self._dirty.clear()
        self._memory.trim()

    @property
    def remembered(self) -> int:
        """Entries in memory, of the sort that has most."""
        return len(self._memory)

    def take_updates(self) -> list[Event]:
        """A transient message for every device that changed since the last call."""
        updated, self._updated = self._updated, {}
        return [{"v": 1, "type": "device.updated", "data": device_object(row)} for row in updated.values()]

    def clear(self, connection: sqlite3.Connection) -> None:
        for table in ("sighting", "claim", "device", "device_address"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours

    def forget(self) -> None:
        self._sites.clear()
        self._memory = Memory()
        self._dirty.clear()
        self._updated.clear()

    # What came ---------------------------------------------------------------------------------------------------

    def _take_sightings(self, model: SiteModel, batch: OpenBatch, touched: Touched) -> None:
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
            key, seen = SightingKey(mac, ip, vlans, source), Seen(first_ns, last_ns, frames)
            if not model.see(key, seen, batch.agent, interface):
                if model.sightings >= MAX_SIGHTINGS or not model.has_room(key):
                    self.dropped += 1
                    continue
                turned, wavering = model.add_sighting(key, seen, batch.agent, interface)
                touched.turned.update(turned)
                touched.wavering.update(wavering)
                touched.macs |= model.macs_of((ip,))
            touched.macs.add(mac)
            touched.ips.add(ip)
        model.write()

    def _take_facts(self, connection: sqlite3.Connection, model: SiteModel, batch: OpenBatch, touched: Touched) -> None:
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
            claims = model.claims_of(subject)
            if not claims:
                remote = model.is_remote(subject)
                if model.subjects >= MAX_SUBJECTS or (remote and model.remote_subjects >= MAX_REMOTE_SUBJECTS):
                    self.dropped += 1
                    continue
                model.subjects += 1
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
