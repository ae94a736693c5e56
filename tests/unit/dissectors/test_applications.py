"""The port table: labels are unique, ports have one label, and the arrays are what the kernel takes."""

from __future__ import annotations

from array import array
from collections import Counter

import pytest
from fieldwatch_agent.applications import _TABLE, LABELS, PORTS, _entries, _places, port_labels


@pytest.mark.parametrize(
    ("transport", "port", "expected"),
    [
        ("tcp", 443, "https"),
        ("udp", 443, "https"),
        ("tcp", 22, "ssh"),
        ("udp", 22, ""),
        ("tcp", 53, "dns"),
        ("udp", 53, "dns"),
        ("udp", 123, "ntp"),
        ("tcp", 1883, "mqtt"),
        ("udp", 68, "dhcp"),
        ("udp", 5353, "mdns"),
        ("tcp", 5903, "vnc"),
        ("tcp", 502, "modbus"),
        ("tcp", 0, ""),
        ("udp", 65_535, ""),
    ],
)
def test_well_known_ports(transport: str, port: int, expected: str) -> None:
    tcp, udp = (array("H", octets) for octets in port_labels())

    assert expected == LABELS[(tcp if transport == "tcp" else udp)[port]]


def test_the_arrays_have_a_number_for_every_port() -> None:
    assert [len(octets) for octets in port_labels()] == [2 * PORTS, 2 * PORTS]


def test_labels_are_unique_and_the_first_is_none() -> None:
    assert LABELS[0] == ""
    assert len(LABELS) == len(set(LABELS))
    assert len(LABELS) > 250


def test_no_port_has_two_labels() -> None:
    labelled = Counter(
        (transport, port)
        for _, *places in _entries()
        for transports, ports in map(_places, places)
        for transport in transports
        for port in ports
    )
    twice = [key for key, labels in labelled.items() if labels > 1]

    assert twice == []


def test_every_line_of_the_table_is_read() -> None:
    lines = [line for line in _TABLE.splitlines() if line and not line.startswith("#")]

    assert len(LABELS) - 1 == sum(line.count(";") + 1 for line in lines)
