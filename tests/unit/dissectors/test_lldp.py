"""LLDP: the TLVs of IEEE 802.1AB, MED inventory, and what contradicts itself."""

from __future__ import annotations

import ipaddress

import pytest
from fieldwatch_agent.dissectors import COUNTERS
from messages import MAC, MAC_TEXT, PEER_MAC, of_sender, said, slow, tlv

MANDATORY = tlv(1, b"\x04" + PEER_MAC) + tlv(2, b"\x05Gi1/0/7") + tlv(3, b"\0\x78")
END = tlv(0, b"")
ALWAYS = [("chassis_id", "02:00:00:00:00:02"), ("port_id", "Gi1/0/7")]
GOLDEN = (
    MANDATORY
    + tlv(4, b"uplink")
    + tlv(5, b"core-1")
    + tlv(6, b"Switch OS 1.2\r\nbuilt today")
    + tlv(7, b"\0\x14\0\x04")
    + tlv(8, b"\x05\x01" + bytes([10, 0, 0, 9]) + b"\x02\0\0\0\x01\0")
    + tlv(8, b"\x11\x02" + ipaddress.ip_address("2001:db8::9").packed + b"\x02\0\0\0\x01\0")
    + tlv(127, b"\x00\x80\xc2\x01\0\x63")
    + tlv(127, b"\x00\x12\xbb\x09Maker Inc")
    + tlv(127, b"\x00\x12\xbb\x0aS-48")
    + END
)


def test_a_neighbour_says_what_it_is() -> None:
    expected = [
        ("chassis_id", "02:00:00:00:00:02"),
        ("port_id", "Gi1/0/7"),
        ("port_description", "uplink"),
        ("system_name", "core-1"),
        ("system_description", "Switch OS 1.2 built today"),
        ("capabilities", "bridge"),
        ("management_ip", "10.0.0.9"),
        ("management_ip", "2001:db8::9"),
        ("native_vlan", "99"),
        ("manufacturer", "Maker Inc"),
        ("model", "S-48"),
    ]

    assert expected == of_sender(slow("lldp", GOLDEN))


def test_octets_behind_the_end_are_padding() -> None:
    before = COUNTERS.malformed["lldp"]

    assert of_sender(slow("lldp", GOLDEN)) == of_sender(slow("lldp", GOLDEN + b"\xff" * 20))
    assert before == COUNTERS.malformed["lldp"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"\x04" + MAC, MAC_TEXT),
        (b"\x05\x01" + bytes([10, 0, 0, 9]), "10.0.0.9"),
        (b"\x07local name", "local name"),
        (b"\x07name\0", "name"),
        (b"\x07\x00\x01\xfe\xff", "00:01:fe:ff"),
        (b"\x04abc", "abc"),  # says MAC, is none
    ],
)
def test_a_chassis_id_is_shown_by_its_subtype(value: bytes, expected: str) -> None:
    assert ("chassis_id", expected) in of_sender(
        slow("lldp", tlv(1, value) + tlv(2, b"\x07p") + tlv(3, b"\0\x78") + END)
    )


def test_where_the_link_has_no_mac_the_chassis_stands_for_the_device() -> None:
    assert ("02:00:00:00:00:02", "system_name", "core-1") in said(slow("lldp", GOLDEN, src_mac=bytes(6)))


@pytest.mark.parametrize(
    "damage",
    [
        tlv(5, b"cut off")[:-2],
        b"\x0b",
        b"",  # the end is missing
        tlv(1, b"\x04"),  # a subtype without an id
        tlv(7, b"\0\x14"),
        tlv(8, b"\x09\x01\x0a\0\0\x09"),  # an address longer than its TLV
        tlv(8, b""),
        tlv(127, b"\x00\x80\xc2"),
    ],
)
def test_what_comes_before_the_damage_stands(damage: bytes) -> None:
    before = COUNTERS.malformed["lldp"]

    expected = [*ALWAYS, ("system_name", "kept")]
    assert expected == of_sender(slow("lldp", MANDATORY + tlv(5, b"kept") + damage))
    assert before + 1 == COUNTERS.malformed["lldp"]


@pytest.mark.parametrize("value", [b"\x05\x01\0\0\0\0", b"\x05\x01\xe0\0\0\1", b"\x07\x06" + MAC, b"\x04\x01\x0a\0\0"])
def test_management_addresses_that_no_host_holds_are_left_out(value: bytes) -> None:
    assert of_sender(slow("lldp", MANDATORY + tlv(8, value) + END)) == ALWAYS


def test_empty_texts_are_no_facts() -> None:
    empty = tlv(5, b"") + tlv(6, b" \0") + tlv(7, bytes(4)) + tlv(127, b"\x00\x80\xc2\x01\0\0")

    assert of_sender(slow("lldp", MANDATORY + empty + END)) == ALWAYS


@pytest.mark.parametrize(
    "payload",
    [
        tlv(5, b"name") + MANDATORY + END,
        tlv(2, b"\x07p") + tlv(1, b"\x07c") + tlv(3, b"\0\x78") + END,
        END,
        bytes(46),  # padding only
    ],
)
def test_the_mandatory_tlvs_come_first_and_in_order(payload: bytes) -> None:
    """IEEE 802.1AB clause 9.2.7.7: else the LLDPDU is discarded."""
    before = COUNTERS.malformed["lldp"]

    assert of_sender(slow("lldp", payload)) == []
    assert before + 1 == COUNTERS.malformed["lldp"]
