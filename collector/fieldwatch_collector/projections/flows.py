"""Flow records into the table `flow`, column-wise, and their sums into the devices at both ends."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from fieldwatch_proto.schema import Kind

from fieldwatch_collector.projections.batch import OpenBatch
from fieldwatch_collector.projections.loading import holders_among

if TYPE_CHECKING:
    from fieldwatch_collector.projections.inventory import InventoryProjection

LATE_FLOWS = 20_000  # newest rows that get their device when its address becomes known after them
PART = 1_024  # records at a time: a batch of 65,536 is 20 times a slice, and its values as objects are 60 MB
_CHUNK = 500

INSERT = (
    "INSERT INTO flow(site, agent, first_ns, last_ns, protocol, src, dst, src_port, dst_port, vlans, src_mac, dst_mac,"
    " packets, bytes, reply_packets, reply_bytes, tcp_flags, state, end_reason, tunnels, application, interface,"
    " src_device, dst_device, retransmits, reply_retransmits, server_rtt_us, client_rtt_us, clock)"
    f" VALUES({', '.join(29 * '?')})"
)


class FlowProjection:
    """Kind flow -> table flow."""

    name = "flows"
    kinds = frozenset({Kind.FLOW})
    part = PART
    rebuilt = True

    def __init__(self, inventory: InventoryProjection) -> None:
        self._inventory = inventory

    def apply(self, connection: sqlite3.Connection, batch: OpenBatch) -> list[dict[str, Any]]:
        model = self._inventory.model(connection, batch.site)
        src, dst = batch.addresses("src"), batch.addresses("dst")
        octets, reply_octets = batch.counts("bytes"), batch.counts("reply_bytes")
        holders = holders_among(connection, batch.site, {*src, *dst})
        src_device = [holders.get(ip, "") for ip in src]
        dst_device = [holders.get(ip, "") for ip in dst]
        flags = [a | b for a, b in zip(batch.column("tcp_flags"), batch.column("reply_tcp_flags"), strict=True)]
        count = batch.records.count
        connection.executemany(
            INSERT,
            zip(
                [batch.site] * count,
                [batch.agent] * count,
                batch.times("first_ns"),
                batch.times("last_ns"),
                batch.column("protocol"),
                src,
                dst,
                batch.column("src_port"),
                batch.column("dst_port"),
                [vlans & (1 << 63) - 1 for vlans in batch.column("vlans")],
                batch.column("src_mac"),
                batch.column("dst_mac"),
                batch.counts("packets"),
                octets,
                batch.counts("reply_packets"),
                reply_octets,
                flags,
                batch.column("state"),
                batch.column("end_reason"),
                batch.column("tunnels"),
                batch.column("application"),
                batch.column("interface"),
                src_device,
                dst_device,
                batch.column("retransmits"),
                batch.column("reply_retransmits"),
                batch.column("server_rtt_us"),
                batch.column("client_rtt_us"),
                [int(batch.clock)] * count,
                strict=True,
            ),
        )
        sums: dict[str, list[int]] = {}
        for source, target, sent, received in zip(src_device, dst_device, octets, reply_octets, strict=True):
            for device in {source, target}:
                if device:
                    total = sums.setdefault(device, [0, 0])
                    total[0] += 1
                    total[1] += sent + received
        for device, (flows, summed) in sums.items():
            row = model.device_of_id(device)
            assert row is not None
            self._inventory.add_traffic(row, flows, summed)
        self._inventory.write_devices(connection)
        return []

    def clear(self, connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM flow")

    def forget(self) -> None:
        """Sums of a batch that failed may stand in the inventory's rows already."""
        self._inventory.forget()


def bind_late(
    connection: sqlite3.Connection, site: str, addresses: Mapping[bytes, str]
) -> Iterable[tuple[str, int, int]]:
    """Give recent flows without a device the one that now holds their address: (device id, flows, octets) gained."""
    newest = connection.execute("SELECT coalesce(max(id), 0) FROM flow").fetchone()[0]
    gained: dict[str, list[int]] = {}
    wanted = sorted(addresses)
    for start in range(0, len(wanted), _CHUNK):
        chunk = wanted[start : start + _CHUNK]
        marks = ", ".join("?" for _ in chunk)
        for side, other in (("src", "dst"), ("dst", "src")):
            rows = connection.execute(
                f"SELECT id, {side}, {other}_device, bytes + reply_bytes FROM flow"  # noqa: S608 - names of ours
                f" WHERE id > ? AND site = ? AND {side}_device = '' AND {side} IN ({marks})",
                (newest - LATE_FLOWS, site, *chunk),
            ).fetchall()
            connection.executemany(
                f"UPDATE flow SET {side}_device = ? WHERE id = ?",  # noqa: S608
                [(addresses[row[1]], row[0]) for row in rows],
            )
            for _, ip, other_device, octets in rows:
                if other_device != addresses[ip]:  # a flow counts once for a device that is both ends
                    total = gained.setdefault(addresses[ip], [0, 0])
                    total[0] += 1
                    total[1] += octets
    return [(device, flows, octets) for device, (flows, octets) in gained.items()]


def rebind(connection: sqlite3.Connection, old: str, new: str, since_ns: int) -> None:
    """Flows of a device that was merged into another (none = "") are that one's."""
    for side in ("src", "dst"):
        connection.execute(
            f"UPDATE flow SET {side}_device = ? WHERE {side}_device = ? AND last_ns >= ?",  # noqa: S608 - names of ours
            (new, old, since_ns),
        )
