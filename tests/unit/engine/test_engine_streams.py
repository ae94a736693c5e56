"""What TCP streams begin with, and which datagrams tell what they are: handed to dissectors once, whole, in order."""

from __future__ import annotations

import struct

import pytest
from fieldwatch_ext.capture import MemorySource
from fieldwatch_ext.engine import Engine, Slow
from support.engine_compare import run
from support.frames import ACK, MAC_A, MAC_B, SYN, Datagram, ethernet, icmp6, ip, ipv4, ipv6, mac, tcp, udp

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
SECOND = 1_000_000_000
REQUEST = b"GET / HTTP/1.1\r\nHost: nas\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\n"


def hello(octets: int, record: int = 1 << 14) -> bytes:
    """A ClientHello of so many octets in TLS records of at most `record` (RFC 8446 sections 5.1 and 4)."""
    message = b"\x01" + (octets - 4).to_bytes(3, "big") + bytes(n & 0xFF for n in range(octets - 4))
    pieces = [message[at : at + record] for at in range(0, octets, record)]
    return b"".join(b"\x16\x03\x01" + struct.pack(">H", len(piece)) + piece for piece in pieces)


def segment(payload: bytes, seq: int = 1, *, port: int = 40_000, to: int = 443, back: bool = False) -> bytes:
    if back:
        return ethernet(ipv4(SERVER, CLIENT, tcp(to, port, ACK, payload, seq=seq)))
    return ethernet(ipv4(CLIENT, SERVER, tcp(port, to, ACK, payload, seq=seq)))


def handed(*octets: bytes, cut: int = 1 << 16) -> list[tuple[str, bytes]]:
    """(protocol, payload) of what dissectors get of these frames, captured up to `cut` octets of each."""
    return [
        (frame.protocol, frame.payload)
        for frame in run([(n, frame[:cut], len(frame)) for n, frame in enumerate(octets)]).slow
    ]


def test_requests_and_responses_are_handed_over_once_a_side() -> None:
    frames = (segment(REQUEST), segment(RESPONSE, back=True), segment(REQUEST, 1 + len(REQUEST)))

    assert handed(*frames) == [("http", REQUEST), ("http", RESPONSE)]


def test_the_frame_as_it_was() -> None:
    """Number, time, addresses and ports are those of the segment that began the stream."""
    whole = hello(300)
    frames = [segment(b"", 0), segment(whole[:100]), segment(whole[100:], 101)]

    (found,) = run([(n, frame, len(frame)) for n, frame in enumerate(frames)]).slow

    assert found == Slow(2, 1, "tls", mac(MAC_A), mac(MAC_B), 0, ip(CLIENT), ip(SERVER), 40_000, 443, whole)


@pytest.mark.parametrize("octets", [50, 517, 1_800, 7_500])
@pytest.mark.parametrize("record", [64, 1 << 14])
def test_a_hello_over_several_segments_is_handed_over_whole(octets: int, record: int) -> None:
    """In segments of 200 octets; what comes behind it in the stream is not part of it."""
    whole = hello(octets, record)
    stream = whole + b"\x14\x03\x03\0\1\1"
    pieces = [(1 + at, stream[at : at + 200]) for at in range(0, len(stream), 200)]

    expected = whole if len(pieces) > 1 else stream
    assert handed(*(segment(piece, seq) for seq, piece in pieces)) == [("tls", expected)]


def test_segments_that_overlap_or_were_overtaken() -> None:
    """An octet counts once; a segment ahead of its turn is waited for."""
    whole = hello(900)
    frames = (
        segment(whole[:300], 1),
        segment(whole[600:], 601),
        segment(whole[:300], 1),
        segment(whole[200:600], 201),
        segment(whole[600:], 601),
    )

    assert handed(*frames) == [("tls", whole)]


def test_a_hello_that_is_longer_than_what_is_kept_is_cut() -> None:
    whole = hello(12_000)
    pieces = [(1 + at, whole[at : at + 1_000]) for at in range(0, len(whole), 1_000)]

    assert handed(*(segment(piece, seq) for seq, piece in pieces)) == [("tls", whole[:8_192])]


def test_a_hello_that_never_ends_is_handed_over_as_far_as_it_goes() -> None:
    """At the end of a capture; after ten seconds; when the capture cut the segment; when its buffer is needed."""
    whole = hello(900)
    first = segment(whole[:300])
    engine = Engine()
    engine.process(MemorySource([(0, first, len(first))]))
    engine.expire(9 * SECOND)
    before = engine.take_slow()
    engine.expire(10 * SECOND)
    many = run([(n, f, len(f)) for n, f in enumerate(segment(whole[:300], port=n) for n in range(1, 67))]).slow

    assert handed(first) == [("tls", whole[:300])]
    assert before == []
    assert [frame.payload for frame in engine.take_slow()] == [whole[:300]]
    assert handed(first, segment(whole[300:], 301), cut=154) == [("tls", whole[:100])]
    assert sorted(frame.src_port for frame in many) == list(range(1, 67))
    assert [frame.src_port for frame in many[:2]] == [1, 2]


def test_a_flow_of_its_own_does_not_take_over_anothers_stream() -> None:
    whole = hello(900)
    frames = (
        segment(whole[:300], 1, port=1),
        segment(whole[:400], 1, port=2),
        segment(whole[400:], 401, port=2),
        segment(whole[300:], 301, port=1),
    )

    assert handed(*frames) == [("tls", whole), ("tls", whole)]


def test_the_first_messages_of_smb() -> None:
    """Six of each side; what lies between them is not handed over."""
    message = b"\0\0\0\x24\xffSMB\x73" + bytes(31)  # a session setup
    frames = [segment(message, 1 + 40 * n, to=445) for n in range(9)]
    frames[2:2] = [segment(b"rest of a write", 81, to=445)]

    assert handed(*frames) == [("smb", message)] * 6
    assert (
        handed(*frames, *(segment(message, 1 + 40 * n, to=445, back=True) for n in range(2)))[6:]
        == [("smb", message)] * 2
    )


@pytest.mark.parametrize(
    "payload",
    [b"", b"G", b"GET", b"\x16", b"\x16\x03\x01", b"\x16\x03\x05\0\x05\x01\0\0\x01\0", b"\0\0\0\0\xfdSMB", bytes(99)],
)
def test_what_tells_nothing(payload: bytes) -> None:
    assert handed(segment(payload)) == []


def test_a_hello_in_a_record_of_no_octets() -> None:
    """A record length of 0 contradicts the message in it: nothing, and no division."""
    assert handed(segment(b"\x16\x03\x01\0\0\x01\0\0\x05hello")) == []


def test_a_syn_is_handed_over_with_its_ip_header() -> None:
    """Options included; a SYN-ACK is not."""
    packet = ipv4(CLIENT, SERVER, tcp(40_000, 443, SYN, options=b"\x02\x04\x05\xb4\x04\x02"))
    six = ipv6("fe80::1", "fe80::2", tcp(40_000, 443, SYN, options=b"\x02\x04\x05\xa0"))
    answer = ethernet(ipv4(SERVER, CLIENT, tcp(443, 40_000, SYN | ACK)))

    assert handed(ethernet(packet), answer) == [("tcp_syn", packet)]
    assert handed(ethernet(six)) == [("tcp_syn", six)]
    assert handed(ethernet(packet), cut=14 + 40) == [("tcp_syn", packet[:40])]


DNS_ANSWER = b"\0\1\x81\x80\0\1\0\1\0\0\0\0answer"
DNS_QUERY = b"\0\1\x01\0\0\1\0\0\0\0\0\0query"
INITIAL = b"\xc3\0\0\0\1\x08" + bytes(1_194)
INITIAL_V2 = b"\xd3\x6b\x33\x43\xcf\x08" + bytes(1_194)


@pytest.mark.parametrize(
    ("ports", "payload", "protocol"),
    [
        ((53, 40_000), DNS_ANSWER, "dns"),
        ((40_000, 53), DNS_ANSWER, ""),
        ((53, 40_000), DNS_QUERY, ""),
        ((53, 40_000), DNS_ANSWER[:11], ""),
        ((53, 5353), DNS_ANSWER, "mdns"),
        ((40_000, 443), INITIAL, "quic"),
        ((40_000, 443), INITIAL_V2, "quic"),
        ((40_000, 443), INITIAL[:1_199], ""),
        ((40_000, 443), b"\xe3" + INITIAL[1:], ""),  # a handshake packet
        ((40_000, 443), b"\x43" + INITIAL[1:], ""),  # a short header
        ((40_000, 443), INITIAL[:1] + b"\0\0\0\2" + INITIAL[5:], ""),
        ((40_000, 784), INITIAL, "quic"),
        ((40_000, 3_702), b"<Bye", "wsd"),
        ((3_702, 40_000), b"<Bye", "wsd"),
        ((1_813, 40_000), b"\x04", "radius"),
        ((40_000, 1_645), b"\x01", "radius"),
    ],
)
def test_datagrams(ports: tuple[int, int], payload: bytes, protocol: str) -> None:
    expected = [(protocol, payload)] if protocol else []

    assert handed(ethernet(ipv4(CLIENT, SERVER, udp(*ports, payload)))) == expected


def test_membership_reports() -> None:
    """IGMP, and what asks for listeners in ICMPv6."""
    report = Datagram(2, b"\x16\0\0\0\xef\1\2\3")
    listener = ipv6("fe80::1", "ff02::16", icmp6(130, 0, bytes(4), bytes(16)), hop_limit=1)

    assert [protocol for protocol, _ in handed(ethernet(ipv4(CLIENT, "239.1.2.3", report)))] == ["igmp"]
    assert [protocol for protocol, _ in handed(ethernet(listener))] == ["igmp"]
    assert handed(ethernet(ipv6("fe80::1", "ff02::1", icmp6(128, 0, bytes(4))))) == []


def test_a_protocol_that_is_ignored_is_never_copied() -> None:
    frames = [(n, f, len(f)) for n, f in enumerate((segment(REQUEST), segment(hello(90), port=2)))]
    result = run(frames, ignore=("tls",))

    assert [frame.protocol for frame in result.slow] == ["http"]
    assert result.counters.slow_frames == 1
    with pytest.raises(ValueError, match="no such protocol: 'gopher'"):
        Engine(ignore=("gopher",))
