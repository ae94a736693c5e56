"""Pieces of datagrams in any order: every frame is counted once, and for the flow of its first piece if that comes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from fieldwatch_ext.capture import MemorySource
from fieldwatch_ext.engine import Engine
from hypothesis import given, settings
from hypothesis import strategies as st
from support.engine_compare import Captured, assert_agree, drain, run, run_twin
from support.engine_told import flows
from support.frames import ethernet, icmp, ipv4, ipv4_fragments, tcp, udp

SECOND = 1_000_000_000
PIECES = [ethernet(packet) for packet in ipv4_fragments("10.0.0.1", "10.0.0.2", udp(700, 800, bytes(100)), mtu=60)]
OCTETS = sum(map(len, PIECES))
FLOW = (17, "10.0.0.1", 700, "10.0.0.2", 800, [], "")


def captured(frames: Sequence[bytes], gap_ns: int = SECOND) -> list[Captured]:
    return [(SECOND + at * gap_ns, octets, len(octets)) for at, octets in enumerate(frames)]


def feed(engine: Engine, frames: Sequence[Captured]) -> None:
    engine.process(MemorySource(frames))


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2), (2, 0, 1)])
def test_any_order_is_one_flow(order: tuple[int, ...]) -> None:
    """What comes before the first piece is credited with it: frames, octets, and the times of all."""
    result = run(captured([PIECES[at] for at in order]))

    assert flows(result) == [(*FLOW, 3, OCTETS, 0, 0)]
    assert [(row["first_ns"], row["last_ns"]) for row in result.flows] == [(SECOND, 3 * SECOND)]
    assert (result.counters.in_flows, result.counters.outside_flows, result.counters.fragments_lost) == (3, 0, 0)


def test_a_reply_in_pieces_is_a_reply() -> None:
    """Pieces that wait are credited to the side that sent them."""
    question = ethernet(ipv4("10.0.0.2", "10.0.0.1", udp(800, 700)))

    assert flows(run(captured([question, *reversed(PIECES)]))) == [
        (17, "10.0.0.2", 800, "10.0.0.1", 700, [], "", 1, len(question), 3, OCTETS)
    ]


def test_an_error_in_pieces_is_credited_to_what_it_quotes() -> None:
    probe = ipv4("10.0.0.1", "198.51.100.7", udp(33_000, 33_434, bytes(90)))
    error = ipv4_fragments("10.0.0.254", "10.0.0.1", icmp(11, 0, payload=probe), mtu=100)
    frames = [ethernet(probe), *(ethernet(packet) for packet in reversed(error))]

    result = run(captured(frames))

    assert [row[:5] + row[7:8] + row[9:10] for row in flows(result)] == [
        (17, "10.0.0.1", 33_000, "198.51.100.7", 33_434, 1, len(error))
    ]


def test_the_first_is_awaited_for_a_minute() -> None:
    """RFC 8200 section 4.5; later than that, what waited is lost, and the first piece begins its flow alone."""
    in_time = run([(0, PIECES[1], len(PIECES[1])), (60 * SECOND, PIECES[0], len(PIECES[0]))])
    too_late = run([(0, PIECES[1], len(PIECES[1])), (60 * SECOND + 1, PIECES[0], len(PIECES[0]))])

    assert [row[7] for row in flows(in_time)] == [2]
    assert [row[7] for row in flows(too_late)] == [1]
    assert (too_late.counters.fragments_lost, too_late.counters.outside_flows) == (1, 1)


def test_what_waits_is_accounted_for_at_every_moment() -> None:
    """Waiting frames are as good as in a flow until they are given up: `outside_flows` never goes back."""
    engine = Engine()
    feed(engine, captured(PIECES[1:]))
    waiting = engine.counters()
    engine.expire(30 * SECOND)
    still = engine.counters()
    engine.expire(70 * SECOND)
    lost = engine.counters()

    assert (waiting.in_flows, waiting.outside_flows, waiting.fragments_lost) == (2, 0, 0)
    assert (still.in_flows, still.outside_flows, still.fragments_lost) == (2, 0, 0)
    assert (lost.in_flows, lost.outside_flows, lost.fragments_lost) == (0, 2, 2)


def test_pieces_that_were_given_up_do_not_come_back() -> None:
    engine = Engine()
    feed(engine, captured(PIECES[1:]))
    engine.expire(70 * SECOND)
    result = drain(engine, MemorySource(captured(PIECES[:1])))

    assert [row[7] for row in flows(result)] == [1]
    assert result.counters.frames == result.counters.in_flows + result.counters.outside_flows == 3


def test_headless_pieces_never_push_out_a_known_datagram() -> None:
    """Somebody makes up 20,000 datagrams without a first piece: those of others are credited as before."""
    flood = [ethernet(ipv4("10.9.9.9", "10.0.0.2", bytes(8), protocol=17, ident=n, offset=64)) for n in range(20_000)]
    frames = captured([PIECES[0], *flood, *PIECES[1:]], gap_ns=1000)

    result = run(frames)

    assert flows(result) == [(*FLOW, 3, OCTETS, 0, 0)]
    assert (result.counters.fragments_lost, result.counters.outside_flows) == (20_000, 20_000)


def test_pieces_without_end_are_bounded() -> None:
    """A datagram has 8,192 pieces at most; more of them, under one number, are no pieces of it."""
    frames = captured([*[PIECES[1]] * 9000, PIECES[0]], gap_ns=1000)

    result = run(frames)

    assert [row[7] for row in flows(result)] == [8193]
    assert result.counters.fragments_lost == 9000 - 8192


def test_fragments_of_tcp_wait_for_their_ports() -> None:
    """The flags are those of the first piece; the state goes on from there."""
    packets = ipv4_fragments("10.0.0.1", "10.0.0.2", tcp(5, 6, 0x02, bytes(80)), mtu=60)

    result = run(captured([ethernet(packet) for packet in reversed(packets)]))

    assert [(row["src_port"], row["dst_port"], row["packets"], row["tcp_flags"]) for row in result.flows] == [
        (5, 6, len(packets), 0x02)
    ]


SHUFFLED = [
    ethernet(packet, vlans=vlans)
    for vlans in ([], [7])
    for ident in (1, 2)
    for source in ("10.0.0.1", "10.0.0.3")
    for packet in ipv4_fragments(source, "10.0.0.2", udp(700, 800, bytes(80)), ident=ident, mtu=60)
]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(SHUFFLED), st.integers(0, 25 * SECOND)), max_size=60),
    st.sampled_from([1, 5, 32, 4096]),
)
def test_any_order_and_any_time(picked: list[tuple[bytes, int]], block: int) -> None:
    """As the twin has it, however the blocks are cut: repeated, reordered, late, in other VLANs."""
    now = 0
    frames = []
    for octets, gap in picked:
        now += gap
        frames.append((now, octets, len(octets)))

    assert_agree(run(frames, block=block), run_twin(frames))
