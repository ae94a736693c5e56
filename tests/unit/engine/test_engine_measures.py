"""What a flow record says beside its sums: sizes, gaps, retransmissions, round trips, the application by content."""

from __future__ import annotations

from typing import Any

import pytest
from fieldwatch_agent.applications import LABELS, content_labels, port_labels
from support.engine_compare import MEASURES, Captured, run
from support.frames import ACK, FIN, PSH, RST, SYN, ethernet, ipv4, tcp, udp

CLIENT, SERVER = "10.0.0.1", "10.0.0.2"
US = 1_000


def there(flags: int, seq: int, payload: bytes = b"", port: int = 443) -> bytes:
    return ethernet(ipv4(CLIENT, SERVER, tcp(40_000, port, flags, payload, seq=seq)))


def back(flags: int, seq: int, payload: bytes = b"", port: int = 443) -> bytes:
    return ethernet(ipv4(SERVER, CLIENT, tcp(port, 40_000, flags, payload, seq=seq)))


def captured(*timed: tuple[int, bytes]) -> list[Captured]:
    """Frames at so many microseconds."""
    return [(us * US, octets, len(octets)) for us, octets in timed]


def measures(frames: list[Captured], **options: Any) -> dict[str, int]:
    """What is not 0, of the only record."""
    (row,) = run(frames, **options).flows
    return {name: row[name] for name in MEASURES if row[name]}


def timing(*timed: tuple[int, bytes]) -> tuple[int, int]:
    found = measures(captured(*timed))
    return found.get("server_rtt_us", 0), found.get("client_rtt_us", 0)


def retransmits(*octets: bytes) -> tuple[int, int]:
    found = measures(captured(*enumerate(octets)))
    return found.get("retransmits", 0), found.get("reply_retransmits", 0)


def test_sizes_by_side_and_gaps_of_the_flow() -> None:
    """Original lengths; a gap is between two frames, whoever sent them."""
    small, large = (ethernet(ipv4(CLIENT, SERVER, udp(5000, 6000, bytes(n)))) for n in (10, 1000))
    answer = ethernet(ipv4(SERVER, CLIENT, udp(6000, 5000, bytes(20))))

    found = measures(captured((0, large), (10, answer), (1_000_010, small)))

    assert found == {
        "min_bytes": len(small),
        "max_bytes": len(large),
        "reply_min_bytes": len(answer),
        "reply_max_bytes": len(answer),
        "min_gap_us": 10,
        "max_gap_us": 1_000_000,
    }


def test_one_frame_has_a_size_and_no_gap() -> None:
    frame = ethernet(ipv4(CLIENT, SERVER, udp(5000, 6000, b"x")))

    assert measures(captured((7, frame))) == {"min_bytes": len(frame), "max_bytes": len(frame)}


def test_a_giant_frame_and_a_long_silence_are_cut_to_the_column() -> None:
    """65,535 octets, 2^32 - 1 microseconds."""
    frame = there(ACK, 1)
    frames = [(0, frame, 90_000), (5_000_000_000_000, frame, 90_000)]

    found = measures(frames, idle_ns=1 << 60)

    assert (found["min_bytes"], found["max_bytes"]) == (65_535, 65_535)
    assert (found["min_gap_us"], found["max_gap_us"]) == (0xFFFF_FFFF, 0xFFFF_FFFF)


def test_what_is_measured_begins_anew_with_each_record_but_the_handshake() -> None:
    """Active timeout of a second: sizes, gaps and retransmissions are those of the record."""
    frames = captured(
        (0, there(SYN, 0)),
        (100, back(SYN | ACK, 0)),
        (150, there(ACK, 1)),
        (200, there(ACK, 1, bytes(500))),
        (210, there(ACK, 1, bytes(500))),
        (2_000_000, there(ACK, 501, b"xy")),
        (2_000_040, there(ACK, 503, b"xy")),
    )

    first, second = run(frames, active_ns=1_000_000_000).flows

    assert (first["retransmits"], second["retransmits"]) == (1, 0)
    assert (first["max_bytes"], second["max_bytes"]) == (len(frames[3][1]), len(frames[5][1]))
    assert (second["min_gap_us"], second["max_gap_us"]) == (40, 40)
    assert [(row["server_rtt_us"], row["client_rtt_us"]) for row in (first, second)] == [(100, 50), (100, 50)]


@pytest.mark.parametrize(
    ("timed", "expected"),
    [
        ([(0, there(SYN, 0)), (120, back(SYN | ACK, 0)), (150, there(ACK, 1))], (120, 30)),
        ([(0, there(SYN, 0)), (0, back(SYN | ACK, 0)), (0, there(ACK, 1))], (1, 1)),  # below a microsecond
        ([(0, there(SYN, 0)), (90, there(SYN, 0)), (120, back(SYN | ACK, 0)), (150, there(ACK, 1))], (0, 30)),
        ([(0, there(SYN, 0)), (90, back(SYN | ACK, 0)), (95, back(SYN | ACK, 0)), (150, there(ACK, 1))], (90, 0)),
        ([(90, back(SYN | ACK, 0)), (150, there(ACK, 1))], (0, 60)),
        ([(0, there(SYN, 0)), (40, back(RST | ACK, 0))], (0, 0)),
        ([(0, there(SYN, 0)), (40, back(SYN | ACK, 0)), (50, there(RST | ACK, 1))], (40, 0)),
        ([(0, there(SYN, 0)), (40, back(SYN | ACK, 0)), (45, back(ACK, 1)), (50, there(ACK, 1))], (40, 10)),
        ([(0, there(SYN, 0)), (40, back(SYN | ACK, 0)), (50, there(ACK, 1)), (90, there(ACK, 1))], (40, 10)),
        ([(0, there(ACK, 1, b"x")), (40, back(ACK, 1))], (0, 0)),
    ],
)
def test_round_trips_of_the_handshake(timed: list[tuple[int, bytes]], expected: tuple[int, int]) -> None:
    """SYN to SYN-ACK, SYN-ACK to the opener's ACK; what was sent twice is ambiguous and tells nothing."""
    assert timing(*timed) == expected


@pytest.mark.parametrize(
    ("segments", "expected"),
    [
        ([there(ACK, 1, b"abc"), there(ACK, 4, b"def")], (0, 0)),
        ([there(ACK, 1, b"abc"), there(ACK, 1, b"abc")], (1, 0)),
        ([there(ACK, 1, b"abc"), back(ACK, 1, b"abc"), back(ACK, 1, b"abc"), back(ACK, 1, b"abc")], (0, 2)),
        ([there(ACK, 1, b"abc"), there(ACK, 1, b"abcdef")], (0, 0)),  # has news
        ([there(ACK, 4, b"def"), there(ACK, 1, b"abc")], (1, 0)),  # overtaken on the way
        ([there(ACK, 0xFFFF_FFFE, b"abcd"), there(ACK, 2, b"ef")], (0, 0)),  # the number wraps
        ([there(ACK, 0xFFFF_FFFE, b"abcd"), there(ACK, 0xFFFF_FFFE, b"ab")], (1, 0)),
        ([there(ACK, 1, b"abc"), there(ACK, 3, b"\0")], (0, 0)),  # keep-alive
        ([there(ACK, 1, b"abc"), there(ACK, 4), there(ACK, 4)], (0, 0)),  # no octets
        ([there(SYN, 0), there(SYN, 0)], (1, 0)),
        ([there(FIN | ACK, 5), there(FIN | ACK, 5)], (1, 0)),
        ([there(ACK, 1, b"abc"), there(RST, 1, b"abc")], (0, 0)),
    ],
)
def test_retransmissions(segments: list[bytes], expected: tuple[int, int]) -> None:
    """A segment that ends at or before the highest sequence number its side has sent."""
    assert retransmits(*segments) == expected


HELLO = b"\x16\x03\x01\x00\x2f\x01\x00\x00\x2b" + bytes(43)


@pytest.mark.parametrize(
    ("port", "payload", "label"),
    [
        (443, HELLO, "https"),
        (8443, b"SSH-2.0-OpenSSH_9.2\r\n", "ssh"),  # what is seen counts more than the port
        (993, HELLO, "imaps"),  # TLS alone says less than the port
        (80, HELLO, "https"),
        (50_123, HELLO, "https"),
        (50_123, b"GET / HTTP/1.1\r\n", "http"),
        (50_123, b"\0\0\0\x40\xfeSMB@\0", "smb"),
        (50_123, b"GETTING", ""),
        (443, b"\x16\x03\x01", "https"),
    ],
)
def test_application_by_content(port: int, payload: bytes, label: str) -> None:
    tcp_labels, udp_labels = port_labels()
    (row,) = run(
        captured((0, there(ACK | PSH, 1, payload, port=port))),
        tcp_labels=tcp_labels,
        udp_labels=udp_labels,
        content_labels=content_labels(),
    ).flows

    assert LABELS[row["application"]] == label
