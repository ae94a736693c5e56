"""Times that strangers choose or a clock makes: jumps, steps back, the ends of 64 bits; and fragments across them."""

from __future__ import annotations

import pytest
from fieldwatch_ext.capture import MemorySource
from fieldwatch_ext.engine import Engine
from fieldwatch_proto.schema import EndReason
from support.engine_compare import assert_agree, drain, run
from support.frames import (
    ACK,
    SYN,
    ah,
    ethernet,
    fragment6,
    icmp,
    ip,
    ipv4,
    ipv6,
    options6,
    tcp,
    udp,
)
from support.twin import Twin

SECOND = 1_000_000_000
FAR = 4_000_000_000 * SECOND
CLIENT, SERVER = "10.0.0.1", "10.0.0.2"


def datagram(port: int) -> bytes:
    return ethernet(ipv4(CLIENT, SERVER, udp(port, 9)))


def test_one_frame_from_the_future_ends_no_other_flow() -> None:
    """200 flows that send once a second stay one record each after a frame whose time is decades ahead."""
    frames = [(second * SECOND, datagram(100 + flow), 60) for second in range(1, 20) for flow in range(200)]
    frames.insert(1_000, (FAR, datagram(1), 60))

    result = run(frames)

    assert sorted(row["packets"] for row in result.flows) == [1] + [19] * 200


def test_a_flow_from_the_future_holds_none_up() -> None:
    """It ends, and the flows behind it when they are idle: only what goes on stays in the table."""
    engine = Engine()
    frames = [(FAR, datagram(1), 60)] + [(SECOND, datagram(2 + flow), 60) for flow in range(100)]
    frames += [(second * SECOND, datagram(1_000), 60) for second in range(1_000, 4_000)]

    engine.process(MemorySource(frames))

    assert engine.counters().flows_active == 1


def test_a_clock_set_back_ends_flows_once() -> None:
    """An hour back: each flow of before ends and begins once more, and none is left behind for an hour."""
    hour = 3_600 * SECOND
    frames = [(hour + n * SECOND, datagram(100 + n % 8), 60) for n in range(16)]
    frames += [(n * SECOND, datagram(100 + n % 8), 60) for n in range(64)]

    rows = run(frames).flows

    assert {row["end_reason"] for row in rows} == {EndReason.IDLE}
    assert sorted((row["first_ns"] >= hour, row["packets"]) for row in rows) == [(False, 8)] * 8 + [(True, 2)] * 8


def test_wall_clock_set_back_frees_the_table() -> None:
    """`expire` at a time long before the last frame ends what it left: nothing waits for the clock to catch up."""
    engine = Engine(idle_ns=10 * SECOND)
    engine.process(MemorySource([(1_000 * SECOND, datagram(1), 60)]))

    assert (engine.expire(991 * SECOND), engine.expire(990 * SECOND)) == (0, 1)


@pytest.mark.parametrize("block", [1, 7, 4096])
def test_any_time_in_64_bits(block: int) -> None:
    """The least and greatest times, back and forth: every frame is in a record, whatever the block."""
    times = [-(1 << 63), (1 << 63) - 1, 0, -1, 1, (1 << 62), -(1 << 62)] * 40
    result = run([(ts_ns, datagram(n % 50), 60) for n, ts_ns in enumerate(times)], block=block, max_flows=8)

    assert sum(row["packets"] for row in result.flows) == len(times) == result.counters.in_flows


@pytest.mark.parametrize("table", [1, 2])
def test_tables_of_one(table: int) -> None:
    """The smallest tables lose no frame and no sighting; only their memory is short."""
    frames = [(n, ethernet(ipv4(f"10.0.0.{n % 5 + 1}", SERVER, udp(n % 9, 9))), 60) for n in range(500)]

    result = run(frames, max_flows=table, max_sightings=table)

    assert sum(row["packets"] for row in result.flows) == 500
    assert {key[2]: row[2] for key, row in result.sightings.items() if key[2]} == {
        ip(f"10.0.0.{n}"): 100 for n in range(1, 6)
    }


def test_flags_of_a_record_are_its_own() -> None:
    """An ACTIVE record that an ICMP error brings about takes the flags with it, as any other does."""
    syn = ipv4(CLIENT, SERVER, tcp(40_000, 443, SYN))
    error = ethernet(ipv4(SERVER, CLIENT, icmp(3, 1, payload=syn[:28])))
    ack = ethernet(ipv4(CLIENT, SERVER, tcp(40_000, 443, ACK)))

    rows = run([(0, ethernet(syn), 60), (5 * SECOND, error, 70), (6 * SECOND, ack, 60)], active_ns=4 * SECOND).flows

    assert [(row["packets"], row["reply_packets"], row["tcp_flags"]) for row in rows] == [(1, 0, SYN), (1, 1, ACK)]


def six(offset: int, more: bool, payload: bytes) -> bytes:
    return ethernet(ipv6("fd00::1", "fd00::2", payload, protocol=60, extensions=[(44, fragment6(7, offset, more))]))


def test_fragments_with_headers_in_the_first() -> None:
    """RFC 8200 section 4.5, RFC 4302: what follows in the first piece does not matter, all pieces are one datagram."""
    carried = udp(700, 800, bytes(40)).sealed(ip("fd00::1"), ip("fd00::2"))
    first = six(0, True, b"\x11" + options6() + carried[:16])
    second = six(24, False, carried[16:])
    secured = b"\x11" + ah() + udp(5, 6, bytes(24)).sealed(ip(CLIENT), ip(SERVER))
    four = [
        ethernet(ipv4(CLIENT, SERVER, secured[:40], protocol=51, ident=9, more=True)),
        ethernet(ipv4(CLIENT, SERVER, secured[40:], protocol=51, ident=9, offset=40)),
    ]
    twin = Twin()
    frames = [(n, octets, len(octets)) for n, octets in enumerate([first, second, *four])]
    for ts_ns, octets, original in frames:
        twin.frame(ts_ns, octets, original)

    result = run(frames)

    assert_agree(result, twin)
    assert [(row["src_port"], row["packets"]) for row in result.flows] == [(700, 2), (5, 2)]


def test_first_fragments_from_the_future_do_not_stay() -> None:
    """The cache of fragments gets over a clock that was set back: its 1,024 places are free again."""
    engine = Engine(seed=1)  # whatever is random stands still: no set of four ways meets five datagrams

    def pieces(ts_ns: int, ident: int) -> list[tuple[int, bytes, int]]:
        carried = udp(700, 800, bytes(40)).sealed(ip(CLIENT), ip(SERVER))
        packets = [
            ipv4(CLIENT, SERVER, carried[:24], protocol=17, ident=ident, more=True),
            ipv4(CLIENT, SERVER, carried[24:], protocol=17, ident=ident, offset=24),
        ]
        return [(ts_ns, ethernet(packet), 60) for packet in packets]

    future = [pieces(FAR, ident)[0] for ident in range(20_000)]
    firsts = [pieces(SECOND, ident)[0] for ident in range(30_000, 30_100)]
    seconds = [pieces(SECOND, ident)[1] for ident in range(30_000, 30_100)]

    result = drain(engine, MemorySource(future + firsts + seconds))

    assert result.counters.fragments_lost == 0
