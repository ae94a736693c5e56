"""DHCP: what a client calls itself, its fingerprint, and the addresses that it holds."""

from __future__ import annotations

import dpkt
import pytest
from fieldwatch_agent.dissectors import COUNTERS, dhcp
from fieldwatch_agent.facts import Binding
from fieldwatch_proto.schema import SightingSource
from hypothesis import given
from hypothesis import strategies as st
from messages import IP, MAC, MAC_TEXT, PEER_MAC, TS_NS, bindings, of_sender, option, said, slow
from messages import dhcp as build

DISCOVER, OFFER, REQUEST, ACK, NAK, RELEASE, INFORM = (option(53, bytes([kind])) for kind in (1, 2, 3, 5, 6, 7, 8))
END = b"\xff"
GOLDEN = (
    REQUEST
    + option(61, b"\x01" + MAC)
    + option(12, b"desk-7")
    + option(81, b"\x04\0\0\x06desk-7\x07example\x03com\0")
    + option(60, b"MSFT 5.0")
    + option(55, bytes([1, 3, 6, 15]))
    + END
)


def test_a_request_names_the_client() -> None:
    expected = [
        ("hostname", "desk-7"),
        ("hostname", "desk-7.example.com"),
        ("vendor_class", "MSFT 5.0"),
        ("dhcp_fingerprint", "1,3,6,15"),
    ]

    assert expected == of_sender(slow("dhcp", build(GOLDEN)))


def test_a_fact_carries_where_when_and_how_it_was_learnt() -> None:
    fact = next(dhcp.dissect(slow("dhcp", build(GOLDEN), src_ip=bytes(4))))

    assert fact == (
        MAC_TEXT,
        "hostname",
        "desk-7",
        "dhcp",
        "DHCP REQUEST option 12",
        90,
        TS_NS,
        7,
        0x1064,
        bytes(4),
    )


def test_the_subject_is_chaddr_behind_a_relay_too() -> None:
    frame = slow("dhcp", build(GOLDEN), src_mac=PEER_MAC, dst_mac=MAC, src_ip=IP, dst_ip=bytes([10, 0, 0, 1]))

    assert ("hostname", "desk-7") in of_sender(frame)


def test_an_ack_binds_the_address_and_its_name_is_the_clients() -> None:
    payload = build(ACK + option(12, b"given") + option(60, b"PXEClient") + END, op=2, yiaddr=IP)

    assert bindings(slow("dhcp", payload)) == [(MAC, IP)]
    assert of_sender(slow("dhcp", payload)) == [("hostname", "given")]  # option 60 of a server is the server's


def test_a_binding_says_that_dhcp_made_it() -> None:
    items = list(dhcp.dissect(slow("dhcp", build(ACK + END, op=2, yiaddr=IP))))

    assert [Binding(MAC, IP, SightingSource.DHCP, TS_NS, 0x1064)] == items


@pytest.mark.parametrize(
    ("kind", "op", "ciaddr", "yiaddr", "expected"),
    [
        (REQUEST, 1, IP, bytes(4), [(MAC, IP)]),  # RENEWING: the client uses it
        (INFORM, 1, IP, bytes(4), [(MAC, IP)]),
        (REQUEST, 1, bytes(4), bytes(4), []),  # SELECTING
        (DISCOVER, 1, IP, bytes(4), []),
        (RELEASE, 1, IP, bytes(4), []),
        (OFFER, 2, bytes(4), IP, []),  # not yet the client's
        (NAK, 2, bytes(4), IP, []),
        (ACK, 2, IP, bytes(4), []),  # answer to INFORM
        (ACK, 1, bytes(4), IP, []),  # only servers acknowledge
        (ACK, 2, bytes(4), bytes([224, 0, 0, 1]), []),  # no host's address
        (b"", 2, bytes(4), IP, [(MAC, IP)]),  # BOOTP, RFC 951
    ],
)
def test_which_messages_bind(
    kind: bytes, op: int, ciaddr: bytes, yiaddr: bytes, expected: list[tuple[bytes, bytes]]
) -> None:
    assert expected == bindings(slow("dhcp", build(kind + END, op=op, ciaddr=ciaddr, yiaddr=yiaddr)))


def test_options_in_pieces_are_joined_and_overloaded_fields_are_read() -> None:
    """RFC 3396; RFC 2132 section 9.3."""
    payload = build(
        DISCOVER + option(12, b"long-") + option(12, b"name") + option(52, b"\x03") + END,
        file=option(60, b"in-file") + END,
        sname=option(55, b"\x01\x79") + END,
    )

    expected = [("hostname", "long-name"), ("vendor_class", "in-file"), ("dhcp_fingerprint", "1,121")]
    assert expected == of_sender(slow("dhcp", payload))


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (b"\x01" + MAC, []),  # repeats chaddr
        (b"\x01" + PEER_MAC, [("client_id", "02:00:00:00:00:02")]),
        (b"\x00rack-7", [("client_id", "rack-7")]),
        (b"\xff\x00\x01\x02", [("client_id", "ff:00:01:02")]),
        (b"\x01", []),
    ],
)
def test_client_ids(client: bytes, expected: list[tuple[str, str]]) -> None:
    assert expected == of_sender(slow("dhcp", build(DISCOVER + option(61, client) + END)))


def test_an_ascii_fqdn_is_read_as_text() -> None:
    assert of_sender(slow("dhcp", build(REQUEST + option(81, b"\0\0\0pc.example.") + END))) == [
        ("hostname", "pc.example")
    ]


def test_without_a_mac_the_subject_is_the_clients_address() -> None:
    """InfiniBand and firewire clients (RFC 4390, RFC 2855) have no chaddr."""
    payload = build(REQUEST + option(12, b"node") + END, mac=b"", hardware=32, ciaddr=IP)

    assert said(slow("dhcp", payload)) == [("192.168.1.10", "hostname", "node")]


@pytest.mark.parametrize(
    "payload",
    [
        build(DISCOVER + option(12, b"kept") + bytes([60, 200]) + b"cut"),  # an option longer than the message
        build(DISCOVER + option(12, b"kept") + bytes([60])),
        build(DISCOVER + option(12, b"kept") + option(81, b"\x04\0\0\x3fcut") + END),
    ],
)
def test_what_comes_before_the_damage_stands_and_the_message_is_counted(payload: bytes) -> None:
    before = COUNTERS.malformed["dhcp"]

    assert of_sender(slow("dhcp", payload)) == [("hostname", "kept")]
    assert before + 1 == COUNTERS.malformed["dhcp"]


@pytest.mark.parametrize("payload", [b"", b"\x01", build(GOLDEN, magic=b"\0\0\0\0"), build(b"")[:239]])
def test_what_is_no_dhcp_says_nothing(payload: bytes) -> None:
    before = COUNTERS.malformed["dhcp"]

    assert said(slow("dhcp", payload)) == []
    assert before + 1 == COUNTERS.malformed["dhcp"]


@given(st.lists(st.tuples(st.integers(1, 254).filter(lambda code: code != 52), st.binary(max_size=40)), max_size=12))
def test_options_agree_with_dpkt(options: list[tuple[int, bytes]]) -> None:
    """dpkt lists the pieces, RFC 3396 joins them."""
    payload = build(b"".join(option(code, value) for code, value in options) + END)
    joined: dict[int, bytes] = {}
    for code, value in dpkt.dhcp.DHCP(payload).opts:
        joined[code] = joined.get(code, b"") + value

    message = dhcp.Message(payload)

    assert (joined, True) == (message.opts, message.complete)
