"""DHCPv6: who the client is, its name and classes, and the addresses it was given."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from fieldwatch_agent.dissectors import COUNTERS
from messages import MAC, PEER_MAC, bindings, of_sender, option6, said, slow

LEASE = ipaddress.ip_address("2001:db8::77").packed
GLOBAL = ipaddress.ip_address("2001:db8::1").packed
DUID_LL = b"\x00\x03\x00\x01" + MAC
DUID_LLT = b"\x00\x01\x00\x01\x1d\xb8\xe6\xfb" + PEER_MAC
FQDN = option6(39, b"\x01\x06desk-7\x07example\0")


def message(kind: int, *options: bytes) -> bytes:
    return bytes([kind]) + b"\x12\x34\x56" + b"".join(options)


def ia_na(*options: bytes) -> bytes:
    return option6(3, struct.pack(">III", 1, 3600, 5400) + b"".join(options))


def ia_address(ip: bytes, valid: int = 7200, *options: bytes) -> bytes:
    return option6(5, ip + struct.pack(">II", 3600, valid) + b"".join(options))


def relayed(kind: int, peer: bytes, inner: bytes, *options: bytes) -> bytes:
    return bytes([kind, 0]) + GLOBAL + peer + b"".join(options) + option6(9, inner)


SOLICIT = message(1, option6(1, DUID_LL), FQDN, option6(16, b"\0\0\x01\x37\0\x08MSFT 5.0"), ia_na())
REPLY = message(7, option6(1, DUID_LL), ia_na(ia_address(LEASE)))


def test_a_solicit_names_the_client() -> None:
    expected = [
        ("client_id", "00:03:00:01:02:00:00:00:00:01"),
        ("vendor_class", "MSFT 5.0"),
        ("hostname", "desk-7.example"),
    ]

    assert expected == of_sender(slow("dhcpv6", SOLICIT))


def test_the_mac_on_the_link_goes_before_that_in_the_duid() -> None:
    """The DUID's may be another interface of the same host (RFC 8415 section 11.2)."""
    assert ("hostname", "desk-7.example") in of_sender(slow("dhcpv6", message(1, option6(1, DUID_LLT), FQDN)))


def reply(payload: bytes, **changes: object) -> object:
    fields = {"src_mac": PEER_MAC, "dst_mac": MAC, "dst_ip": ipaddress.ip_address("fe80::2").packed, **changes}
    return slow("dhcpv6", payload, **fields)


def test_a_reply_binds_its_addresses_to_the_mac_that_it_is_sent_to() -> None:
    frame = reply(message(7, option6(1, DUID_LLT), ia_na(ia_address(LEASE))))

    assert bindings(frame) == [(MAC, LEASE)]


@pytest.mark.parametrize(
    "payload",
    [
        message(2, option6(1, DUID_LL), ia_na(ia_address(LEASE))),  # ADVERTISE: an offer
        message(7, option6(1, DUID_LL), ia_na(ia_address(LEASE, 0))),  # taken back
        message(7, option6(1, DUID_LL), ia_na(option6(13, b"\0\x02none"), ia_address(LEASE))),
        message(7, option6(1, DUID_LL), ia_na(ia_address(LEASE, 7200, option6(13, b"\0\x01bad")))),
        message(7, option6(1, DUID_LL), ia_na(ia_address(ipaddress.ip_address("ff02::1").packed))),
        message(7, option6(1, DUID_LL), ia_na(option6(5, LEASE))),  # without its lifetimes
    ],
)
def test_what_binds_nothing(payload: bytes) -> None:
    assert bindings(reply(payload)) == []


def test_a_renewing_client_holds_its_addresses() -> None:
    assert bindings(slow("dhcpv6", message(5, option6(1, DUID_LL), ia_na(ia_address(LEASE))))) == [(MAC, LEASE)]


def test_a_request_asks_and_does_not_hold() -> None:
    assert bindings(slow("dhcpv6", message(3, option6(1, DUID_LL), ia_na(ia_address(LEASE))))) == []


def test_behind_a_relay_its_link_layer_option_names_the_client() -> None:
    """RFC 6939, through two relays: the one next to the client saw its MAC."""
    near = relayed(12, ipaddress.ip_address("fe80::2").packed, SOLICIT, option6(79, b"\x00\x01" + PEER_MAC))
    frame = slow("dhcpv6", relayed(12, GLOBAL, near), src_ip=GLOBAL)

    assert ("02:00:00:00:00:02", "hostname", "desk-7.example") in said(frame)


def test_behind_a_relay_without_that_option_the_duid_names_the_client() -> None:
    frame = slow("dhcpv6", relayed(13, ipaddress.ip_address("fe80::2").packed, REPLY), src_mac=PEER_MAC)

    assert bindings(frame) == [(MAC, LEASE)]


def test_without_any_mac_the_subject_is_the_clients_address() -> None:
    """A DUID by enterprise number holds no MAC (RFC 8415 section 11.3)."""
    payload = message(11, option6(1, b"\0\x02\0\0\0\x09abc"), FQDN)

    assert ("2001:db8::1", "hostname", "desk-7.example") in said(slow("dhcpv6", payload, src_ip=GLOBAL))


def deep(levels: int) -> bytes:
    payload = SOLICIT
    for _ in range(levels):
        payload = relayed(12, GLOBAL, payload)
    return payload


def test_eight_relays_are_followed_and_no_more() -> None:
    """HOP_COUNT_LIMIT, RFC 8415 section 7.6."""
    before = COUNTERS.malformed["dhcpv6"]

    assert (bool(said(slow("dhcpv6", deep(8)))), bool(said(slow("dhcpv6", deep(9))))) == (True, False)
    assert before + 1 == COUNTERS.malformed["dhcpv6"]


@pytest.mark.parametrize(
    "payload",
    [
        message(1, FQDN, b"\0\x01\xff\xff"),  # an option longer than the message
        message(1, FQDN, b"\0"),
    ],
)
def test_what_comes_before_the_damage_stands(payload: bytes) -> None:
    before = COUNTERS.malformed["dhcpv6"]

    assert of_sender(slow("dhcpv6", payload)) == [("hostname", "desk-7.example")]
    assert before + 1 == COUNTERS.malformed["dhcpv6"]


@pytest.mark.parametrize("payload", [b"", b"\x01\0\0", b"\xfe\0\0\0", b"\x0c\0" + bytes(20), relayed(12, GLOBAL, b"")])
def test_what_is_no_dhcpv6_says_nothing(payload: bytes) -> None:
    before = COUNTERS.malformed["dhcpv6"]

    assert said(slow("dhcpv6", payload)) == []
    assert before + 1 == COUNTERS.malformed["dhcpv6"]
