"""A capture tells the same in whatever form it is kept, and with a VLAN tag; a short snaplen loses what is counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest
from fieldwatch_ext.capture import MemorySource
from fieldwatch_ext.engine import STAGE_DECODE, Engine
from support.capture_files import ETHERNET, PCAP_NS, pcap
from support.conversions import (
    MICROSECOND,
    MICROSECOND_FORMS,
    NANOSECOND_FORMS,
    TAG_OCTETS,
    WITHOUT_DISSECTORS,
    Captured,
    Row,
    Told,
    captured,
    cut_to,
    in_microseconds,
    tell,
    with_tag,
    without,
)
from support.sample import sample_frames
from support.traffic import ETHERNET_FRAMES

CORPUS = os.environ.get("FIELDWATCH_CORPUS")
CAPTURES = sorted(Path(CORPUS, "core").glob("*.pcap")) if CORPUS else []
VLAN = 3_000
SNAPLEN = 96
START_NS = 1_700_000_000_123_456_789
FULL_OF_TAGS = "vlan_many"  # as many as are read: no further one fits
MOST_U16 = 0xFFFF
TIMES = ("first_ns", "last_ns", "min_gap_us", "max_gap_us", "server_rtt_us", "client_rtt_us")
VERDICTS = ("decoded", "truncated", "malformed", "unsupported")
KEY = ("ip_version", "protocol", "src", "dst", "src_port", "dst_port", "vlans", "tunnels")


def _sample() -> list[Captured]:
    return [(ts_ns, octets, len(octets)) for ts_ns, octets in sample_frames()]


def _traffic() -> list[Captured]:
    frames = [frame for name, frames in ETHERNET_FRAMES.items() for frame in frames if name != FULL_OF_TAGS]
    return [(START_NS + number * 1_000_003, octets, len(octets)) for number, octets in enumerate(frames)]


MADE = {"sample": _sample, "traffic": _traffic}
SOURCES = [pytest.param(name, id=name) for name in MADE] + [
    pytest.param(path, id=path.stem, marks=[pytest.mark.corpus, pytest.mark.slow]) for path in CAPTURES
]


@pytest.fixture(params=SOURCES)
def records(request: pytest.FixtureRequest) -> list[Captured]:
    """Ethernet frames that the project makes, and the external core set."""
    if isinstance(request.param, str):
        return MADE[request.param]()
    linktype, records = captured(request.param)
    assert linktype == ETHERNET
    return records


@pytest.mark.corpus
@pytest.mark.slow
@pytest.mark.skipif(not CAPTURES, reason="external captures: set FIELDWATCH_CORPUS")
def test_there_is_a_core_set() -> None:
    """Else the parameters above would silently be the project's own frames alone."""
    assert len(CAPTURES) > 20


def test_every_form_tells_the_same(records: list[Captured]) -> None:
    """pcap or pcapng, either byte order, in nanoseconds: records, counters, devices, flows and facts are equal."""
    told = {name: tell(form(records)) for name, form in NANOSECOND_FORMS.items()}
    expected = told["pcap, little-endian"]

    assert expected.counted["frames"] == len(records)
    assert {name: found == expected for name, found in told.items()} == dict.fromkeys(NANOSECOND_FORMS, True)


def test_microseconds_lose_what_is_below_them_and_nothing_else(records: list[Captured]) -> None:
    """It tells what a file in nanoseconds tells of the times cut; and, but for times, what that tells of them whole."""
    whole = tell(pcap(records, magic=PCAP_NS))
    expected = tell(pcap(in_microseconds(records), magic=PCAP_NS))
    told = {name: tell(form(in_microseconds(records))) for name, form in MICROSECOND_FORMS.items()}

    assert {name: found == expected for name, found in told.items()} == dict.fromkeys(MICROSECOND_FORMS, True)
    assert {
        name: tell(form(records)) == expected for name, form in MICROSECOND_FORMS.items() if "pcapng" not in name
    } == {
        "pcap, little-endian": True,
        "pcap, big-endian": True,
    }
    assert without(expected.flows, *TIMES) == without(whole.flows, *TIMES)
    assert without(expected.facts, "seen_ns") == without(whole.facts, "seen_ns")
    assert expected.by_layer == whole.by_layer
    assert {name: whole.counted[name] - value for name, value in _numbers(expected).items()} == {
        **dict.fromkeys(_numbers(expected), 0),
        "first_ns": whole.counted["first_ns"] % MICROSECOND,
        "last_ns": whole.counted["last_ns"] % MICROSECOND,
    }


def _numbers(told: Told) -> dict[str, int]:
    return {name: value for name, value in told.counted.items() if isinstance(value, int)}


def test_a_pushed_tag_changes_the_vlan_and_nothing_else(records: list[Captured]) -> None:
    """Devices, facts and flows are those of the capture without it; each frame is four octets longer."""
    plain = tell(pcap(records, magic=PCAP_NS))
    tagged = tell(pcap(with_tag(records, VLAN), magic=PCAP_NS))
    grown = sum(TAG_OCTETS for _, octets, _ in records if len(octets) >= 14)

    assert _counted(tagged) == _counted(plain)
    assert tagged.counted["octets"] == plain.counted["octets"] + grown
    assert [replace(device, vlans=set()) for device in tagged.devices] == [
        replace(device, vlans=set()) for device in plain.devices
    ]
    assert without(tagged.facts, "vlans") == without(plain.facts, "vlans")
    assert tagged.flows == Counter(_with_tag(flow) for flow in plain.flows.elements())


def _counted(told: Told) -> dict[str, int]:
    return {name: value for name, value in told.counted.items() if name != "octets"}


def _with_tag(flow: Row) -> Row:
    """The flow's record as it is when each of its frames carries the tag; the stack keeps the four outermost."""
    row = dict(flow)
    row["vlans"] = (row["vlans"] << 16 | 0x1000 | VLAN) & 0xFFFF_FFFF_FFFF_FFFF
    for way in ("", "reply_"):
        row[f"{way}bytes"] += TAG_OCTETS * row[f"{way}packets"]
        if row[f"{way}packets"]:
            for name in (f"{way}min_bytes", f"{way}max_bytes"):
                row[name] = min(row[name] + TAG_OCTETS, MOST_U16)
    return tuple(row.items())


def test_a_short_snaplen_loses_what_is_counted(records: list[Captured]) -> None:
    """Frames whose headers fit keep their flows and devices; a header that does not is counted as truncated."""
    decoder = Engine(stage=STAGE_DECODE)
    pairs = [(_decoded(decoder, record), _decoded(decoder, cut)) for record, cut in _cut(records)]
    fitting = [record for record, (whole, cut) in zip(records, pairs, strict=True) if whole == cut]
    kept = tell(pcap(fitting, magic=PCAP_NS), WITHOUT_DISSECTORS)
    cut = tell(pcap(cut_to(fitting, SNAPLEN), magic=PCAP_NS), WITHOUT_DISSECTORS)
    everything = tell(pcap(records, magic=PCAP_NS), WITHOUT_DISSECTORS).counted
    remains = tell(pcap(cut_to(records, SNAPLEN), magic=PCAP_NS), WITHOUT_DISSECTORS).counted
    lost = [cut.verdict for whole, cut in pairs if whole.verdict != cut.verdict]

    assert cut.devices == kept.devices
    assert _keys(cut) == _keys(kept)
    assert cut.counted == kept.counted
    assert remains["frames"] == sum(remains[verdict] for verdict in VERDICTS) == len(records)
    assert remains["octets"] == everything["octets"]
    assert lost == ["truncated"] * len(lost)
    assert remains["truncated"] == everything["truncated"] + len(lost)


class Decoded(NamedTuple):
    verdict: str
    layers: frozenset[str]


def _cut(records: list[Captured]) -> Iterator[tuple[Captured, Captured]]:
    return zip(records, cut_to(records, SNAPLEN), strict=True)


def _decoded(decoder: Engine, record: Captured) -> Decoded:
    """What the decoder makes of one record, by the difference it makes to the counters."""
    before = decoder.counters()
    decoder.process(MemorySource([record]))
    after = decoder.counters()
    layers = [name for name, count in after.by_layer.items() if count != before.by_layer.get(name, 0)]
    return Decoded(next(name for name in VERDICTS if getattr(after, name) != getattr(before, name)), frozenset(layers))


def _keys(told: Told) -> Counter[tuple[object, ...]]:
    return Counter(tuple(row[name] for name in KEY) for row in map(dict, told.flows.elements()))
