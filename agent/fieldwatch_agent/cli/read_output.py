"""The two forms of what `read` prints: JSON lines as they come, tables at the end."""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from fieldwatch_proto.cli.tables import (
    Column,
    bytes_text,
    clock_text,
    count_text,
    duration_text,
    json_line,
    plain,
    write,
)
from fieldwatch_proto.identity import Device, Prefix, is_local
from fieldwatch_proto.records import Records
from fieldwatch_proto.schema import ip_octets

from fieldwatch_agent.analysis import Analysis, Totals
from fieldwatch_agent.cli.vendors import load_vendors
from fieldwatch_agent.objects import Object, device_object, fact_objects, flow_objects, summary_object

if TYPE_CHECKING:
    from fieldwatch_proto.vendors import Vendors

TOP_FLOWS = 10
FACTS_SHOWN = 40
DEVICES_SHOWN = 200
MANY_ADDRESSES = 3  # of a device, in a table
LOCALLY_ADMINISTERED = 0x02  # IEEE 802 U/L bit


class Output(Protocol):
    """Where an `Analysis` hands what it finds. `prefixes` not None: only what is local (``--private-only``)."""

    def flows(self, records: Records) -> None: ...
    def facts(self, records: Records) -> None: ...
    def finish(self, analysis: Analysis) -> None: ...


def local_rows(records: Records, prefixes: Sequence[Prefix] | None) -> list[bool] | None:
    """Which flows have a local end; None = all count."""
    if prefixes is None:
        return None
    versions, sources, destinations = (records.values(name) for name in ("ip_version", "src", "dst"))
    return [
        is_local(ip_octets(version, src), prefixes) or is_local(ip_octets(version, dst), prefixes)
        for version, src, dst in zip(versions, sources, destinations, strict=True)
    ]


def local_devices(devices: Iterable[Device], prefixes: Sequence[Prefix] | None) -> list[Device]:
    """Devices but those that have only public addresses; of the others the local addresses."""
    if prefixes is None:
        return list(devices)
    kept = []
    for device in devices:
        local = {ip for ip in device.ips if is_local(ip, prefixes)}
        if local or not device.ips:
            device.ips = local
            kept.append(device)
    return kept


def local_facts(facts: Iterable[Object], prefixes: Sequence[Prefix] | None) -> Iterator[Object]:
    """Facts but those about a public address."""
    import ipaddress

    for fact in facts:
        if prefixes is not None:
            try:
                octets = ipaddress.ip_address(fact["subject"]).packed
            except ValueError:
                octets = b""  # a MAC
            if octets and not is_local(octets, prefixes):
                continue
        yield fact


def vendor_of(vendors: Vendors, device: Device) -> str | None:
    return vendors.lookup(device.mac) or None


class JsonOutput:
    """JSON lines: flows and facts as they come, then devices, then the summary."""

    def __init__(self, out: TextIO, only: str | None, prefixes: Sequence[Prefix] | None) -> None:
        self._out = out
        self._only = only
        self._prefixes = prefixes

    def flows(self, records: Records) -> None:
        if self._only in (None, "flows"):
            kept = local_rows(records, self._prefixes)
            for place, flow in enumerate(flow_objects(records)):
                if kept is None or kept[place]:
                    self._out.write(json_line(flow))

    def facts(self, records: Records) -> None:
        if self._only in (None, "facts"):
            for fact in local_facts(fact_objects(records), self._prefixes):
                self._out.write(json_line(fact))

    def finish(self, analysis: Analysis) -> None:
        devices = analysis.devices() if self._only in (None, "devices", "summary") else []
        devices = local_devices(devices, self._prefixes)
        if self._only in (None, "devices"):
            vendors = load_vendors(analysis.config)
            for device in devices:
                self._out.write(json_line(device_object(device, vendor_of(vendors, device))))
        if self._only in (None, "summary"):
            self._out.write(json_line(summary_object(analysis.totals, len(devices))))


class TableOutput:
    """One line of sums, then the devices, the flows with most octets and the facts; long tables are cut, and say so."""

    def __init__(self, out: TextIO, only: str | None, prefixes: Sequence[Prefix] | None) -> None:
        self._out = out
        self._only = only
        self._prefixes = prefixes
        self._top: list[tuple[int, int, Object]] = []
        self._flows_seen = 0
        self._flows_kept = TOP_FLOWS if only is None else 20 * TOP_FLOWS
        self._facts: list[Object] = []
        self._facts_seen = 0
        self._facts_kept = FACTS_SHOWN if only is None else 50 * FACTS_SHOWN

    def flows(self, records: Records) -> None:
        kept = local_rows(records, self._prefixes)
        sums = [a + b for a, b in zip(records.values("bytes"), records.values("reply_bytes"), strict=True)]
        floor = self._top[0][0] if len(self._top) >= self._flows_kept else -1
        places = [n for n, octets in enumerate(sums) if (kept is None or kept[n]) and octets > floor]
        self._flows_seen += len(sums) if kept is None else sum(kept)
        best = heapq.nlargest(self._flows_kept, places, key=sums.__getitem__)
        if not best:
            return
        picked = list(flow_objects(_pick(records, best)))
        for place, flow in zip(best, picked, strict=True):
            # The running number keeps equal sums apart: objects have no order of their own.
            heapq.heappush(self._top, (sums[place], -self._flows_seen - place, flow))
            if len(self._top) > self._flows_kept:
                heapq.heappop(self._top)

    def facts(self, records: Records) -> None:
        for fact in local_facts(fact_objects(records), self._prefixes):
            self._facts_seen += 1
            if len(self._facts) < self._facts_kept:
                self._facts.append(fact)

    def finish(self, analysis: Analysis) -> None:
        devices = local_devices(analysis.devices(), self._prefixes)
        if self._only in (None, "summary"):
            self._out.write(summary_text(analysis.totals) + "\n")
        if self._only in (None, "devices"):
            self._devices(devices, load_vendors(analysis.config))
        if self._only in (None, "flows"):
            self._flows()
        if self._only in (None, "facts"):
            self._fact_table()

    def _title(self, name: str, shown: int, total: int, order: str) -> None:
        if self._only is None:
            self._out.write("\n")
        extent = f"{count_text(total)}" if shown >= total else f"{count_text(shown)} of {count_text(total)}{order}"
        self._out.write(f"{name} ({extent})\n")

    def _devices(self, devices: list[Device], vendors: Vendors) -> None:
        shown = devices if self._only else sorted(devices, key=lambda device: -device.frames)[:DEVICES_SHOWN]
        self._title("Devices", len(shown), len(devices), ", by frames")
        rows = []
        for device in shown:
            row = device_object(device, vendor_of(vendors, device))
            if row["vendor"] is None and device.mac[0] & LOCALLY_ADMINISTERED:
                row["vendor"] = "(random or local MAC)"
            row["name"] = device.names[0].name if device.names else ""
            row["last"] = device.last_ns
            rows.append(row)
        write(rows, _in_use(DEVICE_COLUMNS, rows), stream=self._out, empty="none")

    def _flows(self) -> None:
        rows = []
        for _, _, flow in sorted(self._top, key=lambda item: item[:2], reverse=True):
            rows.append(
                flow
                | {
                    "from": endpoint(flow["src"], flow["src_port"], flow["protocol"]),
                    "to": endpoint(flow["dst"], flow["dst_port"], flow["protocol"]),
                    "in": " / ".join(flow["tunnels"]),
                }
            )
        self._title("Flows", len(rows), self._flows_seen, ", by octets")
        write(rows, _in_use(FLOW_COLUMNS, rows), stream=self._out, empty="none")

    def _fact_table(self) -> None:
        self._title("Facts", len(self._facts), self._facts_seen, ", the first ones; --json gives all")
        write(self._facts, FACT_COLUMNS, stream=self._out, empty="none")


def _pick(records: Records, places: Sequence[int]) -> Records:
    """The rows at `places`."""
    from fieldwatch_proto.records import ColumnData, Texts
    from fieldwatch_proto.schema import COLUMNS, WIDTHS

    columns: dict[str, ColumnData] = {}
    for column in COLUMNS[records.kind]:
        data = records.columns[column.name]
        if isinstance(data, Texts):
            columns[column.name] = Texts(data.values, array("I", [data.indices[place] for place in places]))
        else:
            width = WIDTHS[column.type]
            columns[column.name] = b"".join(data[place * width : (place + 1) * width] for place in places)
    return Records(records.kind, len(places), columns)


def endpoint(address: str, port: int, protocol: str) -> str:
    """``192.0.2.1:443``, ``[2001:db8::1]:443``; the address alone where a protocol has no ports."""
    if protocol not in ("tcp", "udp", "sctp", "udplite", "dccp"):
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def summary_text(totals: Totals) -> str:
    """The sums in one line."""
    parts = [
        f"{count_text(totals.captures)} captures" if totals.captures > 1 else "1 capture",
        f"({', '.join(totals.linktypes)}):" if totals.linktypes else "(no frames):",
        f"{count_text(totals.frames)} frames, {bytes_text(totals.octets)}",
    ]
    if totals.duration_ns and totals.first_ns is not None:
        began = clock_text(totals.first_ns or 1)  # 0 is nothing to a table, here it is a time
        parts.append(f"in {duration_text(totals.duration_ns / 1e9)} from {began} UTC")
    rejected = {"truncated": totals.truncated, "malformed": totals.malformed, "unsupported": totals.unsupported}
    named = [f"{count_text(number)} {name}" for name, number in rejected.items() if number]
    text = " ".join(parts) + (f"; not decoded: {', '.join(named)}" if named else "; all decoded")
    return text + (f"; {count_text(totals.filtered)} filtered out" if totals.filtered else "")


def _in_use(columns: Sequence[Column], rows: Sequence[Object]) -> list[Column]:
    """The columns without those for VLANs and tunnels that no row needs."""
    return [column for column in columns if column.key not in ("vlan", "in") or any(row[column.key] for row in rows)]


def _addresses(ips: Any) -> str:
    more = len(ips) - MANY_ADDRESSES
    return " ".join(islice(ips, MANY_ADDRESSES)) + (f" +{more}" if more > 0 else "")


DEVICE_COLUMNS = (
    Column("name"),
    Column("ips", "ADDRESSES", show=_addresses),
    Column("mac", show=lambda mac: mac or "(behind a router)"),
    Column("vendor"),
    Column("vlan", show=plain),
    Column("sources", "SEEN BY"),
    Column("frames", align="right", show=count_text),
    Column("last", "LAST SEEN (UTC)", show=clock_text),
)
FLOW_COLUMNS = (
    Column("protocol"),
    Column("from"),
    Column("to"),
    Column("application"),
    Column("vlan"),
    Column("in", "INSIDE"),
    Column("packets", align="right", show=count_text),
    Column("bytes", align="right", show=bytes_text),
    Column("reply_packets", "REPLIES", align="right", show=count_text),
    Column("reply_bytes", align="right", show=bytes_text),
    Column("state"),
)
FACT_COLUMNS = (
    Column("subject"),
    Column("key"),
    Column("value"),
    Column("source"),
    Column("frame", align="right"),
    Column("evidence"),
)
