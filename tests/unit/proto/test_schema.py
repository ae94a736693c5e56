"""The schema's small conversions, and what must never change."""

from __future__ import annotations

import pytest
from fieldwatch_proto.schema import (
    CLASSES,
    COLUMNS,
    WIDTHS,
    Kind,
    SightingSource,
    ip_octets,
    ip_text,
    ip_value,
    mac_text,
    time_text,
    vlan_ids,
    vlan_stack,
)


def test_numbers_are_for_ever() -> None:
    """Kinds and sources on the wire and on disk keep their numbers."""
    assert {kind.name: kind.value for kind in Kind} == {"FLOW": 1, "SIGHTING": 2, "FACT": 3, "EVENT": 4, "METRIC": 5}
    assert [source.name for source in sorted(SightingSource)] == [
        "ETH",
        "IP",
        "ARP",
        "NDP",
        "DHCP",
        "FORWARD",
        "DHCPV6",
    ]


def test_every_kind_has_columns_and_a_class() -> None:
    """Known types only, a time in front, names unique."""
    for kind in Kind:
        names = [column.name for column in COLUMNS[kind]]

        assert {column.type for column in COLUMNS[kind]} <= {*WIDTHS, "str"}
        assert names[0].endswith("_ns")
        assert len(names) == len(set(names))
        assert kind in CLASSES


@pytest.mark.parametrize("octets", [b"", bytes([10, 0, 0, 1]), bytes(range(16))])
def test_addresses_round_trip(octets: bytes) -> None:
    """Four, sixteen or no octets."""
    version, value = ip_value(octets)

    assert len(value) == 16
    assert ip_octets(version, value) == octets


@pytest.mark.parametrize("ids", [[], [0], [100], [100, 200], [4095, 0, 1, 2]])
def test_vlan_stacks_round_trip(ids: list[int]) -> None:
    """Priority tags (VLAN 0) are tags too; order is outermost first."""
    assert vlan_ids(vlan_stack(ids)) == ids


def test_texts() -> None:
    """The one written form of times, MACs and addresses."""
    assert time_text(1700000000_123456789) == "2023-11-14T22:13:20.123456789Z"
    assert time_text(-1) == "1969-12-31T23:59:59.999999999Z"
    assert mac_text(bytes.fromhex("000C29AABBCC")) == "00:0c:29:aa:bb:cc"
    assert (ip_text(b""), ip_text(bytes(15) + b"\x01"), ip_text(b"\x0a\x00\x00\x01")) == ("", "::1", "10.0.0.1")
