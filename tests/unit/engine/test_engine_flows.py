"""The flow table: who opened a flow, when it ends, and that no frame is lost when the table is too small."""

from __future__ import annotations

import os
import random
from array import array
from typing import Any

import pytest
from fieldwatch_ext.capture import MemorySource
from fieldwatch_ext.engine import Engine
from fieldwatch_proto.schema import EndReason, FlowState, Kind
from support.engine_compare import drain, rows_of, run
from support.frames import ACK, FIN, RST, SYN, ethernet, ipv4, ipv6, tcp, udp

SECOND = 1_000_000_000
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"


def from_client(flags: int, payload: bytes = b"") -> bytes:
    return ethernet(ipv4(CLIENT, SERVER, tcp(40_000, 443, flags, payload)))


def from_server(flags: int, payload: bytes = b"") -> bytes:
    return ethernet(ipv4(SERVER, CLIENT, tcp(443, 40_000, flags, payload)))


def at(*timed: tuple[float, bytes]) -> list[tuple[int, bytes, int]]:
    return [(int(seconds * SECOND), octets, len(octets)) for seconds, octets in timed]


def records(frames: list[tuple[int, bytes, int]], **options: Any) -> list[tuple[Any, ...]]:
    """(src_port, packets, reply_packets, state, end reason) in the order of their beginning."""
    rows = sorted(run(frames, **options).flows, key=lambda row: row["first_ns"])
    return [
        (row["src_port"], row["packets"], row["reply_packets"], FlowState(row["state"]), EndReason(row["end_reason"]))
        for row in rows
    ]


@pytest.mark.parametrize(
    ("segments", "src_port", "state"),
    [
        ([from_client(SYN)], 40_000, FlowState.SYN),
        ([from_server(SYN | ACK)], 40_000, FlowState.SYN_ACK),
        ([from_client(SYN), from_server(SYN | ACK), from_client(ACK)], 40_000, FlowState.ESTABLISHED),
        ([from_server(ACK), from_client(ACK)], 443, FlowState.ESTABLISHED),
        ([from_server(ACK)], 443, FlowState.ACTIVE),
        ([from_server(ACK), from_client(SYN)], 40_000, FlowState.SYN),
        ([from_client(SYN), from_server(RST | ACK)], 40_000, FlowState.RESET),
        ([from_client(SYN), from_server(SYN | ACK), from_client(FIN | ACK)], 40_000, FlowState.CLOSING),
        ([from_client(FIN | ACK), from_client(FIN | ACK)], 40_000, FlowState.CLOSING),
        ([from_client(FIN | ACK), from_server(FIN | ACK), from_server(RST)], 40_000, FlowState.CLOSED),
    ],
)
def test_opener_and_state(segments: list[bytes], src_port: int, state: FlowState) -> None:
    """The sender of the SYN (or the receiver of a SYN-ACK) is `src`, whatever was seen first; flags drive the state."""
    rows = records(at(*((place / 1000, octets) for place, octets in enumerate(segments))))

    assert [(row[0], row[3]) for row in rows] == [(src_port, state)]


def test_stragglers_stay_with_a_closed_flow() -> None:
    """A late ACK within the linger belongs to the closed flow; a new SYN begins a new one at once."""
    close = [(0.0, from_client(SYN)), (0.1, from_server(FIN | ACK)), (0.2, from_client(FIN | ACK))]

    assert records(at(*close, (1.0, from_server(ACK)))) == [
        (40_000, 2, 2, FlowState.CLOSED, EndReason.CLOSED),
    ]
    assert records(at(*close, (1.0, from_client(SYN)))) == [
        (40_000, 2, 1, FlowState.CLOSED, EndReason.CLOSED),
        (40_000, 1, 0, FlowState.SYN, EndReason.FLUSH),
    ]
    assert [row[4] for row in records(at(*close, (6.0, from_server(ACK))))] == [EndReason.CLOSED, EndReason.FLUSH]


def test_idle_flow_ends_on_packet_time() -> None:
    """A frame that comes `idle_ns` after the last one begins a new flow; a nanosecond earlier it does not."""
    frame = ethernet(ipv4(CLIENT, SERVER, udp(5, 6)))
    just = [(0, frame, 60), (10 * SECOND - 1, frame, 60)]
    over = [(0, frame, 60), (10 * SECOND, frame, 60)]

    assert [row[1] for row in records(just, idle_ns=10 * SECOND)] == [2]
    assert [(row[1], row[4]) for row in records(over, idle_ns=10 * SECOND)] == [
        (1, EndReason.IDLE),
        (1, EndReason.FLUSH),
    ]


def test_expire_works_on_a_silent_link() -> None:
    """`expire` ends what is idle at a wall-clock time, and writes ACTIVE records without a frame."""
    engine = Engine(idle_ns=10 * SECOND, active_ns=4 * SECOND)
    engine.process(MemorySource(at((1, from_client(SYN)), (2, ethernet(ipv4(CLIENT, SERVER, udp(5, 6)))))))

    assert engine.expire(4 * SECOND) == 0
    assert engine.expire(5 * SECOND) == 1
    assert engine.expire(20 * SECOND) == 2
    taken = engine.take_flows()
    assert sorted(
        (row["protocol"], row["packets"], row["end_reason"]) for row in rows_of(Kind.FLOW, taken.columns, taken.count)
    ) == [(6, 1, EndReason.ACTIVE), (17, 1, EndReason.IDLE)]
    assert engine.counters().flows_active == 0


def test_active_timeout_splits_and_loses_nothing() -> None:
    """A flow that lasts gives a record each `active_ns`; together they hold every frame, its state goes on."""
    frames = at((0, from_client(SYN)), (1, from_server(SYN | ACK)), *((2 + n, from_client(ACK)) for n in range(10)))

    rows = records(frames, active_ns=4 * SECOND)

    assert [(row[1] + row[2], row[4]) for row in rows] == [
        (4, EndReason.ACTIVE),
        (4, EndReason.ACTIVE),
        (4, EndReason.FLUSH),
    ]
    assert {row[3] for row in rows} == {FlowState.ESTABLISHED}


def test_a_sum_of_octets_begins_a_new_record_before_it_overflows() -> None:
    """Lengths as no wire has them, but as a capture may claim: 550 GB a side of a record, and none is lost."""
    longest = 0xFFFF_FFFF
    frames = [(n * SECOND, octets, longest) for n in range(300) for octets in (from_client(ACK), from_server(ACK))]

    rows = run(frames, idle_ns=3600 * SECOND).flows

    assert [EndReason(row["end_reason"]) for row in rows] == [EndReason.ACTIVE] * 2 + [EndReason.FLUSH]
    assert sum(row["bytes"] for row in rows) == sum(row["reply_bytes"] for row in rows) == 300 * longest
    assert sum(row["packets"] + row["reply_packets"] for row in rows) == 600


def test_applications_by_port() -> None:
    """The label of the destination port, else of the source port; TCP and UDP have tables of their own."""
    tcp_labels, udp_labels = array("H", bytes(131_072)), array("H", bytes(131_072))
    tcp_labels[443], udp_labels[53] = 7, 9
    frames = at(
        (0, from_client(SYN)),
        (1, ethernet(ipv4(SERVER, CLIENT, udp(53, 1000)))),
        (2, ethernet(ipv4(SERVER, CLIENT, udp(443, 1001)))),
    )

    rows = run(frames, tcp_labels=tcp_labels.tobytes(), udp_labels=udp_labels.tobytes()).flows

    assert sorted((row["src_port"], row["application"]) for row in rows) == [(53, 9), (443, 0), (40_000, 7)]


def distinct(start: int, count: int) -> list[tuple[int, bytes]]:
    """Frames of UDP flows that each have a source of their own."""
    frame = ethernet(ipv4(CLIENT, SERVER, udp(5, 6)))
    head, tail = frame[:26], frame[30:]
    return [(number, head + number.to_bytes(4, "big") + tail) for number in range(start, start + count)]


@pytest.mark.parametrize("parts", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_flood_of_distinct_tuples(parts: int) -> None:
    """Distinct flows by the million through 1,024 entries: every frame in exactly one record, memory as before."""
    engine = Engine(max_flows=1024, max_sightings=1024, seed=1)
    packets = flows = before_kib = 0
    for part in range(parts):
        source = MemorySource(distinct(part * 50_000, 50_000))
        while engine.process(source) >= 0:
            taken = engine.take_flows()
            engine.take_sightings()
            flows += taken.count
            packets += sum(array("Q", taken.columns["packets"]))
        before_kib = before_kib if part > 1 else _resident_kib()
    while engine.flush():
        taken = engine.take_flows()
        flows += taken.count
        packets += sum(array("Q", taken.columns["packets"]))
    counters = engine.counters()

    assert (packets, flows) == (parts * 50_000, counters.flows_exported)
    assert counters.in_flows == parts * 50_000
    assert counters.flows_evicted == parts * 50_000 - 1024
    assert _resident_kib() - before_kib < 8 << 10


def test_a_full_table_finds_every_flow() -> None:
    """A table filled to its last entry, emptied by time and filled again: flows are found wherever buckets put them."""
    engine = Engine(max_flows=1024, max_sightings=1024, idle_ns=SECOND, seed=3)
    dice = random.Random(4)
    records: list[tuple[int, int]] = []
    for part in range(30):
        frames = [octets for _, octets in distinct(part * 1024, 1024)]
        again = dice.sample(frames, 1024)
        source = MemorySource([(part * 10 * SECOND + number, octets) for number, octets in enumerate(frames + again)])
        while engine.process(source) >= 0:
            records += _lengths(engine)
        while engine.expire((part * 10 + 5) * SECOND):
            records += _lengths(engine)
    counters = engine.counters()

    assert [(2, EndReason.IDLE)] * (30 * 1024) == records
    assert (0, 0) == (counters.flows_active, counters.flows_evicted)


def _lengths(engine: Engine) -> list[tuple[int, int]]:
    """(packets, end reason) of the records that wait."""
    taken = engine.take_flows()
    engine.take_sightings()
    return list(zip(array("Q", taken.columns["packets"]), taken.columns["end_reason"], strict=True))


def _resident_kib() -> int:
    with open(f"/proc/{os.getpid()}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))


def test_the_oldest_goes_first() -> None:
    """Under pressure a flow that still has frames stays, those that were left alone go."""
    busy = ethernet(ipv4(CLIENT, SERVER, udp(9, 9)))
    frames = []
    for number in range(400):
        frames.append((2 * number, busy, 60))
        other = ethernet(ipv6("fd00::1", "fd00::2", udp(1000 + number, 1)))
        frames.append((2 * number + 1, other, 70))

    rows = run(frames, max_flows=16, block=1).flows

    assert [(row["packets"], row["end_reason"]) for row in rows if row["src_port"] == 9] == [(400, EndReason.FLUSH)]


def test_process_stops_when_the_columns_are_half_full() -> None:
    """Nothing is taken from the source that has no room: untaken records stop it, taking them goes on."""
    engine = Engine(max_flows=1)
    source = MemorySource(distinct(0, 20_000))

    processed = 0
    while (count := engine.process(source, 100)) > 0:
        processed += count

    assert 0 < processed < 20_000
    rest = drain(engine, source)
    assert sum(row["packets"] for row in rest.flows) == 20_000
    assert rest.counters.in_flows == 20_000


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"max_flows": 0}, "max_flows is 0"),
        ({"idle_ns": 0}, "idle_ns is 0"),
        ({"stage": 9}, "stage is 9"),
        ({"tcp_labels": b"short"}, "tcp_labels has 5 octets"),
        ({"local_prefixes": [(b"abc", 8)]}, "no IPv4 or IPv6 prefix"),
        ({"observed": memoryview(bytearray(4))}, "observed has 4 octets"),
    ],
)
def test_wrong_use_is_said(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        Engine(**options)
