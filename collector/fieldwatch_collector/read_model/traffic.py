"""Who and what made the traffic: top talkers, and bytes over time for charts."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

from fieldwatch_proto.protocols import protocol_text
from fieldwatch_proto.schema import ip_text, time_text

from fieldwatch_collector.read_model.asking import BadRequest, limit_of, sum_of, when
from fieldwatch_collector.read_model.flows import window

TOP_DEFAULT = 10
SERIES_DEFAULT = 8
MAX_SERIES = 50
STEPS_WANTED = 240
MAX_STEPS = 2_000
STEPS_S = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400, 604_800)

Key = tuple[Any, Any]

# By what flows are added up: two key columns and a condition, one entry for each end that is credited with the flow.
# A pair is the same in both directions. Ports are those of the side that answers, where the protocol has ports.
_WITH_PORTS = "protocol IN (6, 17, 33, 132, 136)"
_KEYS: dict[str, tuple[tuple[str, str, str], ...]] = {
    "device": (
        ("src_device", "''", "src_device != ''"),
        ("dst_device", "''", "dst_device != '' AND dst_device != src_device"),
    ),
    "ip": (("src", "''", "src != x''"), ("dst", "''", "dst != x'' AND dst != src")),
    "pair": (("min(src, dst)", "max(src, dst)", "src != x''"),),
    "application": (("application", "''", "true"),),
    "protocol": (("protocol", "''", "true"),),
    "port": (("protocol", "dst_port", _WITH_PORTS),),
}


def top_flows(
    connection: sqlite3.Connection,
    now_ns: int,
    *,
    by: str = "",
    since: str = "",
    until: str = "",
    site: str = "",
    limit: int = 0,
) -> dict[str, Any]:
    """TopList: the keys with the most bytes, both directions; `total_bytes` is of all flows in that time."""
    by = _by(by or "device")
    where = window(now_ns, site, since, until)
    rows = _top(connection, by, where.text, where.values, limit_of(limit, TOP_DEFAULT))
    everything = f"SELECT {sum_of('bytes + reply_bytes')} FROM flow {where.text}"  # noqa: S608
    total = connection.execute(everything, where.values).fetchone()[0]
    labels = _labels(connection, by, [(row["k1"], row["k2"]) for row in rows])
    results = [
        {
            "key": _key_text(by, (row["k1"], row["k2"])),
            "label": labels[row["k1"], row["k2"]],
            "bytes": row["total"],
            "packets": row["packets"],
            "flows": row["flows"],
        }
        for row in rows
    ]
    return {"results": results, "total_bytes": total}


def flow_series(
    connection: sqlite3.Connection,
    now_ns: int,
    *,
    by: str = "",
    since: str = "",
    until: str = "",
    site: str = "",
    limit: int = 0,
    step_s: int = 0,
) -> dict[str, Any]:
    """Bytes per bucket of time: ``{step_s, start, series: [{key, label, values}]}``, the largest first.

    A flow's bytes are spread evenly over the buckets in which it lived. What the first `limit` series do not hold
    stands in a last one with the key "other". Without `since` the series begins with the oldest flow of the store.
    """
    by = _by(by or "application")
    first_ns, last_ns = _span(connection, now_ns, since, until)
    step_s = _step(step_s, first_ns, last_ns)
    step_ns = step_s * 1_000_000_000
    first = first_ns // step_ns
    buckets = max(1, -(-last_ns // step_ns) - first)
    where = window(now_ns, site, "", "")
    where.add("last_ns >= ? AND first_ns < ?", first * step_ns, (first + buckets) * step_ns)

    wanted = min(limit_of(limit, SERIES_DEFAULT), MAX_SERIES)
    keys = [(row["k1"], row["k2"]) for row in _top(connection, by, where.text, where.values, wanted)]
    values: dict[Key | None, list[int]] = {key: [0] * buckets for key in keys}
    lived = connection.execute(
        f"SELECT k1, k2, first_ns / ? AS born, last_ns / ? AS died, {sum_of('total')} AS total FROM"  # noqa: S608
        f" ({_keyed(by, where.text)}) GROUP BY k1, k2, born, died",
        [step_ns, step_ns, *where.values * len(_KEYS[by])],
    )
    for key_1, key_2, born, died, total in lived:
        key = (key_1, key_2) if (key_1, key_2) in values else None
        _spread(values.setdefault(key, [0] * buckets), born - first, died - first, total)

    labels = _labels(connection, by, keys)
    series = [{"key": _key_text(by, key), "label": labels[key], "values": values[key]} for key in keys]
    if None in values:
        series.append({"key": "other", "label": "other", "values": values[None]})
    return {"step_s": step_s, "start": time_text(first * step_ns), "series": series}


def _by(by: str) -> str:
    if by not in _KEYS:
        raise BadRequest(f"by: {by!r:.60} is none of {', '.join(_KEYS)}")
    return by


def _keyed(by: str, where: str) -> str:
    """One row per flow and credited end: k1, k2, total, packets, first_ns, last_ns."""
    return " UNION ALL ".join(
        f"SELECT {k1} AS k1, {k2} AS k2, bytes + reply_bytes AS total, packets + reply_packets AS packets,"  # noqa: S608
        f" first_ns, last_ns FROM flow {where or 'WHERE true'} AND {condition}"
        for k1, k2, condition in _KEYS[by]
    )


def _top(connection: sqlite3.Connection, by: str, where: str, values: list[Any], limit: int) -> list[sqlite3.Row]:
    query = (
        f"SELECT k1, k2, {sum_of('total')} AS total, {sum_of('packets')} AS packets, count(*) AS flows"  # noqa: S608
        f" FROM ({_keyed(by, where)}) GROUP BY k1, k2 ORDER BY total DESC, k1, k2 LIMIT ?"
    )
    return connection.execute(query, [*values * len(_KEYS[by]), limit]).fetchall()


def _span(connection: sqlite3.Connection, now_ns: int, since: str, until: str) -> tuple[int, int]:
    last_ns = when(until, now_ns, "until") if until else now_ns
    if since:
        first_ns = when(since, now_ns)
    else:
        first_ns = connection.execute("SELECT min(last_ns) FROM flow").fetchone()[0] or last_ns
        if not until:  # a replayed capture of years ago is shown in its own time
            last_ns = (connection.execute("SELECT max(last_ns) FROM flow").fetchone()[0] or last_ns) + 1
    if first_ns > last_ns:
        raise BadRequest(f"since: {time_text(first_ns)} is after until, {time_text(last_ns)}")
    return max(0, first_ns), max(0, last_ns)


def _step(step_s: int, first_ns: int, last_ns: int) -> int:
    seconds = (last_ns - first_ns) / 1e9
    if not step_s:
        return next((step for step in STEPS_S if seconds / step <= STEPS_WANTED), int(seconds / STEPS_WANTED) + 1)
    if step_s < 0 or seconds / step_s > MAX_STEPS:
        raise BadRequest(f"step: {step_s} s would make {abs(seconds / step_s):.0f} points, the limit is {MAX_STEPS}")
    return step_s


def _spread(values: list[int], born: int, died: int, total: int) -> None:
    """Add `total` evenly to the buckets born..died, of which only those of `values` count; exact in the sum."""
    died = max(born, died)  # a flow may say that it ended before it began: its agent's clock was set back
    parts = died - born + 1
    share, rest = divmod(total, parts)
    for bucket in range(max(born, 0), min(died, len(values) - 1) + 1):
        values[bucket] += share
    if 0 <= died < len(values):
        values[died] += rest


def _key_text(by: str, key: Key) -> str:
    if by == "ip":
        return ip_text(key[0])
    if by == "pair":
        return f"{ip_text(key[0])} {ip_text(key[1])}"
    if by == "protocol":
        return protocol_text(key[0])
    if by == "port":
        return f"{protocol_text(key[0])}/{key[1]}"
    return str(key[0])


def _labels(connection: sqlite3.Connection, by: str, keys: list[Key]) -> dict[Key, str]:
    if by == "device":
        wanted = json.dumps([key[0] for key in keys])
        rows = connection.execute(
            "SELECT id, name, ips, macs FROM device WHERE id IN (SELECT value FROM json_each(?))", (wanted,)
        )
        named = {
            row["id"]: row["name"] or next(iter(json.loads(row["ips"]) + json.loads(row["macs"])), row["id"])
            for row in rows
        }
        return {key: str(named.get(key[0], key[0])) for key in keys}
    if by == "application":
        return {key: key[0] or "not classified" for key in keys}
    if by == "pair":
        return {key: f"{ip_text(key[0])} – {ip_text(key[1])}" for key in keys}
    return {key: _key_text(by, key) for key in keys}
