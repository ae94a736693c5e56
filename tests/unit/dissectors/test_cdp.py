"""CDP: the TLVs of both versions, and agreement with dpkt."""

from __future__ import annotations

import struct

import dpkt
import pytest
from fieldwatch_agent.dissectors import COUNTERS, cdp
from hypothesis import given
from hypothesis import strategies as st
from messages import cdp_tlv, of_sender, slow

HEAD = b"\x02\xb4\x00\x00"
IP6_PROTOCOL = b"\xaa\xaa\x03\x00\x00\x00\x86\xdd"


def addresses(*entries: tuple[int, bytes, bytes], count: int | None = None) -> bytes:
    body = b"".join(
        bytes([kind, len(protocol)]) + protocol + struct.pack(">H", len(ip)) + ip for kind, protocol, ip in entries
    )
    return struct.pack(">I", len(entries) if count is None else count) + body


GOLDEN = (
    HEAD
    + cdp_tlv(1, b"core-2.example.com")
    + cdp_tlv(5, b"IOS 15.2\nCompiled")
    + cdp_tlv(6, b"cisco WS-C3560")
    + cdp_tlv(
        2, addresses((1, b"\xcc", bytes([10, 0, 0, 2])), (2, IP6_PROTOCOL, bytes([0x20, 1]) + bytes(13) + b"\x02"))
    )
    + cdp_tlv(3, b"GigabitEthernet0/13")
    + cdp_tlv(4, b"\0\0\0\x29")
    + cdp_tlv(10, b"\0\x63")
    + cdp_tlv(11, b"\x01")
    + cdp_tlv(22, addresses((1, b"\xcc", bytes([10, 0, 0, 3]))))
)


def test_a_neighbour_says_what_it_is() -> None:
    expected = [
        ("system_name", "core-2.example.com"),
        ("system_description", "IOS 15.2 Compiled"),
        ("platform", "cisco WS-C3560"),
        ("management_ip", "10.0.0.2"),
        ("management_ip", "2001::2"),
        ("port_id", "GigabitEthernet0/13"),
        ("capabilities", "router,switch,igmp"),
        ("native_vlan", "99"),
        ("management_ip", "10.0.0.3"),
    ]

    assert expected == of_sender(slow("cdp", GOLDEN))


def test_addresses_that_no_host_holds_are_left_out() -> None:
    value = addresses((1, b"\xcc", bytes(4)), (1, b"\x81", bytes([10, 0, 0, 1])), (1, b"\xcc", b"\x0a\0\0"))

    assert of_sender(slow("cdp", HEAD + cdp_tlv(2, value))) == []


@pytest.mark.parametrize(
    "damage",
    [
        cdp_tlv(5, b"cut off")[:-1],
        b"\0\x05",
        struct.pack(">HH", 5, 3),  # shorter than its own header
        struct.pack(">HH", 5, 0),
        cdp_tlv(2, addresses((1, b"\xcc", bytes([10, 0, 0, 2])), count=2))[: 4 + 4 + 9],  # promises two, holds one
        cdp_tlv(2, addresses(count=1) + b"\x01\xff\xcc"),
        cdp_tlv(2, addresses(count=1) + b"\x01\x01\xcc\xff\xff"),
    ],
)
def test_what_comes_before_the_damage_stands(damage: bytes) -> None:
    before = COUNTERS.malformed["cdp"]

    assert ("system_name", "kept") in of_sender(slow("cdp", HEAD + cdp_tlv(1, b"kept") + damage))
    assert before + 1 == COUNTERS.malformed["cdp"]


def test_a_count_of_addresses_beyond_reason_is_bounded() -> None:
    one = (1, b"\xcc", bytes([10, 0, 0, 2]))

    assert len(list(cdp.read_addresses(addresses(*[one] * 40, count=0xFFFFFFFF)))) == cdp.MAX_ADDRESSES


@given(st.lists(st.tuples(st.integers(0, 0xFFFF).filter(lambda kind: kind != 2), st.binary(max_size=30)), max_size=10))
def test_tlvs_agree_with_dpkt(tlvs: list[tuple[int, bytes]]) -> None:
    payload = HEAD + b"".join(cdp_tlv(kind, value) for kind, value in tlvs)
    expected = [bytes(tlv) for tlv in dpkt.cdp.CDP(payload).tlvs]

    message = cdp.Message(payload)

    assert (expected, True) == ([cdp_tlv(kind, value) for kind, value in message.tlvs], message.complete)
