"""What dissectors are spared: what a host says again, and what goes beyond its allowance. All of it is counted."""

from __future__ import annotations

import gc
import itertools
import struct

import pytest
from fieldwatch_agent.dissectors import dissect
from fieldwatch_agent.facts import Fact
from support.engine_compare import run
from support.frames import SYN, ethernet, ip, ipv4, ipv6, tcp, udp

SECOND = 1_000_000_000
REPEAT = 600 * SECOND
ECE, CWR = 0x40, 0x80
ANSWER = b"\0\0\x84\0\0\0\0\1\0\0\0\0\3nas"
MSS, NOP, WINDOW_SCALE, SACK_PERMITTED = b"\2\4\5\xb4", b"\1", b"\3\3\7", b"\4\2"


def llmnr(payload: bytes, source: str = "10.0.0.1", vlan: int = 0) -> bytes:
    datagram = udp(5355, 5355, payload)
    return ethernet(ipv4(source, "224.0.0.252", datagram), vlans=[vlan] if vlan else [])


def spared(*timed: tuple[int, bytes]) -> list[bool]:
    """Whether each message was kept from the dissectors."""
    result = run([(ts_ns, octets, len(octets)) for ts_ns, octets in timed])
    handed = {frame.number for frame in result.slow}
    assert result.counters.slow_repeated == len(timed) - len(handed)
    assert result.counters.slow_frames == len(handed)
    return [number not in handed for number in range(1, len(timed) + 1)]


def test_frames_are_no_work_for_the_collector() -> None:
    """Octets and numbers are in no cycle: they go with their last reference."""
    said = llmnr(ANSWER)
    (frame,) = run([(0, said, len(said))]).slow

    assert not gc.is_tracked(frame)


def test_what_a_host_says_again_is_spared_for_ten_minutes() -> None:
    said = llmnr(ANSWER)

    assert spared((0, said), (1, said), (REPEAT - 1, said), (REPEAT, said), (REPEAT + 1, said)) == [
        *(False, True, True, False, True)
    ]


@pytest.mark.parametrize(
    "other",
    [
        llmnr(ANSWER[:-1] + b"!"),
        llmnr(ANSWER + b"\0"),
        llmnr(ANSWER, source="10.0.0.2"),
        llmnr(ANSWER, vlan=7),
        ethernet(ipv4("10.0.0.1", "224.0.0.252", udp(137, 137, ANSWER))),
        ethernet(ipv6("fd00::1", "ff02::1:3", udp(5355, 5355, ANSWER))),
    ],
    ids=["octet", "length", "host", "VLAN", "protocol", "family"],
)
def test_what_differs_in_anything_is_handed_over(other: bytes) -> None:
    assert spared((0, llmnr(ANSWER)), (1, other)) == [False, False]


def test_a_clock_that_is_set_back_spares_nothing_by_the_times_before() -> None:
    said = llmnr(ANSWER)

    assert spared((REPEAT, said), (0, said), (1, said)) == [False, False, True]


def dhcp(
    transaction: int, *, seconds: int = 0, client: bytes = bytes(4), yours: bytes = bytes(4), mac: int = 1
) -> bytes:
    """A client that asks by its name (RFC 2131 section 2)."""
    head = struct.pack(">4BIHH", 1, 1, 6, 0, transaction, seconds, 0) + client + yours + bytes(8)
    octets = head + mac.to_bytes(6, "big") + bytes(10 + 192) + b"\x63\x82\x53\x63\x0c\3nas\xff"
    return ethernet(ipv4("0.0.0.0", "255.255.255.255", udp(68, 67, octets)))


def test_leases_are_told_each_time() -> None:
    """DHCP binds an address, and the binding says when that was last seen."""
    held, given = dhcp(1, client=ip("10.0.0.1")), dhcp(1, yours=ip("10.0.0.1"))

    assert spared((0, held), (1, held), (2, given), (3, given)) == [False] * 4


def test_a_client_that_asks_again_is_spared_whatever_its_transaction() -> None:
    assert spared((0, dhcp(1)), (1, dhcp(1, seconds=3)), (2, dhcp(2)), (3, dhcp(3, mac=2))) == [
        False,
        True,
        True,
        False,
    ]


def answer(
    number: int = 1,
    *,
    ttl: int = 60,
    address: str = "203.0.113.5",
    name: bytes = b"\3www",
    by: str = "10.0.0.1",
    to: str = "10.0.0.9",
) -> bytes:
    """A resolver's answer of one address; the time it is good for stands in it."""
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, ttl, 4) + ip(address)
    message = struct.pack(">6H", number, 0x8180, 1, 1, 0, 0) + name + b"\0\0\1\0\1" + record
    return ethernet(ipv4(by, to, udp(53, 40_000, message)))


def test_answers_are_the_same_whoever_asked_and_however_long_they_are_good_for() -> None:
    again = [answer(2), answer(ttl=59), answer(to="10.0.0.8")]

    assert spared((0, answer()), *enumerate(again, 1)) == [False, True, True, True]


@pytest.mark.parametrize(
    "other", [answer(address="203.0.113.6"), answer(name=b"\3ftp"), answer(name=b"\3www\2nl"), answer(by="10.0.0.2")]
)
def test_answers_of_another_host_or_that_name_something_else_are_news(other: bytes) -> None:
    assert spared((0, answer()), (1, other)) == [False, False]


def test_answers_that_are_cut_or_lie_about_their_counts_are_themselves() -> None:
    """Nothing behind the message is read to tell whether it was said before."""
    whole = struct.pack(">6H", 1, 0x8180, 1, 2, 0, 0) + b"\3www\0\0\1\0\1" + b"\0" + struct.pack(">HHIH", 1, 1, 60, 4)
    cut = [whole[:end] for end in range(12, len(whole))] + [whole[:5] + b"\xff" + whole[6:], whole + b"\0\0\0"]
    frames = [ethernet(ipv4("10.0.0.1", "10.0.0.9", udp(53, 40_000, message))) for message in cut]

    assert spared(*enumerate(frames)) == [False] * len(frames)


def timestamps(value: int) -> bytes:
    return b"\x08\x0a" + struct.pack(">II", value, 0)


def syn(
    version: int = 4, number: int = 0, *, options: bytes = b"", flags: int = SYN, ttl: int = 64, ip_options: bytes = b""
) -> bytes:
    """A SYN; `number` makes what a connection has of its own."""
    segment = tcp(40_000 + number, 443 + number, flags, seq=number * 77_777, options=options)
    if version == 4:
        return ethernet(ipv4("10.0.0.1", f"192.0.2.{1 + number}", segment, ttl=ttl, options=ip_options))
    return ethernet(ipv6("fd00::1", f"fd01::{1 + number}", segment, hop_limit=ttl))


STACKS = {
    "plain": syn(),
    "ttl": syn(ttl=128),
    "mss": syn(options=MSS),
    "order": syn(options=MSS + SACK_PERMITTED + NOP + NOP + timestamps(0)),
    "another order": syn(options=SACK_PERMITTED + MSS + NOP + NOP + timestamps(0)),
    "scale": syn(options=MSS + NOP + WINDOW_SCALE),
    "ecn": syn(flags=SYN | ECE | CWR),
    "ip options": syn(options=MSS, ip_options=b"\1\1\1\0"),
    "version": syn(6),
    "version, ttl": syn(6, ttl=128),
    "version, mss": syn(6, options=MSS),
}


@pytest.mark.parametrize("pair", list(itertools.combinations(STACKS, 2)), ids=" and ".join)
def test_another_stack_is_told(pair: tuple[str, str]) -> None:
    assert spared(*enumerate(STACKS[name] for name in pair)) == [False, False]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("before", [b"", MSS + SACK_PERMITTED, MSS + NOP + WINDOW_SCALE + NOP + NOP])
def test_what_a_connection_has_of_its_own_makes_no_news(version: int, before: bytes) -> None:
    """Ports, sequence numbers, the destination and the values of timestamps: the fingerprint is the same."""
    syns = [syn(version, n, options=before + timestamps(n * 1_000)) for n in range(5)]
    result = run([(n, octets, len(octets)) for n, octets in enumerate(syns)])
    alone = [run([(0, octets, len(octets))]).slow[0] for octets in syns]

    assert spared(*enumerate(syns)) == [False, True, True, True, True]
    assert len({(fact.value, fact.evidence) for one in alone for fact in dissect(one) if isinstance(fact, Fact)}) == 1
    assert len(result.slow) == 1


def announcements(count: int, hosts: int, every_ns: int) -> list[tuple[int, bytes, int]]:
    """mDNS messages of `hosts` hosts in turn, each with a payload of its own."""
    frame = ethernet(ipv4("10.0.0.0", "224.0.0.251", udp(5353, 5353, ANSWER)))
    source = frame.index(ip("10.0.0.0"))
    frames = [frame[: source + 2] + n.to_bytes(2, "big") + frame[source + 4 : -4] for n in range(hosts)]
    return [(n * every_ns, frames[n % hosts] + n.to_bytes(4, "big"), len(frame)) for n in range(count)]


def test_a_host_has_an_allowance() -> None:
    """A thousand at once, then 50 a second by packet time; another host is not touched by it, and all is counted."""
    flood = run(announcements(5_000, 1, 1_000))
    steady = run(announcements(5_000, 1, 20_000_000))
    many = run(announcements(50_000, 256, 1_000))

    assert (len(flood.slow), flood.counters.slow_limited) == (1_000, 4_000)
    assert (len(steady.slow), steady.counters.slow_limited) == (5_000, 0)
    assert (len(many.slow), many.counters.slow_limited) == (50_000, 0)


def test_all_hosts_together_have_an_allowance() -> None:
    """Addresses that nobody has cost nothing to invent."""
    result = run(announcements(60_000, 65_000, 10))

    assert result.counters.slow_frames == 50_000 + 60_000 * 10 // 250_000
    assert result.counters.slow_frames + result.counters.slow_limited == 60_000


def test_a_clock_that_is_set_back_neither_refills_nor_ends_the_allowance() -> None:
    frames = announcements(1_100, 1, 1)
    back = [(ts_ns - 3_600 * SECOND, octets[:-5] + b"\1" + octets[-4:], length) for ts_ns, octets, length in frames]
    later = [(ts_ns + SECOND, octets[:-5] + b"\2" + octets[-4:], length) for ts_ns, octets, length in back]

    assert len(run([*frames, *back]).slow) == 1_000
    assert len(run([*frames, *back, *later]).slow) == 1_000 + 50
