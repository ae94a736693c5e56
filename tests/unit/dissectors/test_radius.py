"""RADIUS: stations by their MAC, their network and user; what the NAS is called; and what is not taken."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from fieldwatch_agent.dissectors import radius
from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_agent.dissectors.radius import read_mac, read_ssid
from fieldwatch_agent.facts import Fact
from fieldwatch_ext.engine import Slow
from messages import IP, IP_TEXT, MAC, PEER_MAC, TS_NS
from support.cost import cpu_s

STATION = "02:00:00:00:00:77"
USER_NAME, NAS_IP, PORT, FRAMED_IP, CALLED, CALLING, NAS_ID, PROXY_STATE, PORT_TYPE = 1, 4, 5, 8, 30, 31, 32, 33, 61

# RFC 2866 section 4.1: an Accounting-Request of 104 octets, its attributes those of RFC 2865 section 5.
GOLDEN = bytes.fromhex(
    "04 2a 0068 00112233445566778899aabbccddeeff"  # code, identifier, length, authenticator
    "28 06 00000001"  # Acct-Status-Type: Start
    "01 07 6775657374"  # User-Name: guest
    "1f 13 30322d30302d30302d30302d30302d3737"  # Calling-Station-Id: 02-00-00-00-00-77
    "1e 19 30322d30302d30302d30302d30302d30323a436166c3a9"  # Called-Station-Id: 02-00-00-00-00-02:Café
    "08 06 c0a8014d"  # Framed-IP-Address: 192.168.1.77
    "04 06 c0a8010a"  # NAS-IP-Address
    "20 09 61702d68616c6c"  # NAS-Identifier: ap-hall
    "3d 06 00000013"  # NAS-Port-Type: Wireless - IEEE 802.11
)
EVERYTHING = [
    (IP_TEXT, "system_name", "ap-hall"),
    (STATION, "ssid", "Café"),
    (STATION, "framed_ip", "192.168.1.77"),
    (STATION, "user_name", "guest"),
]


def frame(payload: bytes) -> Slow:
    return Slow(7, TS_NS, "radius", MAC, PEER_MAC, 0x1064, IP, bytes([192, 168, 1, 20]), 50_000, 1813, payload)


def read(payload: bytes) -> tuple[list[tuple[str, str, str]], bool]:
    """(subject, key, value) of the facts, and whether the message was whole."""
    found: list[tuple[str, str, str]] = []
    try:
        for item in radius.dissect(frame(payload)):
            assert isinstance(item, Fact)
            if item.subject and item.value:  # `dissect` drops the others
                found.append((item.subject, item.key, item.value))
    except MalformedError:
        return found, False
    return found, True


def said(payload: bytes) -> list[tuple[str, str, str]]:
    found, whole = read(payload)
    assert whole
    return found


def message(*attributes: tuple[int, bytes], code: int = 4) -> bytes:
    data = b"".join(bytes([kind, 2 + len(value)]) + value for kind, value in attributes)
    return struct.pack(">BBH16s", code, 1, 20 + len(data), bytes(16)) + data


CALLER = (CALLING, b"02-00-00-00-00-77")


def test_accounting_tells_of_the_station_and_of_the_nas() -> None:
    assert said(GOLDEN) == EVERYTHING


def test_facts_say_where_they_stood() -> None:
    facts = {item.key: item[3:6] for item in radius.dissect(frame(GOLDEN)) if isinstance(item, Fact)}

    assert facts == {
        "system_name": ("radius", "RADIUS accounting request NAS-Identifier", 60),
        "ssid": ("radius", "RADIUS accounting request Called-Station-Id", 70),
        "framed_ip": ("radius", "RADIUS accounting request Framed-IP-Address", 60),
        "user_name": ("radius", "RADIUS accounting request User-Name", 60),
    }


def test_every_prefix_says_a_part_and_that_it_broke_off() -> None:
    for end in range(20, len(GOLDEN)):
        found, whole = read(GOLDEN[:end])
        assert not whole
        assert set(found) <= set(EVERYTHING)


def test_octets_behind_the_length_are_padding() -> None:
    """RFC 2865 section 3."""
    assert said(GOLDEN + b"\x01\x06evil") == EVERYTHING


def test_who_tries_to_get_in_is_not_taken() -> None:
    """In an Access-Request the address is a hint as well (RFC 2865 section 5.8)."""
    assert said(b"\x01" + GOLDEN[1:]) == [(IP_TEXT, "system_name", "ap-hall"), (STATION, "ssid", "Café")]


@pytest.mark.parametrize("code", [2, 3, 5, 11, 12, 40, 43])
def test_other_messages_say_nothing(code: int) -> None:
    assert said(bytes([code]) + GOLDEN[1:]) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"02-00-00-00-aB-77", "02000000ab77"),
        (b"02:00:00:00:ab:77", "02000000ab77"),
        (b"0200.0000.ab77", "02000000ab77"),
        (b"0200-0000-ab77", "02000000ab77"),
        (b"020000-00ab77", "02000000ab77"),
        (b"02000000AB77", "02000000ab77"),
        (b"02-00:00-00-ab-77", ""),
        (b"02-00-00-00-ab", ""),
        (b"02-00-00-00-ab-77-88", ""),
        (b"02-00-00-00-ab-7g", ""),
        (b"+49 30 1234567", ""),
        (b"", ""),
    ],
)
def test_macs_in_every_spelling(text: bytes, expected: str) -> None:
    assert expected == read_mac(text).hex()


@pytest.mark.parametrize(
    ("port_type", "expected"),
    [
        ((PORT_TYPE, struct.pack(">I", 19)), [("02:00:00:00:00:77", "user_name", "guest")]),
        ((PORT_TYPE, struct.pack(">I", 15)), [("02:00:00:00:00:77", "user_name", "guest")]),
        ((PORT_TYPE, struct.pack(">I", 5)), []),  # virtual: a dial-in
        ((PORT, bytes(4)), []),
    ],
)
def test_twelve_digits_are_a_mac_only_on_ports_that_have_them(
    port_type: tuple[int, bytes], expected: list[tuple[str, str, str]]
) -> None:
    assert expected == said(message((CALLING, b"020000000077"), (USER_NAME, b"guest"), port_type))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"02-00-00-00-00-02:Guests", b"Guests"),
        (b"02:00:00:00:00:02:Guests", b"Guests"),
        (b"020000000002:a:b", b"a:b"),
        (b"02-00-00-00-00-02:", b""),
        (b"02-00-00-00-00-02", b""),
        (b"Guests", b""),
    ],
)
def test_networks(text: bytes, expected: bytes) -> None:
    """RFC 3580 section 3.20."""
    assert expected == read_ssid(text)


def test_a_user_who_is_a_mac_is_nobody() -> None:
    assert said(message(CALLER, (USER_NAME, b"020000000077"))) == []


def test_addresses_of_both_families() -> None:
    """RFC 6911 section 3.1."""
    ip6 = ipaddress.ip_address("2001:db8::77").packed
    payload = message(CALLER, (168, ip6), (FRAMED_IP, bytes([192, 168, 1, 77])))

    assert said(payload) == [(STATION, "framed_ip", "192.168.1.77"), (STATION, "framed_ip", "2001:db8::77")]


def test_the_first_of_repeated_attributes_counts() -> None:
    assert said(message(CALLER, (USER_NAME, b"one"), (USER_NAME, b"two"))) == [(STATION, "user_name", "one")]


NAMED = (NAS_ID, b"ap-hall")


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ((NAMED,), [(IP_TEXT, "system_name", "ap-hall")]),
        ((NAMED, (NAS_IP, bytes([10, 0, 0, 9]))), [(IP_TEXT, "system_name", "ap-hall")]),  # another of its own
        ((NAMED, (NAS_IP, bytes([10, 0, 0, 9])), (PROXY_STATE, b"x")), [("10.0.0.9", "system_name", "ap-hall")]),
        ((NAMED, (NAS_IP, IP), (PROXY_STATE, b"x")), [(IP_TEXT, "system_name", "ap-hall")]),
        (
            (NAMED, (95, ipaddress.ip_address("fd00::9").packed), (PROXY_STATE, b"x")),
            [("fd00::9", "system_name", "ap-hall")],
        ),
        ((NAMED, (PROXY_STATE, b"x")), []),
        (((NAS_ID, b"02-00-00-00-00-02"),), []),
        (((NAS_ID, b""),), []),
    ],
)
def test_the_name_of_a_nas(attributes: tuple[tuple[int, bytes], ...], expected: list[tuple[str, str, str]]) -> None:
    """A proxy marks what it passes on (RFC 2865 section 5.33)."""
    assert expected == said(message(*attributes, code=1))


@pytest.mark.parametrize(
    "attributes",
    [
        ((USER_NAME, b"guest"),),  # of no station
        ((CALLING, b"01-00-5e-00-00-01"), (USER_NAME, b"guest")),  # a group
        ((CALLING, b"00-00-00-00-00-00"), (USER_NAME, b"guest")),
        ((CALLING, b"5551234"), (USER_NAME, b"guest")),
        (CALLER, (FRAMED_IP, b"\xff\xff\xff\xfe")),  # the server may choose
        (CALLER, (FRAMED_IP, b"\x0a\0\0")),
    ],
)
def test_what_says_nothing(attributes: tuple[tuple[int, bytes], ...]) -> None:
    assert said(message(*attributes)) == []


def with_length(payload: bytes, length: int) -> bytes:
    return payload[:2] + length.to_bytes(2, "big") + payload[4:]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (with_length(GOLDEN, len(GOLDEN) + 1), EVERYTHING[1:]),  # the end is missing: perhaps a proxy's mark
        (with_length(GOLDEN, 19), []),
        (with_length(GOLDEN, 0), []),
        (with_length(GOLDEN, 21), []),  # half an attribute
        (message(CALLER)[:-1], []),
        (message((USER_NAME, b"guest"), CALLER).replace(b"\x01\x07guest", b"\x01\x00guest"), []),
        (message(CALLER, (USER_NAME, b"guest")).replace(b"\x01\x07guest", b"\x01\x01guest"), []),
        (message(CALLER, (USER_NAME, b"guest")).replace(b"\x01\x07guest", b"\x01\xffguest"), []),
        (message(*[(26, bytes(200))] * 30, CALLER, (USER_NAME, b"guest")), [(STATION, "user_name", "guest")]),
    ],
)
def test_lengths_that_lie(payload: bytes, expected: list[tuple[str, str, str]]) -> None:
    assert read(payload) == (expected, False)


def test_the_costliest_message_costs_little() -> None:
    payload = with_length(message(CALLER) + b"\x1a\x02" * 30_000, 60_000)

    assert cpu_s(lambda: read(payload)) < 0.02
