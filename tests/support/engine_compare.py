"""The engine and its twin over the same frames, as values that can be compared."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from fieldwatch_ext.capture import MemorySource, Source
from fieldwatch_ext.engine import Counters, Engine, Slow
from fieldwatch_proto.schema import COLUMNS, WIDTHS, Kind, ip_octets, vlan_ids

from support.twin import Twin

Captured = tuple[int, bytes, int]
"""(ts_ns, octets, length on the wire)."""

_CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i64": "q"}
_EXTRA = {"tunnel": "u16", "application": "u16"}


MEASURES = (
    *("min_bytes", "max_bytes", "reply_min_bytes", "reply_max_bytes", "min_gap_us", "max_gap_us"),
    *("retransmits", "reply_retransmits", "server_rtt_us", "client_rtt_us"),
)


class Result(NamedTuple):
    counters: Counters
    flows: list[dict[str, Any]]
    sightings: dict[tuple[tuple[int, ...], bytes, bytes, int], tuple[int, int, int]]
    slow: list[Slow]
    tunnels: list[str]


def rows_of(kind: Kind, columns: dict[str, bytes], count: int) -> list[dict[str, Any]]:
    """Columns of the engine as one dict a record; every column has exactly the schema's octets."""
    types = {column.name: column.type for column in COLUMNS[kind]} | _EXTRA
    values: dict[str, list[Any]] = {}
    for name, data in columns.items():
        width = WIDTHS[types[name]]
        assert len(data) == width * count, name
        if types[name] in _CODES:
            values[name] = array(_CODES[types[name]], data).tolist()
        else:
            values[name] = [data[at : at + width] for at in range(0, len(data), width)]
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def drain(engine: Engine, source: Source) -> Result:
    """Process a source to its end and take everything, as a pipeline does."""
    flows: list[dict[str, Any]] = []
    slow: list[Slow] = []
    seen: dict[Any, tuple[int, int, int]] = {}

    def take() -> None:
        taken = engine.take_flows()
        flows.extend(rows_of(Kind.FLOW, taken.columns, taken.count))
        slow.extend(engine.take_slow())
        sightings = engine.take_sightings()
        for row in rows_of(Kind.SIGHTING, sightings.columns, sightings.count):
            key = (tuple(vlan_ids(row["vlans"])), row["mac"], ip_octets(row["ip_version"], row["ip"]), row["source"])
            first, last, frames = seen.get(key, (row["first_ns"], row["last_ns"], 0))
            seen[key] = (min(first, row["first_ns"]), max(last, row["last_ns"]), frames + row["frames"])

    while engine.process(source) >= 0:
        take()
    while engine.flush():
        take()
    take()
    return Result(engine.counters(), flows, seen, slow, engine.tunnels)


def run(frames: Sequence[Captured], *, linktype: int = 1, block: int = 4096, **options: Any) -> Result:
    return drain(Engine(**options), MemorySource(frames, linktype=linktype, block=block))


def run_twin(frames: Iterable[Captured], *, linktype: int = 1, **options: Any) -> Twin:
    twin = Twin(**options)
    for ts_ns, octets, original in frames:
        twin.frame(ts_ns, octets, original, linktype)
    return twin


def flow_rows(result: Result) -> Counter[tuple[object, ...]]:
    """Records in the twin's form, as a multiset: key, then what `Flow.row` gives."""
    return Counter(
        (
            row["ip_version"],
            row["protocol"],
            tuple(vlan_ids(row["vlans"])),
            result.tunnels[row["tunnel"]],
            ip_octets(row["ip_version"], row["src"]),
            ip_octets(row["ip_version"], row["dst"]),
            row["src_port"],
            row["dst_port"],
            row["packets"],
            row["bytes"],
            row["reply_packets"],
            row["reply_bytes"],
            row["tcp_flags"],
            row["reply_tcp_flags"],
            row["state"],
            row["first_ns"],
            row["last_ns"],
            row["src_mac"],
            row["dst_mac"],
            *(row[name] for name in MEASURES),
        )
        for row in result.flows
    )


def twin_flow_rows(twin: Twin) -> Counter[tuple[object, ...]]:
    return Counter(
        (flow.key[0], flow.key[1], flow.key[-2], twin.tunnels[flow.key[-1]], *flow.row())  # type: ignore[index]
        for flow in twin.flows.all()
    )


def totals(rows: Counter[tuple[object, ...]]) -> Counter[tuple[object, ...]]:
    """Frames and octets by conversation, whoever opened it: what does not depend on where records are cut."""
    sums: Counter[tuple[object, ...]] = Counter()
    for row, times in rows.items():
        version, protocol, vlans, tunnel, src, dst, src_port, dst_port, packets, octets, back, back_octets = row[:12]
        ends: tuple[object, ...] = tuple(sorted([(src, src_port), (dst, dst_port)]))
        if protocol in (1, 58):
            ends = tuple(sorted([src, dst]))  # type: ignore[type-var]
        where = (version, protocol, vlans, tunnel, ends)
        sums[(*where, "frames")] += times * (packets + back)  # type: ignore[operator]
        sums[(*where, "octets")] += times * (octets + back_octets)  # type: ignore[operator]
    return sums


COUNTED = (
    *("frames", "octets", "decoded", "truncated", "malformed", "unsupported"),
    *("in_flows", "outside_flows", "fragments_lost"),
)


def counters_of(result: Result) -> dict[str, int]:
    return {name: getattr(result.counters, name) for name in COUNTED}


def twin_counters_of(twin: Twin) -> dict[str, int]:
    return {name: twin.counters[name] for name in COUNTED}


def assert_agree(result: Result, twin: Twin, *, ordered: bool = True) -> None:
    """Everything that both know is equal; where time went backwards (not `ordered`), records may be cut elsewhere."""
    assert counters_of(result) == twin_counters_of(twin)
    assert result.counters.by_layer == dict(twin.by_layer)
    assert result.counters.rejected_at == dict(twin.rejected_at)
    assert sum(row["packets"] + row["reply_packets"] for row in result.flows) == result.counters.in_flows
    if ordered:
        assert flow_rows(result) == twin_flow_rows(twin)
    assert totals(flow_rows(result)) == totals(twin_flow_rows(twin))
    assert result.sightings == {key: tuple(row) for key, row in twin.seen.rows.items()}
