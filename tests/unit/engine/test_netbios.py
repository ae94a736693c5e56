"""NetBIOS names and datagrams: golden octets, hostile ones, every prefix."""

from __future__ import annotations

import pytest
from fieldwatch_ext.netbios import (
    Datagram,
    NameMessage,
    NameRecord,
    NetbiosName,
    decode_first_level,
    read_datagram,
    read_names,
)
from hypothesis import given
from hypothesis import strategies as st
from support.frames import ip, mac, nbds, nbns, netbios_label

FILESRV = NetbiosName("FILESRV", 0x20, "")
NAME = netbios_label("FILESRV")


def test_first_level_name() -> None:
    """RFC 1001 section 14.1: each half octet is a letter from A to P; anything else is no name."""
    assert decode_first_level(b"EGEJEMEFFDFCFGCACACACACACACACACA") == b"FILESRV         "
    assert decode_first_level(b"EGEJEMEFFDFCFGCACACACACACACACAC") is None
    assert decode_first_level(b"EGEJEMEFFDFCFGCACACACACACACACAcA") is None


def test_query() -> None:
    """A broadcast query of a name with a scope."""
    payload = nbns(0x0110, questions=[(netbios_label("FILESRV", 0x1C, "example.org"), 0x20)])

    assert read_names(payload) == NameMessage(
        0x1234,
        0,
        False,
        0,
        [NameRecord("question", 0x20, NetbiosName("FILESRV", 0x1C, "example.org"), False, [], b"")],
    )


def test_registration_points_back_to_its_question() -> None:
    """The additional record of a registration names itself by a pointer to the question; it holds the addresses."""
    data = b"\x80\x00" + ip("10.0.0.5") + b"\x00\x00" + ip("10.0.0.6")
    payload = nbns(0x2910, questions=[(NAME, 0x20)], additional=[(b"\xc0\x0c", 0x20, data)])

    message = read_names(payload)

    assert message is not None
    assert (message.opcode, message.response) == (5, False)
    assert message.records[1] == NameRecord("additional", 0x20, FILESRV, True, [ip("10.0.0.5"), ip("10.0.0.6")], b"")


def test_node_status() -> None:
    """Names with their suffixes and group flags, and the unit id, which is a MAC."""
    entries = b"FILESRV        \x20\x04\x00" + b"WORKGROUP      \x00\x84\x00"
    data = b"\x02" + entries + mac("02:00:00:00:00:0a") + bytes(40)
    message = read_names(nbns(0x8400, answers=[(netbios_label("*", 0), 0x21, data)]))

    assert message is not None
    assert message.response
    assert message.records == [
        NameRecord("node_status", 0x21, FILESRV, False, [], mac("02:00:00:00:00:0a")),
        NameRecord("node_status", 0x21, NetbiosName("WORKGROUP", 0, ""), True, [], mac("02:00:00:00:00:0a")),
    ]


def test_names_that_cannot_be_read_stay_printable() -> None:
    """Control octets never reach a terminal as they are."""
    message = read_names(nbns(0, questions=[(netbios_label("A\x1b[2J\x7f"), 0x20)]))

    assert message is not None
    assert message.records[0].name.name == "A\\x1b[2J\\x7f"


@pytest.mark.parametrize(
    "name",
    [
        b"\xc0\x0c",  # points to itself
        b"\xc0\x0e\xc0\x0c",  # forwards, then back
        b"\xc0\xff",  # behind the end
        b"\x3f" + bytes(63),
        b"\x20" + b"Z" * 32 + b"\0",
        b"\x00",
        b"\x20EG",
    ],
)
def test_hostile_names_end(name: bytes) -> None:
    """Loops, forward pointers and labels that are none give nothing."""
    assert read_names(nbns(0, questions=[(name, 0x20)])) is None


def test_counts_that_lie_cost_nothing() -> None:
    """65,535 promised records in a short message are as many as there are; in a long one they are bounded."""
    one = nbns(0, questions=[(NAME, 0x20)])
    lying = one[:4] + b"\xff\xff" * 4 + one[12:]
    many = lying + (NAME + b"\0\x20\0\1") * 1000

    assert [len(message.records) for message in (read_names(lying), read_names(many)) if message] == [1, 64]


def test_datagram() -> None:
    """RFC 1002 section 4.4.2: source and destination name and the data behind them."""
    workgroup = netbios_label("WORKGROUP", 0x1E)

    assert read_datagram(nbds(NAME, workgroup, b"\xffSMB", ip_text="10.0.0.5")) == Datagram(
        0x11, ip("10.0.0.5"), 138, FILESRV, NetbiosName("WORKGROUP", 0x1E, ""), b"\xffSMB"
    )


@pytest.mark.parametrize("destination", [b"", NAME[:20], b"\x20" + b"Z" * 32 + b"\0", b"\xc0\xff"])
def test_datagram_without_destination(destination: bytes) -> None:
    """A destination that is cut off or no NetBIOS name takes nothing from the source."""
    source = Datagram(0x11, ip("10.0.0.1"), 138, FILESRV, None, b"")

    assert read_datagram(nbds(NAME, destination)) == source
    assert read_datagram(nbds(NAME, NAME)[: 14 + len(NAME)]) == source


def test_datagram_without_names() -> None:
    """An error has one octet behind the header, a query the name that is asked for."""
    header = b"\x02\x12\x34" + ip("10.0.0.5") + b"\x00\x8a"

    assert read_datagram(b"\x13" + header + b"\x82") == Datagram(0x13, ip("10.0.0.5"), 138, None, None, b"\x82")
    assert read_datagram(b"\x14" + header + NAME) == Datagram(0x14, ip("10.0.0.5"), 138, None, FILESRV, b"")
    assert read_datagram(b"\x17" + header + NAME) is None


def test_every_prefix_is_read_or_refused() -> None:
    """Whatever the capture cut off: no octet behind the end is read, no exception."""
    entries = b"FILESRV        \x20\x04\x00" * 2
    message = nbns(
        0x8400,
        questions=[(NAME, 0x20)],
        answers=[(b"\xc0\x0c", 0x20, b"\0\0" + ip("10.0.0.5")), (NAME, 0x21, b"\x02" + entries + bytes(6))],
    )
    datagram = nbds(NAME, NAME, b"data")

    assert [read_names(message[:end]) is not None for end in range(len(message) + 1)].count(True) == len(message) - 49
    assert [read_datagram(datagram[:end]) is not None for end in range(len(datagram) + 1)].count(True) == len(
        datagram
    ) + 1 - 14 - len(NAME)


@given(st.binary(max_size=300))
def test_noise(noise: bytes) -> None:
    """Anything gives a value or None; what is given is bounded."""
    message, datagram = read_names(noise), read_datagram(noise)

    assert message is None or 0 < len(message.records) <= 64 + 128
    assert datagram is None or len(datagram.payload) <= len(noise)
