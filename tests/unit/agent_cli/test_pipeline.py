"""The pipeline: every frame in a record or counted, whatever the size of the steps, however hostile the wire."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from fieldwatch_agent import pipeline as pipeline_module
from fieldwatch_agent.config import AgentConfig, Flows, Privacy, Sightings
from fieldwatch_agent.facts import Fact
from fieldwatch_agent.pipeline import FACTS_REMEMBERED, VALUES_A_KEY, FactFilter, Pipeline, make_engine
from fieldwatch_ext.capture import MemorySource
from fieldwatch_proto.columns import open_body, seal
from fieldwatch_proto.records import Records
from fieldwatch_proto.schema import COLUMNS, Kind, SightingSource
from support.sample import sample_frames

MDNS_MAC, MDNS_IP = bytes.fromhex("01005e0000fb"), bytes([224, 0, 0, 251])
HOUR_NS = 3_600 * 10**9

Frames = Sequence[tuple[int, bytes]]


def run(
    frames: Frames,
    config: AgentConfig | None = None,
    *,
    block: int = 256,
    each: Callable[[Pipeline], None] | None = None,
    **options: Any,
) -> tuple[Pipeline, list[Records]]:
    """All records of `frames`; `each` is called between the steps."""
    out: list[Records] = []
    pipeline = Pipeline(make_engine(config or AgentConfig()), "eth0", out.append, **options)
    source = MemorySource(frames, block=block)
    steps = 0
    while pipeline.step(source) >= 0:
        steps += 1
        assert steps <= len(frames) + 1_000, "the pipeline does not get on"
        if each is not None:
            each(pipeline)
    pipeline.finish()
    return pipeline, out


def rows(out: list[Records], kind: Kind) -> list[dict[str, Any]]:
    return [row for records in out if records.kind is kind for row in records.rows()]


def facts(out: list[Records]) -> set[tuple[str, str, str, str]]:
    return {(row["subject"], row["key"], row["value"], row["source"]) for row in rows(out, Kind.FACT)}


def hostile(count: int) -> Frames:
    """mDNS answers, each with a MAC, an address and a name of its own: every table is under pressure."""
    frames = []
    for number in range(count):
        name = b"h%08x" % number
        source = bytes([10]) + number.to_bytes(3, "big")
        answer = bytes([len(name)]) + name + b"\x05local\0" + struct.pack(">HHIH", 1, 0x8001, 120, 4) + source
        dns = struct.pack(">HHHHHH", 0, 0x8400, 0, 1, 0, 0) + answer
        udp = struct.pack(">HHHH", 5353, 5353, 8 + len(dns), 0) + dns
        ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 255, 17, 0, source, MDNS_IP) + udp
        frames.append((number * 1_000, MDNS_MAC + b"\x02" + number.to_bytes(5, "big") + b"\x08\x00" + ip))
    return frames


def test_a_hostile_wire_neither_stops_it_nor_loses_a_frame() -> None:
    """Ten times more senders than the tables hold: every frame is in a flow record and in a sighting."""
    config = replace(AgentConfig(), flows=Flows(max=1_024), sightings=Sightings(max=1_024))
    pipeline, out = run(hostile(10_000), config)
    sightings = rows(out, Kind.SIGHTING)

    assert sum(row["packets"] + row["reply_packets"] for row in rows(out, Kind.FLOW)) == 10_000
    assert sum(row["frames"] for row in sightings if row["source"] == SightingSource.ETH) == 10_000
    assert sum(row["frames"] for row in sightings if row["source"] == SightingSource.IP) == 10_000
    assert len(facts(out)) == 10_000
    assert pipeline.engine.counters().slow_dropped == 0


@pytest.mark.parametrize("block", [1, 7, 4_096])
def test_the_steps_leave_no_trace(block: int) -> None:
    """The sample gives the same facts, flow totals and sightings, however the frames are cut into blocks and ticks."""

    def totals(out: list[Records]) -> tuple[object, ...]:
        flows: Counter[tuple[object, ...]] = Counter()
        for row in rows(out, Kind.FLOW):
            key = (row["src"], row["src_port"], row["dst"], row["dst_port"], row["protocol"])
            flows[key] += row["packets"] + row["reply_packets"]
        seen: Counter[tuple[object, ...]] = Counter()
        for row in rows(out, Kind.SIGHTING):
            seen[row["vlans"], row["mac"], row["ip"], row["source"]] += row["frames"]
        return facts(out), flows, seen

    frames = sample_frames()
    _, whole = run(frames)
    _, pieces = run(frames, block=block, each=lambda pipeline: pipeline.tick(None))

    assert totals(whole) == totals(pieces)


def test_frames_are_in_flows_or_counted_outside() -> None:
    """Packets of all flow records and the frames outside flows are all frames."""
    frames = sample_frames()
    pipeline, out = run(frames)
    counters = pipeline.engine.counters()

    assert len(frames) == counters.frames == counters.in_flows + counters.outside_flows
    assert counters.in_flows == sum(row["packets"] + row["reply_packets"] for row in rows(out, Kind.FLOW))


def test_records_can_be_sealed() -> None:
    """Every column of the schema is there, carries the interface, and survives the codec."""
    _, out = run(sample_frames())

    assert {Kind.FLOW, Kind.FACT, Kind.SIGHTING} == {records.kind for records in out}
    for records in out:
        sealed = seal(records)
        opened = open_body(sealed.kind, sealed.records, sealed.raw_bytes, sealed.body)
        assert {column.name for column in COLUMNS[records.kind]} == set(opened.columns)
        assert {"eth0"} == set(opened.values("interface"))
        assert records.rows() == opened.rows()


def test_flow_texts() -> None:
    """Application labels and interface are texts; only the texts in use are carried."""
    _, out = run(sample_frames())
    flows = [records for records in out if records.kind is Kind.FLOW]
    labels = {(row["protocol"], row["dst_port"]): row["application"] for row in rows(flows, Kind.FLOW)}

    assert (labels[6, 445], labels[6, 443]) == ("smb", "https")
    assert all(
        sorted(set(column.rows())) == sorted(column.values)  # type: ignore[union-attr]
        for column in (records.columns["application"] for records in flows)
    )


def test_a_lease_is_a_binding() -> None:
    """A DHCP acknowledgement gives a sighting with the authority of DHCP."""
    _, out = run(sample_frames())
    bound = {
        (row["mac"].hex(":"), row["ip"][:4].hex())
        for row in rows(out, Kind.SIGHTING)
        if row["source"] == SightingSource.DHCP
    }

    assert ("3c:97:0e:10:00:06", "c0a80a15") in bound


def test_switches() -> None:
    """Without dissection there are no facts; an ignored protocol gives none, the others stay."""
    frames = sample_frames()
    _, every = run(frames)
    _, nothing = run(frames, dissect=False)
    _, some = run(frames, config=replace(AgentConfig(), privacy=Privacy(ignore_protocols=("mdns", "dhcp"))))

    assert set() == facts(nothing)
    assert {fact for fact in facts(every) if fact[3] not in ("mdns", "dhcp")} == facts(some)
    assert {"mdns", "dhcp"} <= {fact[3] for fact in facts(every)}


def test_silence_ends_flows() -> None:
    """A tick with a late enough clock ends what idles, without a frame."""
    out: list[Records] = []
    frames = sample_frames()[:200]
    pipeline = Pipeline(make_engine(AgentConfig()), "eth0", out.append)
    source = MemorySource(frames)
    while pipeline.step(source) >= 0:
        pass
    active = pipeline.engine.counters().flows_active
    pipeline.tick(frames[-1][0] + 61 * 10**9)

    assert active > 0
    assert pipeline.engine.counters().flows_active == 0


def fact(value: str, seen_ns: int = 0, subject: str = "02:00:00:00:00:01") -> Fact:
    return Fact(subject, "hostname", value, "dhcp", "test", 90, seen_ns, 1, 0, b"")


def is_news(news: FactFilter, told: Fact) -> bool:
    return news.news_of([told]) == [told]


def test_news() -> None:
    """A fact is told once, and again an hour of packet time later."""
    news = FactFilter()

    assert [is_news(news, fact("nas", at)) for at in (0, 1, HOUR_NS - 1, HOUR_NS, HOUR_NS + 1)] == [
        True,
        False,
        False,
        True,
        False,
    ]
    assert is_news(news, fact("nas2", 0))


def test_what_is_remembered_is_bounded() -> None:
    """The subject that was not heard of for longest is forgotten first; one that is seen again stays."""
    news = FactFilter()
    for number in range(FACTS_REMEMBERED):
        assert is_news(news, fact("x", subject=str(number)))
    assert not is_news(news, fact("x", subject="0"))
    assert is_news(news, fact("x", subject="one more"))

    assert [is_news(news, fact("x", subject=subject)) for subject in ("0", "1")] == [False, True]


def test_a_subject_has_so_many_values_of_a_key() -> None:
    """A host that invents names is told 64 of them an hour; what goes beyond is counted, and others are not touched."""
    news = FactFilter()
    told = [is_news(news, fact(str(number), number)) for number in range(1_000)]

    assert told == [True] * VALUES_A_KEY + [False] * (1_000 - VALUES_A_KEY)
    assert news.refused == 1_000 - VALUES_A_KEY
    assert is_news(news, fact("new", subject="another"))
    assert is_news(news, fact("new", HOUR_NS))  # the place of the first, which is due again
    assert not is_news(news, fact("newer", HOUR_NS))


def test_facts_are_told_again_after_the_clock_was_set_back() -> None:
    """Not only when it has caught up, which after ten years ahead it never does; and there is room for new values."""
    ahead_ns = 10 * 365 * 24 * HOUR_NS
    news = FactFilter()
    for number in range(VALUES_A_KEY):
        assert is_news(news, fact(str(number), ahead_ns))

    assert [is_news(news, fact("0", at)) for at in (ahead_ns - 1, 0, 1)] == [False, True, False]
    assert is_news(news, fact("new", 1))
    assert news.refused == 0


def test_bindings_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More bindings than are kept at once are handed out in several pieces, none twice."""
    monkeypatch.setattr(pipeline_module, "BINDINGS_AT_ONCE", 2)
    _, pieces = run(sample_frames())
    monkeypatch.undo()
    _, whole = run(sample_frames())

    def bound(out: list[Records]) -> Counter[bytes]:
        seen: Counter[bytes] = Counter()
        for row in rows(out, Kind.SIGHTING):
            if row["source"] == SightingSource.DHCP:
                seen[row["mac"]] += row["frames"]
        return seen

    assert len(pieces) > len(whole)
    assert bound(whole) == bound(pieces)
