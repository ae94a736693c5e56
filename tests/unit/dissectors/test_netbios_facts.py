"""NetBIOS names and datagrams: who owns which name, and what browsers are told."""

from __future__ import annotations

import pytest
from fieldwatch_agent.dissectors import COUNTERS, nbns
from messages import (
    IP_TEXT,
    MAC,
    MAC_TEXT,
    PEER_MAC,
    announcement,
    datagram,
    mailslot,
    nb_record,
    netbios_name,
    node_status,
    of_sender,
    question,
    said,
    slow,
)
from messages import nbns as build

REGISTRATION, REFRESH, RELEASE, WACK_REPLY, RESPONSE, NEGATIVE = 0x2910, 0x4010, 0x3010, 0xBC00, 0x8500, 0x8583
UNICAST = {"dst_mac": PEER_MAC, "dst_ip": bytes([192, 168, 1, 20])}
DESK, GROUP = netbios_name("DESK-7", 0x00), netbios_name("OFFICE", 0x00)


@pytest.mark.parametrize("flags", [REGISTRATION, REFRESH, 0x4810, 0x7810])
def test_a_registration_names_its_sender(flags: int) -> None:
    """Opcodes 5, 8, 9 and 15 (RFC 1002 section 4.2.1.1; multi-homed registration)."""
    payload = build(flags, questions=(question(DESK, 0x20),), additional=(nb_record(DESK, (0, IP_TEXT)),))

    assert of_sender(slow("nbns", payload)) == [("netbios_name", "DESK-7")]


def test_the_suffix_stands_in_the_evidence() -> None:
    payload = build(REGISTRATION, additional=(nb_record(netbios_name("DESK-7", 0x20), (0, IP_TEXT)),))
    (fact,) = nbns.dissect(slow("nbns", payload))

    assert (fact.source, fact.evidence, fact.confidence) == ("nbns", "NBNS registration <20>", 80)


@pytest.mark.parametrize(
    ("name", "flags", "expected"),
    [
        (GROUP, 0x8000, [("netbios_group", "OFFICE")]),
        (netbios_name("OFFICE", 0x1D), 0, [("netbios_group", "OFFICE")]),  # unique, yet the name of a group
        (netbios_name("OFFICE", 0x1B), 0, [("netbios_group", "OFFICE")]),
        (netbios_name("SOMEBODY", 0x03), 0, []),  # messenger: may be a person
        (netbios_name("\x01\x02__MSBROWSE__\x02", 0x01), 0x8000, []),
    ],
)
def test_what_a_name_stands_for(name: bytes, flags: int, expected: list[tuple[str, str]]) -> None:
    payload = build(REGISTRATION, additional=(nb_record(name, (flags, IP_TEXT)),))

    assert expected == of_sender(slow("nbns", payload))


def test_a_name_server_answers_for_others() -> None:
    payload = build(RESPONSE, answers=(nb_record(DESK, (0, "192.168.1.77"), (0, "192.168.1.78")),))

    expected = [("192.168.1.77", "netbios_name", "DESK-7"), ("192.168.1.78", "netbios_name", "DESK-7")]
    assert expected == said(slow("nbns", payload, **UNICAST))


@pytest.mark.parametrize(
    "payload",
    [
        build(0x0110, questions=(question(DESK, 0x20),)),  # a query names what its sender looks for
        build(RELEASE, additional=(nb_record(DESK, (0, IP_TEXT)),)),
        build(NEGATIVE, answers=(nb_record(DESK, (0, IP_TEXT)),)),
        build(WACK_REPLY, answers=(nb_record(DESK, (0, IP_TEXT)),)),
        build(REGISTRATION, additional=(nb_record(DESK, (0, "0.0.0.0")),)),
    ],
)
def test_what_names_nobody(payload: bytes) -> None:
    assert said(slow("nbns", payload)) == []


STATUS = (("DESK-7", 0x00, 0x0400), ("OFFICE", 0x00, 0x8400), ("DESK-7", 0x20, 0x0400), ("OFFICE", 0x1E, 0x8400))


@pytest.mark.parametrize(
    ("unit_id", "subject"),
    [
        (MAC, MAC_TEXT),  # its own MAC sent the frame: nothing routed in between
        (PEER_MAC, IP_TEXT),
        (bytes(6), IP_TEXT),
    ],
)
def test_a_node_status_reply_lists_the_names_of_its_sender(unit_id: bytes, subject: str) -> None:
    frame = slow("nbns", node_status(*STATUS, unit_id=unit_id), **UNICAST)

    assert said(frame) == [(subject, "netbios_name", "DESK-7"), (subject, "netbios_group", "OFFICE")]


def test_a_datagram_names_its_source() -> None:
    payload = datagram(netbios_name("DESK-7", 0x20), netbios_name("OFFICE", 0x1D), b"")

    assert said(slow("nbds", payload)) == [(MAC_TEXT, "netbios_name", "DESK-7")]


def test_a_datagram_passed_on_is_about_its_source_address() -> None:
    payload = datagram(netbios_name("DESK-7", 0x00), netbios_name("OFFICE", 0x1D), b"", ip=bytes([192, 168, 1, 77]))

    assert said(slow("nbds", payload)) == [("192.168.1.77", "netbios_name", "DESK-7")]


def browser(data: bytes, **changes: bytes) -> bytes:
    return datagram(netbios_name("DESK-7-LONG-NAM", 0x00), netbios_name("OFFICE", 0x1E), mailslot(data, **changes))


@pytest.mark.parametrize("command", [0x01, 0x0F])
def test_an_announcement_gives_the_host_and_its_description(command: int) -> None:
    expected = [
        ("netbios_name", "DESK-7-LONG-NAM"),
        ("netbios_name", "DESK-7-LONG-NAME"),
        ("system_description", "front desk (Samba)"),
    ]

    assert expected == of_sender(
        slow("nbds", browser(announcement(command, b"DESK-7-LONG-NAME", b"front desk (Samba)")))
    )


def test_a_domain_announcement_gives_the_group() -> None:
    expected = [("netbios_name", "DESK-7-LONG-NAM"), ("netbios_group", "OFFICE")]

    assert expected == of_sender(slow("nbds", browser(announcement(0x0C, b"OFFICE", b"DESK-7-LONG-NAME"))))


@pytest.mark.parametrize(
    "payload",
    [
        browser(announcement(0x01, b"OTHER", b""), slot=b"\\MAILSLOT\\NET\\LOGON"),
        browser(b"\x09\x01\x00"),  # another command
        datagram(netbios_name("DESK-7-LONG-NAM", 0), netbios_name("OFFICE", 0x1E), b"\xffSMB\x25"),
    ],
)
def test_other_data_says_nothing_more(payload: bytes) -> None:
    assert of_sender(slow("nbds", payload)) == [("netbios_name", "DESK-7-LONG-NAM")]


def contradict(data: bytes) -> bytes:
    """The mailslot message claims 1000 octets more than there are."""
    at = data.index(b"\xffSMB") + 55
    return data[:at] + (1000).to_bytes(2, "little") + data[at + 2 :]


@pytest.mark.parametrize(
    "payload", [contradict(browser(announcement(0x01, b"OTHER", b""))), browser(announcement(0x01, b"OTHER", b"")[:20])]
)
def test_what_comes_before_the_damage_stands(payload: bytes) -> None:
    before = COUNTERS.malformed["nbds"]

    assert of_sender(slow("nbds", payload)) == [("netbios_name", "DESK-7-LONG-NAM")]
    assert before + 1 == COUNTERS.malformed["nbds"]


@pytest.mark.parametrize("protocol", ["nbns", "nbds"])
@pytest.mark.parametrize("payload", [b"", b"\0" * 5])
def test_what_is_no_netbios_is_counted(protocol: str, payload: bytes) -> None:
    before = COUNTERS.malformed[protocol]

    assert said(slow(protocol, payload)) == []
    assert before + 1 == COUNTERS.malformed[protocol]
