"""The face that the agent calls: never raises, bounded in facts, text and time, whatever arrives."""

from __future__ import annotations

import random

import pytest
from fieldwatch_agent.dissectors import COUNTERS, DISSECTORS, MAX_FACTS, dissect
from fieldwatch_agent.dissectors.dns_message import read_message
from fieldwatch_agent.dissectors.text import MAX_VALUE_OCTETS
from fieldwatch_agent.facts import Binding, Fact
from fieldwatch_ext.dns import MAX_POINTERS
from fieldwatch_ext.engine import Slow
from hypothesis import given
from hypothesis import strategies as st
from messages import (
    IP,
    IP6,
    IP_TEXT,
    MAC,
    address,
    announcement,
    datagram,
    dns,
    mailslot,
    nb_record,
    nbns,
    netbios_name,
    node_status,
    option,
    pointer,
    record,
    service,
    slow,
    text,
)
from messages import dhcp as dhcp_message
from support.cost import cpu_s
from test_cdp import GOLDEN as CDP
from test_dhcp import GOLDEN as DHCP_OPTIONS
from test_dhcpv6 import REPLY, SOLICIT, relayed
from test_dns import GOLDEN as DNS
from test_http import REQUEST, RESPONSE
from test_igmp import MLD2_REPORT, V3_REPORT
from test_lldp import GOLDEN as LLDP
from test_quic import GOLDEN as QUIC
from test_radius import GOLDEN as RADIUS
from test_smb import AUTHENTICATE as SMB_CLIENT
from test_smb import GOLDEN as SMB_SERVER
from test_smb import SMB1_RESPONSE
from test_ssdp import NOTIFY
from test_tcp_syn import GOLDEN as SYN
from test_tls import GOLDEN as TLS
from test_wsd import HELLO, MATCHES

GOLDEN = [
    slow("dhcp", dhcp_message(DHCP_OPTIONS)),
    slow("dhcp", dhcp_message(option(53, b"\x05") + b"\xff", op=2, yiaddr=IP)),
    slow("dhcpv6", SOLICIT),
    slow("dhcpv6", relayed(13, bytes.fromhex("fe80") + bytes(13) + b"\x02", REPLY)),
    slow(
        "mdns",
        dns(
            answers=(
                pointer("_ipp._tcp.local", "Desk._ipp._tcp.local"),
                service("Desk._ipp._tcp.local", "printer.local", 631),
                text("Desk._ipp._tcp.local", b"ty=LaserJet", b"usb_MFG=HP"),
            ),
            additional=(address("printer.local", IP_TEXT), pointer("10.1.168.192.in-addr.arpa", "printer.local")),
        ),
    ),
    slow("llmnr", dns(flags=0x8000, answers=(address("FILES", IP_TEXT, klass=1),))),
    slow("nbns", nbns(0x2910, additional=(nb_record(netbios_name("DESK-7", 0), (0, IP_TEXT)),))),
    slow("nbns", node_status(("DESK-7", 0, 0x0400), ("OFFICE", 0, 0x8400), unit_id=MAC)),
    slow(
        "nbds",
        datagram(
            netbios_name("DESK-7", 0x20), netbios_name("OFFICE", 0x1D), mailslot(announcement(1, b"DESK-7", b"desk"))
        ),
    ),
    slow("ssdp", NOTIFY),
    slow("lldp", LLDP),
    slow("cdp", CDP),
    slow("dns", DNS),
    slow("smb", SMB_SERVER),
    slow("smb", SMB_CLIENT),
    slow("smb", SMB1_RESPONSE),
    slow("radius", RADIUS),
    slow("tls", TLS),
    slow("quic", QUIC),
    slow("http", REQUEST),
    slow("http", RESPONSE),
    slow("tcp_syn", SYN),
    slow("wsd", HELLO),
    slow("wsd", MATCHES),
    slow("igmp", V3_REPORT),
    slow("igmp", MLD2_REPORT, src_ip=IP6, dst_ip=bytes.fromhex("ff02") + bytes(13) + b"\x16"),
]


def named(frame: Slow) -> str:
    return f"{frame.protocol}-{len(frame.payload)}"


def content(frame: Slow) -> set[tuple[object, ...]]:
    """What was said, without the subject: which records are there decides whom a name is about."""
    return {item[1:3] if isinstance(item, Fact) else item[:2] for item in dissect(frame)}


def test_every_protocol_has_a_golden_message() -> None:
    assert set(DISSECTORS) == {frame.protocol for frame in GOLDEN}


@pytest.mark.parametrize("frame", GOLDEN, ids=named)
def test_every_prefix_of_a_message_says_a_part_of_it_and_nothing_else(frame: Slow) -> None:
    whole = content(frame)

    assert whole
    for end in range(len(frame.payload)):
        assert content(frame._replace(payload=frame.payload[:end])) <= whole


def test_a_protocol_without_dissector_says_nothing() -> None:
    assert dissect(slow("ssdp", NOTIFY)._replace(protocol="gopher")) == []


def test_messages_are_counted_by_protocol() -> None:
    before = COUNTERS.messages["lldp"], COUNTERS.malformed["lldp"]
    dissect(slow("lldp", LLDP))
    dissect(slow("lldp", LLDP[:-3]))

    assert (before[0] + 2, before[1] + 1) == (COUNTERS.messages["lldp"], COUNTERS.malformed["lldp"])


def check(frame: Slow) -> None:
    """The contract of what comes out."""
    items = dissect(frame)
    assert len(items) <= MAX_FACTS
    for item in items:
        if isinstance(item, Fact):
            assert item.subject
            assert item.source == frame.protocol
            assert 0 < len(item.value.encode()) <= MAX_VALUE_OCTETS
            assert len(item.evidence.encode()) <= MAX_VALUE_OCTETS
            assert 0 < item.confidence <= 100
        else:
            assert isinstance(item, Binding)
            assert (len(item.mac), len(item.ip)) in ((6, 4), (6, 16))


ADDRESSES = st.sampled_from([b"", bytes(4), IP, b"\xff" * 4, bytes(16), bytes.fromhex("ff02") + bytes(13) + b"\xfb"])
MACS = st.sampled_from([b"", bytes(6), MAC, b"\xff" * 6])
FRAMES = st.builds(
    Slow,
    st.integers(1, 10),
    st.integers(0, 2**62),
    st.sampled_from(sorted(DISSECTORS)),
    MACS,
    MACS,
    st.just(0),
    ADDRESSES,
    ADDRESSES,
    st.integers(0, 0xFFFF),
    st.integers(0, 0xFFFF),
    st.binary(max_size=1500),
)


@given(FRAMES)
def test_random_payloads_never_raise(frame: Slow) -> None:
    check(frame)


@pytest.mark.parametrize("frame", GOLDEN, ids=named)
def test_mutated_messages_never_raise(frame: Slow) -> None:
    """Octets changed, pieces cut out, doubled and swapped: what a fuzzer does first, with a fixed seed."""
    dice = random.Random(named(frame))
    for _ in range(1500):
        octets = bytearray(frame.payload)
        for _ in range(dice.randint(1, 4)):
            at = dice.randrange(len(octets)) if octets else 0
            end = min(len(octets), at + dice.randint(1, 16))
            match dice.randrange(5):
                case 0 if octets:
                    octets[at] = dice.randrange(256)
                case 1 if octets:
                    octets[at] = dice.choice((0, 1, 0x3F, 0x40, 0x7F, 0x80, 0xC0, 0xFF))
                case 2:
                    del octets[at:end]
                case 3:
                    octets[at:at] = octets[at:end]
                case _:
                    octets[at:end] = dice.randbytes(end - at)
        check(frame._replace(payload=bytes(octets)))


def pointer_storm() -> bytes:
    """As many records as fit, both names of each a chain of as many pointers as are followed."""
    target = 12 + 11  # behind the header, and behind that of a first record which holds the chain
    first_link = target + 3
    links = [target] + [first_link + 2 * place for place in range(MAX_POINTERS - 2)]
    chain = b"\x01a\0" + b"".join((0xC000 | offset).to_bytes(2, "big") for offset in links)
    last = (0xC000 | first_link + 2 * (len(links) - 1)).to_bytes(2, "big")
    return dns(answers=(record(b"\0", 99, chain), *[record(last, 12, last)] * 4000))


def test_the_storm_of_pointers_is_read() -> None:
    """Else it would prove nothing below."""
    message = read_message(pointer_storm())

    assert (message.complete, message.records[-1].name, message.records[-1].target) == (True, (b"a",), (b"a",))


@pytest.mark.parametrize(
    "frame",
    [
        slow("mdns", pointer_storm()),
        slow("mdns", b"\0\0\x84\0\xff\xff\xff\xff\xff\xff\xff\xff" + b"\0" * 60_000),
        slow(
            "mdns",
            dns(answers=(text("x._device-info._tcp.local", *[b"model=" + bytes([65 + i % 26]) for i in range(7000)]),)),
        ),
        slow("dns", pointer_storm()),
        slow("smb", b"\0\0\0\0\xfeSMB" * 200),
        slow("radius", b"\x04\0\x10\0" + bytes(16) + b"\x1a\x02" * 2038),
        slow("dhcp", dhcp_message(option(12, b"a" * 255) * 230)),
        slow("dhcpv6", b"\x01\0\0\0" + b"\0\x27\0\0" * 15_000),
        slow("ssdp", b"NOTIFY * HTTP/1.1\r\n" + b"a:b\r\n" * 12_000),
        slow("ssdp", b"NOTIFY * HTTP/1.1\r\nSERVER: " + b"\x1b" * 60_000 + b"\r\n\r\n"),
        slow("lldp", LLDP[:-2] + b"\x0a\x00" * 30_000),
        slow("cdp", b"\x02\xb4\0\0" + b"\0\x02\0\x04" * 15_000),
        slow("cdp", b"\x02\xb4\0\0\0\x02\xff\xf0" + b"\xff\xff\xff\xff" + b"\x01\x00\x00\x00" * 16_000),
        slow("nbns", b"\0\0\x84\0\xff\xff\xff\xff\xff\xff\xff\xff" + b"\xc0\x0c" * 30_000),
    ],
    ids=lambda frame: f"{frame.protocol}-{len(frame.payload)}",
)
def test_the_costliest_messages_cost_little(frame: Slow) -> None:
    """Largest UDP payloads that make the most work; one hostile host must not slow the agent."""
    assert cpu_s(lambda: check(frame)) < 0.02
