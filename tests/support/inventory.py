"""The inventory over a real database, and what the one rule says of all that it was given."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

from fieldwatch_collector.projections.batch import OpenBatch
from fieldwatch_collector.projections.flows import FlowProjection
from fieldwatch_collector.projections.inventory import InventoryProjection
from fieldwatch_collector.store.migrate import migrate
from fieldwatch_proto.identity import Sighting, resolve
from fieldwatch_proto.records import records_of
from fieldwatch_proto.schema import Kind, SightingSource, ip_octets, ip_text, vlan_ids

SITE = "main"


class Tables:
    """A real database with the projections over it."""

    def __init__(self) -> None:
        self.connection = sqlite3.connect(":memory:", isolation_level=None)
        self.connection.row_factory = sqlite3.Row
        migrate(self.connection)
        self.restart()
        self.position = 0

    def restart(self) -> None:
        """As a new process would: nothing is remembered but the tables."""
        self.inventory = InventoryProjection()
        self.flows = FlowProjection(self.inventory)

    def take(self, kind: Kind, rows: Sequence[dict[str, Any]], quiet: bool = False) -> list[dict[str, Any]]:
        self.position += 1
        batch = OpenBatch(self.position, "agent-1", SITE, records_of(kind, rows), quiet)
        projection = self.flows if kind is Kind.FLOW else self.inventory
        return projection.apply(self.connection, batch)

    def rows(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.connection.execute(sql, values)]

    def devices(self) -> dict[str, dict[str, Any]]:
        return {row["key"]: dict(row) for row in self.connection.execute("SELECT * FROM device")}


def expected(everything: Sequence[tuple[Kind, Sequence[dict[str, Any]]]]) -> dict[str, dict[str, Any]]:
    """The rule applied to all that came, added up per (MAC, address, VLANs, source)."""
    added: dict[tuple[bytes, bytes, int, int], list[int]] = {}
    told = []
    for kind, rows in everything:
        for row in rows:
            if kind is Kind.FACT:
                told.append((row["subject"], row["key"], row["value"], row["source"], row["seen_ns"]))
                continue
            key = (row["mac"], ip_octets(row["ip_version"], row["ip"]), row["vlans"], row["source"])
            sums = added.setdefault(key, [row["first_ns"], row["last_ns"], 0])
            sums[:] = [min(sums[0], row["first_ns"]), max(sums[1], row["last_ns"]), sums[2] + row["frames"]]
    rows_of = [
        Sighting(tuple(vlan_ids(vlans)), where, ip, SightingSource(source), *added[where, ip, vlans, source])
        for where, ip, vlans, source in sorted(added)
    ]
    return {
        device.key: {
            "name": device.names[0].name if device.names else "",
            "ips": sorted(ip_text(ip) for ip in device.ips),
            "vlans": sorted(device.vlans),
            "sources": sorted(device.sources),
            "first_ns": device.first_ns,
            "last_ns": device.last_ns,
            "frames": device.frames,
        }
        for device in resolve(rows_of, told)
    }


def shown(tables: Tables) -> dict[str, dict[str, Any]]:
    return {
        key: {
            "name": row["name"],
            "ips": sorted(json.loads(row["ips"])),
            "vlans": json.loads(row["vlans"]),
            "sources": json.loads(row["sources"]),
            "first_ns": row["first_ns"],
            "last_ns": row["last_ns"],
            "frames": row["frames"],
        }
        for key, row in tables.devices().items()
    }
