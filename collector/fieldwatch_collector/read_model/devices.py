"""The inventory: lists of devices, and one device with everything that is believed about it."""

from __future__ import annotations

import functools
import ipaddress
import json
import sqlite3
from typing import Any

from fieldwatch_proto.identity import NAME_FACTS, NO_MAC
from fieldwatch_proto.schema import SightingSource, ip_text, mac_text, time_text, vlan_ids
from fieldwatch_proto.vendors import Vendors

from fieldwatch_collector.read_model import flows
from fieldwatch_collector.read_model.asking import NotFound, Ordering, Where, limit_of, page, sum_of, text_of, when

RECENT_FLOWS = 20
MAX_CLAIMS = 1_000
MAX_ADDRESSES = 1_000

# The last text of all stands for "no name" where names rise, the first one where they fall: they come last both ways.
_ORDERINGS: dict[str, str | tuple[str, str]] = {
    "name": ("CASE name WHEN '' THEN char(1114111) ELSE lower(name) END", "lower(name)"),
    "first_seen": "first_ns",
    "last_seen": "last_ns",
    "flows": "flows",
    "bytes": "bytes",
    "vendor": ("CASE vendor WHEN '' THEN char(1114111) ELSE lower(vendor) END", "lower(vendor)"),
    "site": "site",
}
_NAME_KEYS = sorted({key for key, _ in NAME_FACTS})
_ADDRESS_CHARACTERS = frozenset("0123456789abcdefABCDEF:.-")


def list_devices(
    connection: sqlite3.Connection,
    now_ns: int,
    *,
    site: str = "",
    q: str = "",
    ordering: str = "",
    since: str = "",
    limit: int = 0,
    cursor: str = "",
) -> dict[str, Any]:
    """DeviceList; `count` is of all that match, whatever the page."""
    where = Where()
    if site:
        where.add("site = ?", text_of("site", site))
    if since:
        where.add("last_ns >= ?", when(since, now_ns))
    if q.strip():
        _search(where, text_of("q", q.strip()))
    order = Ordering.parse(ordering, "-last_seen", _ORDERINGS)
    rows_wanted = limit_of(limit)
    beyond = where.copy()
    order.after(cursor, "id", beyond)
    count = connection.execute(f"SELECT count(*) FROM device {where.text}", where.values).fetchone()[0]  # noqa: S608
    results, following = page(
        connection,
        f"SELECT *, {order.expression} AS cursor_value, id AS cursor_id FROM device {beyond.text} {order.clause('id')}",  # noqa: S608
        beyond.values,
        order,
        rows_wanted,
        device_of,
    )
    return {"results": results, "next": following, "count": count}


def _search(where: Where, text: str) -> None:
    pattern = "%" + text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    marks = ", ".join("?" for _ in _NAME_KEYS)
    condition = (
        "name LIKE ? ESCAPE '\\' OR vendor LIKE ? ESCAPE '\\' OR id IN "  # noqa: S608
        f"(SELECT device FROM claim WHERE key IN ({marks}) AND value LIKE ? ESCAPE '\\')"
    )
    values = [pattern, pattern, *_NAME_KEYS, pattern]
    if _ADDRESS_CHARACTERS.issuperset(text):
        condition += " OR ips LIKE ? OR macs LIKE ?"
        values += [f"%{text}%", f"%{text.replace('-', ':')}%"]
    where.add(condition, *values)


def device_of(row: sqlite3.Row) -> dict[str, Any]:
    """Device of a row of the table `device`."""
    return {
        "id": row["id"],
        "site": row["site"],
        "name": row["name"],
        "name_source": row["name_source"],
        "macs": json.loads(row["macs"]),
        "ips": json.loads(row["ips"]),
        "vendor": row["vendor"],
        "sources": json.loads(row["sources"]),
        "vlans": json.loads(row["vlans"]),
        "first_seen": _time(row["first_ns"]),
        "last_seen": _time(row["last_ns"]),
        "frames": row["frames"],
        "flows": row["flows"],
        "bytes": row["bytes"],
    }


def get_device(connection: sqlite3.Connection, device_id: str) -> dict[str, Any] | None:
    """DeviceDetail, or None where no device has this id."""
    row = connection.execute("SELECT * FROM device WHERE id = ?", (text_of("id", device_id),)).fetchone()
    if row is None:
        return None
    device = device_of(row)
    return {
        "device": device,
        "interfaces": [
            _interface(connection, device["site"], bytes.fromhex(mac.replace(":", ""))) for mac in device["macs"]
        ],
        "addresses": _addresses(connection, device),
        "claims": _claims(connection, device_id),
        "recent_flows": flows.recent_of_device(connection, row, RECENT_FLOWS),
    }


def require_device(connection: sqlite3.Connection, now_ns: int, device_id: str) -> None:
    """Raises NotFound where no device has this id; it says which one is called so, or has this address."""
    if connection.execute("SELECT 1 FROM device WHERE id = ?", (device_id,)).fetchone():
        return
    near = list_devices(connection, now_ns, q=device_id, limit=1)["results"]
    hint = f"; did you mean {near[0]['id']} ({near[0]['name'] or ' '.join(near[0]['ips'])})?" if near else ""
    raise NotFound(f"device: no device has the id {device_id!r:.60}{hint}")


@functools.cache
def _vendors() -> Vendors:
    return Vendors.load()


def _interface(connection: sqlite3.Connection, site: str, mac: bytes) -> dict[str, Any]:
    seen = connection.execute(
        "SELECT min(first_ns) AS first_ns, max(last_ns) AS last_ns,"  # noqa: S608 - names of ours
        f" {sum_of('CASE source WHEN ? THEN frames ELSE 0 END')} AS frames FROM sighting WHERE site = ? AND mac = ?",
        (SightingSource.ETH, site, mac),
    ).fetchone()
    stacks = connection.execute("SELECT DISTINCT vlans FROM sighting WHERE site = ? AND mac = ?", (site, mac))
    return {
        "mac": mac_text(mac),
        "vendor": _vendors().lookup(mac),
        "locally_administered": bool(mac[0] & 2),
        "vlans": sorted({vlan for (stack,) in stacks for vlan in vlan_ids(stack)}),
        "first_seen": _time(seen["first_ns"]),
        "last_seen": _time(seen["last_ns"]),
        "frames": seen["frames"] or 0,
    }


def _addresses(connection: sqlite3.Connection, device: dict[str, Any]) -> list[dict[str, Any]]:
    """By what each address of the device was seen; sightings of VLANs are added up."""
    octets = [ipaddress.ip_address(ip).packed for ip in device["ips"][:MAX_ADDRESSES]]
    macs = [bytes.fromhex(mac.replace(":", "")) for mac in device["macs"]]
    addresses: list[dict[str, Any]] = []
    keys: list[tuple[bytes, ...]]
    if macs:
        condition, keys = "site = ? AND mac = ? AND ip = ?", [(mac, ip) for mac in macs for ip in octets]
    else:
        condition, keys = "site = ? AND ip = ?", [(ip,) for ip in octets]
    query = (
        f"SELECT ip, mac, source, min(first_ns) AS first_ns, max(last_ns) AS last_ns, {sum_of('frames')} AS frames"  # noqa: S608
        f" FROM sighting WHERE {condition} GROUP BY mac, source"
    )
    for key in keys:
        addresses += [_address_of(row) for row in connection.execute(query, (device["site"], *key))]
    return addresses


def _address_of(row: sqlite3.Row) -> dict[str, Any]:
    return {
        "ip": ip_text(row["ip"]),
        "mac": "" if row["mac"] in (NO_MAC, b"") else mac_text(row["mac"]),
        "source": _source_text(row["source"]),
        "first_seen": _time(row["first_ns"]),
        "last_seen": _time(row["last_ns"]),
        "frames": row["frames"],
    }


def _source_text(source: int) -> str:
    try:
        return SightingSource(source).text
    except ValueError:  # from an agent that is newer than this collector
        return str(source)


def _claims(connection: sqlite3.Connection, device_id: str) -> list[dict[str, Any]]:
    """Key by key, the best first; of too many, the best of every key: one with many values hides no other."""
    rows = connection.execute(
        "SELECT * FROM (SELECT *, row_number() OVER best AS place FROM claim WHERE device = ?"
        " WINDOW best AS (PARTITION BY key ORDER BY confidence DESC, last_ns DESC, value, source, subject)"
        " ORDER BY place, key LIMIT ?) ORDER BY key, place",
        (device_id, MAX_CLAIMS),
    )
    return [
        {
            "key": row["key"],
            "value": row["value"],
            "source": row["source"],
            "confidence": row["confidence"],
            "first_seen": _time(row["first_ns"]),
            "last_seen": _time(row["last_ns"]),
            "times": row["times"],
            "evidence": row["evidence"],
            "agent": row["agent"],
        }
        for row in rows
    ]


def _time(ns: int | None) -> str:
    return time_text(ns) if ns else ""
