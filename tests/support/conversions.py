"""One capture in every form that should tell the same, and all that `read` tells of a capture.

A form is a function from records to the octets of a capture file; `tell` reads such octets through the whole path of
`read`, so that two captures can be compared: ``tell(FORMS["pcapng"](records)) == tell(FORMS["pcap"](records))``.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from fieldwatch_agent.analysis import Analysis
from fieldwatch_agent.config import AgentConfig, Privacy
from fieldwatch_agent.dissectors import DISSECTORS
from fieldwatch_ext.capture import FileSource
from fieldwatch_proto.records import Records

from support.capture_files import PCAP_NS, PCAP_US, pcap, pcapng

Captured = tuple[int, bytes, int]
"""(ts_ns, octets, length on the wire)."""

Row = tuple[tuple[str, Any], ...]
"""(column, value) of one record."""

MICROSECOND = 1_000
TAG_OCTETS = 4
WITHOUT_DISSECTORS = replace(AgentConfig(), privacy=Privacy(ignore_protocols=DISSECTORS))
"""What the headers alone tell."""

# Of one record in nanoseconds: nothing is lost.
NANOSECOND_FORMS: dict[str, Callable[..., bytes]] = {
    "pcap, little-endian": partial(pcap, magic=PCAP_NS),
    "pcap, big-endian": partial(pcap, magic=PCAP_NS, byte_order=">"),
    "pcapng, little-endian": partial(pcapng, tsresol=9),
    "pcapng, big-endian": partial(pcapng, tsresol=9, byte_order=">"),
}
MICROSECOND_FORMS: dict[str, Callable[..., bytes]] = {
    "pcap, little-endian": partial(pcap, magic=PCAP_US),
    "pcap, big-endian": partial(pcap, magic=PCAP_US, byte_order=">"),
    "pcapng, little-endian": partial(pcapng, tsresol=None),
    "pcapng, big-endian": partial(pcapng, tsresol=None, byte_order=">"),
}


class Told(NamedTuple):
    """All that `read` tells of a capture."""

    counted: dict[str, Any]
    by_layer: dict[str, int]
    devices: list[Any]
    flows: Counter[Row]
    facts: Counter[Row]


def captured(path: Path) -> tuple[int, list[Captured]]:
    """The linktype of a capture file and its records. Only files of one linktype are read."""
    with path.open("rb") as stream, FileSource(stream.fileno()) as source:
        frames = []
        while (block := source.read_block()) is not None:
            frames += block
    ((linktype, _),) = groupby(frames, key=lambda frame: frame.linktype)
    return linktype, [(frame.ts_ns, frame.octets, frame.original) for frame in frames]


def tell(octets: bytes, config: AgentConfig | None = None) -> Told:
    """Read the octets of a capture file to their end."""
    flows: Counter[Row] = Counter()
    facts: Counter[Row] = Counter()
    analysis = Analysis(
        config or AgentConfig(),
        on_flows=lambda records: flows.update(_rows(records)),
        on_facts=lambda records: facts.update(_rows(records)),
    )
    descriptor = os.memfd_create("capture")
    try:
        with open(descriptor, "wb", closefd=False) as stream:
            stream.write(octets)
        os.lseek(descriptor, 0, os.SEEK_SET)
        analysis.read(descriptor, "capture")
    finally:
        os.close(descriptor)
    totals = analysis.totals
    names = ("frames", "octets", "decoded", "truncated", "malformed", "unsupported", "overflow", "problems")
    counted = {name: getattr(totals, name) for name in (*names, "first_ns", "last_ns")}
    return Told(counted, dict(totals.by_layer), analysis.devices(), flows, facts)


def _rows(records: Records) -> list[Row]:
    names = sorted(records.columns)
    return [tuple(zip(names, row, strict=True)) for row in zip(*(records.values(n) for n in names), strict=True)]


def without(rows: Counter[Row], *names: str) -> Counter[Row]:
    """The same rows without some of their columns."""
    shorter: Counter[Row] = Counter()
    for row, times in rows.items():
        shorter[tuple(pair for pair in row if pair[0] not in names)] += times
    return shorter


def in_microseconds(records: Sequence[Captured]) -> list[Captured]:
    """With their times cut to microseconds."""
    return [(ts_ns - ts_ns % MICROSECOND, octets, original) for ts_ns, octets, original in records]


def with_tag(records: Sequence[Captured], vlan: int) -> list[Captured]:
    """With an 802.1Q tag pushed behind the addresses of every Ethernet frame that has both whole."""
    tag = b"\x81\x00" + vlan.to_bytes(2, "big")
    return [
        (ts_ns, octets[:12] + tag + octets[12:], original + TAG_OCTETS)
        if len(octets) >= 14
        else (ts_ns, octets, original)
        for ts_ns, octets, original in records
    ]


def cut_to(records: Sequence[Captured], snaplen: int) -> list[Captured]:
    return [(ts_ns, octets[:snaplen], original) for ts_ns, octets, original in records]
