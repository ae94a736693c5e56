"""Flow records, newest first or by size, with the names of the devices at both ends."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from typing import Any

from fieldwatch_proto.protocols import protocol_number, protocol_text, tcp_flags_text
from fieldwatch_proto.schema import ClockQuality, FlowState, ip_text, time_text, vlan_ids

from fieldwatch_collector.read_model.asking import BadRequest, Ordering, Where, ip_of, limit_of, page, text_of, when

# A device is seen by its sightings as well as by its flows, and the two come in batches of their own.
DEVICE_SLACK_NS = 3_600_000_000_000

_ORDERINGS = {
    "last_seen": "last_ns",
    "first_seen": "first_ns",
    "bytes": "(bytes + reply_bytes)",
    "packets": "(packets + reply_packets)",
    "retransmits": "(retransmits + reply_retransmits)",
}


def list_flows(
    connection: sqlite3.Connection,
    now_ns: int,
    *,
    site: str = "",
    since: str = "",
    until: str = "",
    device: str = "",
    ip: str = "",
    port: int = 0,
    protocol: str = "",
    application: str = "",
    ordering: str = "",
    limit: int = 0,
    cursor: str = "",
) -> dict[str, Any]:
    """FlowList: the records that overlap the time from `since` up to, not including, `until`."""
    where = window(now_ns, site, since, until)
    if device:
        device = text_of("device", device)
        where.add("src_device = ? OR dst_device = ?", device, device)
    if ip:
        octets = ip_of(ip)
        where.add("src = ? OR dst = ?", octets, octets)
    if port:
        if not 0 < port <= 65_535:
            raise BadRequest(f"port: {port} is outside 1 to 65535")
        where.add("src_port = ? OR dst_port = ?", port, port)
    if protocol:
        try:
            where.add("protocol = ?", protocol_number(protocol))
        except ValueError as problem:
            raise BadRequest(f"protocol: {problem}") from None
    if application:
        where.add("application = ?", text_of("application", application))
    order = Ordering.parse(ordering, "-last_seen", _ORDERINGS)
    order.after(cursor, "id", where)
    query = f"SELECT *, {order.expression} AS cursor_value, id AS cursor_id FROM flow {where.text} {order.clause('id')}"  # noqa: S608
    results, following = page(connection, query, where.values, order, limit_of(limit), flow_of)
    name_devices(connection, results)
    return {"results": results, "next": following}


def window(now_ns: int, site: str, since: str, until: str) -> Where:
    """The condition that site and times make."""
    where = Where()
    if site:
        where.add("site = ?", text_of("site", site))
    if since:
        where.add("last_ns >= ?", when(since, now_ns))
    if until:
        where.add("first_ns < ?", when(until, now_ns, "until"))
    return where


def recent_of_device(connection: sqlite3.Connection, device: sqlite3.Row, limit: int) -> list[dict[str, Any]]:
    """The newest flows of a row of `device`.

    There is no index by device: the walk from the newest flow back starts at the device's last sign of life, and its
    own count of flows says when all of them were met.
    """
    rows = connection.execute(
        "SELECT * FROM flow WHERE last_ns BETWEEN ? AND ? AND (src_device = ? OR dst_device = ?)"
        " ORDER BY last_ns DESC, id DESC LIMIT ?",
        (
            device["first_ns"] - DEVICE_SLACK_NS,
            device["last_ns"] + DEVICE_SLACK_NS,
            device["id"],
            device["id"],
            min(limit, device["flows"]),
        ),
    )
    results = [flow_of(row) for row in rows]
    name_devices(connection, results)
    return results


def flow_of(row: sqlite3.Row) -> dict[str, Any]:
    """Flow of a row of the table `flow`, without names."""
    return {
        "site": row["site"],
        "agent": row["agent"],
        "protocol": protocol_text(row["protocol"]),
        "src": ip_text(row["src"]),
        "src_port": row["src_port"],
        "dst": ip_text(row["dst"]),
        "dst_port": row["dst_port"],
        "vlans": vlan_ids(row["vlans"]),
        "packets": row["packets"],
        "bytes": row["bytes"],
        "reply_packets": row["reply_packets"],
        "reply_bytes": row["reply_bytes"],
        "first_seen": time_text(row["first_ns"]),
        "last_seen": time_text(row["last_ns"]),
        "tcp_flags": tcp_flags_text(row["tcp_flags"]),
        "state": _state_text(row["state"]),
        "application": row["application"],
        "src_device": row["src_device"],
        "dst_device": row["dst_device"],
        "src_name": "",
        "dst_name": "",
        "tunnels": row["tunnels"],
        "interface": row["interface"],
        "retransmits": row["retransmits"],
        "reply_retransmits": row["reply_retransmits"],
        "server_rtt_us": row["server_rtt_us"] or None,
        "client_rtt_us": row["client_rtt_us"] or None,
        "clock": ClockQuality(row["clock"]).text,
    }


def name_devices(connection: sqlite3.Connection, flows: list[dict[str, Any]]) -> None:
    """Fill in what the devices at both ends are called now."""
    names = device_names(connection, {flow[end] for flow in flows for end in ("src_device", "dst_device")})
    for flow in flows:
        flow["src_name"] = names.get(flow["src_device"], "")
        flow["dst_name"] = names.get(flow["dst_device"], "")


def device_names(connection: sqlite3.Connection, ids: Iterable[str]) -> dict[str, str]:
    """id -> best name, of the devices that have one."""
    wanted = json.dumps(sorted(set(ids) - {""}))
    rows = connection.execute("SELECT id, name FROM device WHERE id IN (SELECT value FROM json_each(?))", (wanted,))
    return {row["id"]: row["name"] for row in rows if row["name"]}


def _state_text(state: int) -> str:
    try:
        return FlowState(state).text
    except ValueError:  # from an agent that is newer than this collector
        return str(state)
