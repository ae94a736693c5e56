"""One application of the rule to the neighbourhood of what a batch touched, and what it changes.

The rule is `fieldwatch_proto.identity.resolve`. A device depends on the sightings of its MAC, on who else was seen with
its addresses, and on which of those route: the rows that `SiteModel.rows_for` picks give the same devices as those of
the whole site would (a test pins that), and a batch costs what it touches, not what the site holds.
"""

from __future__ import annotations

import functools
import ipaddress
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from fieldwatch_proto.identity import NO_MAC, Device, Prefix, resolve
from fieldwatch_proto.schema import ip_text, mac_text
from fieldwatch_proto.vendors import Vendors

from fieldwatch_collector.journal import record
from fieldwatch_collector.projections.batch import MAX_TOTAL, OpenBatch
from fieldwatch_collector.projections.devices import DeviceRow, device_id, device_object
from fieldwatch_collector.projections.flows import bind_late, rebind
from fieldwatch_collector.projections.site import SiteModel
from fieldwatch_collector.projections.subjects import is_mac_text

Event = dict[str, Any]


@dataclass(slots=True)
class Touched:
    """What a batch touched. `turned`: MACs that began or ceased to keep addresses; `wavering`: these addresses."""

    macs: set[bytes] = field(default_factory=set)
    ips: set[bytes] = field(default_factory=set)
    turned: set[bytes] = field(default_factory=set)
    wavering: set[bytes] = field(default_factory=set)
    subjects: set[str] = field(default_factory=set)


class Changes(Protocol):
    """Who writes the rows of devices."""

    def add_traffic(self, row: DeviceRow, flows: int, octets: int) -> None: ...

    def changed(self, row: DeviceRow) -> None: ...

    def removed(self, row: DeviceRow) -> None: ...


class Resolution:
    """See the module; `run` gives the events."""

    def __init__(
        self,
        changes: Changes,
        connection: sqlite3.Connection,
        model: SiteModel,
        batch: OpenBatch,
        touched: Touched,
        prefixes: Sequence[Prefix],
    ) -> None:
        self._changes = changes
        self._connection = connection
        self._model = model
        self._batch = batch
        self._prefixes = prefixes
        self._events: list[Event] = []
        self._bound: dict[bytes, str] = {}  # addresses that had no holder before
        self._find_targets(touched)

    def _find_targets(self, touched: Touched) -> None:
        """MACs and addresses whose devices may be others now; subjects whose claims belong to them."""
        model = self._model
        self._macs = touched.macs | touched.turned | model.macs_of(touched.wavering)
        self._ips = touched.ips | touched.wavering
        for subject in touched.subjects:
            if is_mac_text(subject):
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
            elif model.device(key) is not None:
                gone.append(key)
        moved = self._settle_addresses(found, addresses)
        for key in gone:
            self._retire(key)
        self._assign_claims(moved, made)
        if self._bound:
            for device_id_, flows, octets in bind_late(self._connection, model.site, self._bound):
                row = model.device_of_id(device_id_)
                assert row is not None
                self._changes.add_traffic(row, flows, octets)
        return self._events

    def _update(self, device: Device) -> list[str]:
        """Bring the device's row up to date; its key where it is new."""
        model = self._model
        row = model.device(device.key)
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
        self._changes.changed(row)
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
                if ip in addresses and model.device(device.key) is not None:
                    candidates.setdefault(ip, []).append(device)
        moved = set()
        for ip in addresses:
            holder = max(
                candidates.get(ip, ()),
                key=lambda device, ip=ip: (model.weight(ip, device.mac), device.key),
                default=None,
            )
            row = model.device(holder.key) if holder is not None else None
            holder_id = row.id if row is not None else ""
            before = model.holder(ip)
            if before == holder_id:
                continue
            moved.add(ip)
            if not before:
                self._bound[ip] = holder_id
            model.hold(ip, holder_id)
        return moved

    def _retire(self, key: str) -> None:
        """A device that was an address behind a router, and whose address turned out to be another device's."""
        model = self._model
        row = model.device(key)
        assert row is not None
        model.remove_device(row)
        self._changes.removed(row)
        heir = None
        if key.startswith("ip:"):
            heir = model.device_of_id(model.holder(ipaddress.ip_address(key[3:]).packed))
        rebind(self._connection, row.id, heir.id if heir else "", row.first_ns)
        self._connection.execute("UPDATE claim SET device = ? WHERE device = ?", (heir.id if heir else None, row.id))
        if heir is not None:
            self._changes.add_traffic(heir, row.flows, row.bytes)
            self._tell("device.merged", heir, {"merged": row.id, "device": device_object(heir)})

    def _assign_claims(self, moved: Iterable[bytes], made: Iterable[str]) -> None:
        """Say of each claim to which device its subject belongs."""
        model = self._model
        subjects = self._subjects | {ip_text(ip) for ip in moved} | {key.partition(":")[2] for key in made}
        updates = []
        for subject in subjects:
            if not model.claims_of(subject):
                continue
            row = model.device(f"mac:{subject}") or model.device(f"ip:{subject}")
            holder = row.id if row else None
            if row is None and not is_mac_text(subject):
                holder = model.holder(ipaddress.ip_address(subject).packed) or None
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
