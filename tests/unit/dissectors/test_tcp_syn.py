"""The fingerprint of a SYN: one for a stack, whatever way its packets go, and none of headers that lie."""

from __future__ import annotations

import hashlib
import ipaddress
import random
import struct

import pytest
from fieldwatch_agent.dissectors import tcp_syn
from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_ext.syn_traits import traits
from listening import Heard, listen, prefixes_say_a_part, to_peer
from messages import IP, IP_TEXT

# RFC 9293 section 3.1 and 3.2, RFC 7323 sections 2.2 and 3.2, RFC 2018 section 2.
MSS = bytes([2, 4, 0x05, 0xB4])
SACK = bytes([4, 2])
TIMESTAMPS = bytes([8, 10]) + bytes(8)
NOP, END = b"\x01", b"\0"
SCALE_7 = bytes([3, 3, 7])
OPTIONS = MSS + SACK + TIMESTAMPS + NOP + SCALE_7

GOLDEN = bytes.fromhex(
    "4500003c 1c464000 40060000 c0a8010a c0a80114"  # IPv4: 60 octets, DF, TTL 64, TCP
    "c3500050 00000001 00000000 a002faf0 00000000"  # ports 50000 and 80; 40 octets, SYN, window 64240
    "020405b4 0402 080a0000000100000000 01 030307"  # MSS 1460, SACK permitted, timestamps, NOP, scale 7
)
SIGNATURE = "ip4 ttl64 df win=max*mss mss=link ws=7 opts=MSTNW"


def tcp(options: bytes = OPTIONS, *, window: int = 64240, flags: int = 0x02, words: int | None = None) -> bytes:
    words = 5 + len(options) // 4 if words is None else words
    return struct.pack(">HHIIHHHH", 50_000, 80, 1, 0, words << 12 | flags, window, 0, 0) + options


def ip4(segment: bytes, *, ttl: int = 64, df: bool = True, options: bytes = b"", protocol: int = 6) -> bytes:
    octets = 20 + len(options)
    head = struct.pack(">BBHHHBBH", 0x40 | octets // 4, 0, octets + len(segment), 1, df << 14, ttl, protocol, 0)
    return head + IP + bytes([192, 168, 1, 20]) + options + segment


def ip6(segment: bytes, *, hop_limit: int = 64, following: int = 6) -> bytes:
    addresses = ipaddress.ip_address("fe80::1").packed + ipaddress.ip_address("fe80::2").packed
    return struct.pack(">IHBB", 6 << 28, len(segment), following, hop_limit) + addresses + segment


def heard(packet: bytes) -> Heard:
    return listen(tcp_syn.dissect, to_peer("tcp_syn", packet))


def fingerprint(packet: bytes) -> str:
    ((subject, key, value),) = heard(packet).facts
    assert (subject, key) == (IP_TEXT, "tcp_fingerprint")
    return value


def test_golden_octets() -> None:
    (item,) = tcp_syn.dissect(to_peer("tcp_syn", GOLDEN))
    digits = hashlib.sha256(SIGNATURE.encode()).hexdigest()[:12]

    evidence = f"TCP SYN {digits}, TTL 64, MSS 1460"
    assert item[:6] == (IP_TEXT, "tcp_fingerprint", SIGNATURE, "tcp_syn", evidence, 80)


def test_the_hash_never_changes() -> None:
    """People keep it in lists."""
    assert tcp_syn.short_hash(SIGNATURE) == "9831362a32d6"


def test_every_prefix_says_nothing() -> None:
    assert prefixes_say_a_part(tcp_syn.dissect, to_peer("tcp_syn", GOLDEN))
    assert [heard(GOLDEN[:end]) for end in range(len(GOLDEN))] == [Heard([], False)] * len(GOLDEN)


def test_octets_behind_the_header_do_not_count() -> None:
    assert fingerprint(GOLDEN + b"data of RFC 7413") == SIGNATURE


@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        (
            ip6(tcp(bytes([2, 4, 5, 0xA0]) + OPTIONS[4:], window=64800)),
            "ip6 ttl64 win=max*mss mss=link ws=7 opts=MSTNW",
        ),
        (ip4(tcp(b"", window=1024), ttl=41, df=False), "ip4 ttl64 win=1024"),
        (ip4(tcp(MSS, window=1024), ttl=41, df=False), "ip4 ttl64 win=1024 mss=link opts=M"),
        (
            ip4(tcp(MSS + NOP + bytes([3, 3, 8]) + NOP * 2 + SACK, window=8192), ttl=128),
            "ip4 ttl128 df win=8192 mss=link ws=8 opts=MNWNNS",
        ),
        (
            ip4(tcp(MSS + NOP + bytes([3, 3, 6]) + NOP * 2 + TIMESTAMPS + SACK + END * 2, window=65535, flags=0xC2)),
            "ip4 ttl64 df win=65535 mss=link ws=6 opts=MNWNNTSE +cwr+ece",
        ),
        (ip4(tcp(MSS, window=5840)), "ip4 ttl64 df win=4*mss mss=link opts=M"),
        (ip4(tcp(MSS, window=0), options=b"\x94\x04\0\0"), "ip4 ttl64 df opt4 win=0 mss=link opts=M"),
        (ip4(tcp(bytes([2, 4, 2, 24]), window=2144), ttl=255), "ip4 ttl255 df win=4*mss mss=low opts=M"),
        (ip4(tcp(bytes([2, 4, 0x23, 0]), window=62720)), "ip4 ttl64 df win=max*mss mss=high opts=M"),
        (ip4(tcp(bytes([2, 4, 0, 1]), window=4000)), "ip4 ttl64 df win=4000 mss=low opts=M"),
        (ip4(tcp(bytes([2, 4, 0, 0]), window=4000)), "ip4 ttl64 df win=4000 mss=low opts=M"),
        (ip4(tcp(bytes([30, 12]) + bytes(10) + bytes([34, 2, 253, 2]))), "ip4 ttl64 df win=64240 opts=PF?253"),
        (ip4(tcp(MSS, flags=0x1C2)), "ip4 ttl64 df win=max*mss mss=link opts=M +ae+cwr+ece"),
        (ip4(tcp(MSS, flags=0x2B)), "ip4 ttl64 df win=max*mss mss=link opts=M +urg+psh+fin"),
    ],
)
def test_signatures(packet: bytes, expected: str) -> None:
    assert expected == fingerprint(packet)


@pytest.mark.parametrize(
    ("mss", "window"),
    [
        (1452, 65340),  # PPPoE, known to the host: 45 segments fit where 44 did
        (1452, 64240),  # lowered on the way: the window still counts in Ethernet's
        (1360, 64240),  # a tunnel
        (1380, 64860),
        (1220, 64660),
    ],
)
def test_a_lower_mss_of_the_path_makes_no_new_stack(mss: int, window: int) -> None:
    options = bytes([2, 4]) + mss.to_bytes(2, "big") + OPTIONS[4:]

    assert fingerprint(ip4(tcp(options, window=window))) == SIGNATURE


@pytest.mark.parametrize(
    ("ttl", "expected"), [(0, 32), (32, 32), (33, 64), (64, 64), (65, 128), (129, 255), (255, 255)]
)
def test_the_ttl_is_the_next_that_stacks_begin_with(ttl: int, expected: int) -> None:
    assert f"ttl{expected}" in fingerprint(ip4(tcp(), ttl=ttl)).split()


def test_extension_headers_are_passed() -> None:
    """RFC 8200 section 4: hop-by-hop options of 8 octets, a routing header of 24, a fragment header of 8."""
    chain = bytes([43, 0]) + bytes(6) + bytes([44, 2]) + bytes(22) + bytes([6, 0]) + bytes(6)
    packet = ip6(chain + tcp(), following=0)

    assert fingerprint(packet).startswith("ip6 ttl64 opt40 win=")
    assert prefixes_say_a_part(tcp_syn.dissect, to_peer("tcp_syn", packet))


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"\x50" + GOLDEN[1:],  # IP version 5
        b"\x44" + GOLDEN[1:],  # an IP header of 16 octets
        b"\x4f" + GOLDEN[1:40],  # of 60, in 40
        ip4(tcp(), protocol=17),
        ip4(tcp(words=4)),  # a TCP header of 16 octets
        ip4(tcp(words=15)),  # of 60, in 40
        ip4(tcp(flags=0x12)),  # SYN and ACK
        ip4(tcp(flags=0x10)),
        ip4(tcp(bytes([2, 0, 0, 0]))),  # an option of no octets
        ip4(tcp(bytes([2, 1, 0, 0]))),  # of one
        ip4(tcp(bytes([2, 3, 5, 1]))),  # an MSS of one octet
        ip4(tcp(bytes([3, 4, 7, 0]))),
        ip4(tcp(bytes([4, 4, 0, 0]))),
        ip4(tcp(bytes([8, 4, 0, 0]))),
        ip4(tcp(NOP * 3 + bytes([2]))),  # the length is missing
        ip4(tcp(bytes([253, 9]) + bytes(2))),  # longer than the header
        ip6(tcp(), following=17),
        ip6(bytes([6, 200]) + bytes(6) + tcp(), following=0),  # an extension header longer than the packet
        ip6(b"\0" * 80 + tcp(), following=0),  # more extension headers than are followed
    ],
)  # fmt: skip
def test_headers_that_contradict_themselves_say_nothing(packet: bytes) -> None:
    assert heard(packet) == Heard([], False)


SHAPES = [
    GOLDEN,
    ip4(tcp()),
    ip4(tcp(TIMESTAMPS + NOP + NOP), options=b"\1\1\1\0"),
    ip6(tcp()),
    ip6(tcp(MSS + NOP + NOP + TIMESTAMPS)),
    ip6(b"\x06\0" + bytes(6) + tcp(), following=0),
    ip4(tcp(NOP + bytes([8, 2]) + b"\1")),
    ip4(tcp(bytes([8, 10, 1, 2]))),
]


@pytest.mark.parametrize("packet", SHAPES)
def test_traits_tell_all_of_the_stack(packet: bytes) -> None:
    """Of every prefix and of every octet changed: the reader sees the same in them as in the packet itself."""
    dice = random.Random(3)
    changed = [packet[:at] + bytes([dice.randrange(256)]) + packet[at + 1 :] for at in range(len(packet))]
    variants = [*(packet[:end] for end in range(len(packet) + 1)), *changed]

    assert [_syn(variant) for variant in variants] == [_syn(traits(variant)) for variant in variants]


def _syn(packet: bytes) -> tcp_syn.Syn | None:
    try:
        return tcp_syn.read_syn(packet)
    except MalformedError:
        return None


def test_traits_are_the_same_for_all_connections() -> None:
    stamps = [bytes([8, 10]) + struct.pack(">II", value, 7 * value) for value in range(3)]

    segments = [struct.pack(">HHII", n, n, n, n) + tcp(MSS + stamp)[12:] for n, stamp in enumerate(stamps)]

    assert len({traits(ip4(segment)) for segment in segments}) == 1
    assert len({traits(ip6(segment)) for segment in segments}) == 1
