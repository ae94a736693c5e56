"""IGMP and MLD: groups that tell something of their members, who asks for them, and records that lie."""

from __future__ import annotations

import ipaddress
import struct
from typing import Any

import pytest
from fieldwatch_agent.dissectors import igmp
from listening import Heard, listen, prefixes_say_a_part, to_peer
from messages import IP6, MAC_TEXT
from support.cost import cpu_s

SSDP, MDNS = "239.255.255.250", "224.0.0.251"
SSDP6 = "ff02::c"
GROUP = {"dst_mac": bytes.fromhex("01005e000016"), "dst_ip": bytes([224, 0, 0, 22])}
GROUP6 = {"dst_mac": bytes.fromhex("333300000016"), "dst_ip": ipaddress.ip_address("ff02::16").packed, "src_ip": IP6}

V1_REPORT = bytes.fromhex("12000df4effffffa")  # RFC 1112 appendix I: version 1 type 2, checksum, 239.255.255.250
V2_REPORT = bytes.fromhex("160009f4effffffa")  # RFC 2236 section 2
V3_REPORT = bytes.fromhex(  # RFC 3376 section 4.2
    "2200ea03 0000 0002"  # two records
    "04000000 effffffa"  # changes to EXCLUDE of no source
    "01010002 e8010203 0a000001 0a000002 00000000"  # INCLUDE of two sources, one word of auxiliary data
)
MLD1_REPORT = bytes.fromhex("83000000 0000 0000 ff02000000000000000000000000000c")  # RFC 2710 section 3
MLD2_REPORT = bytes.fromhex(  # RFC 3810 section 5.2
    "8f000000 0000 000204000000 ff02000000000000000000000000000c02000000 ff0500000000000000000000000000fb"
)


def heard(message: bytes, **changes: Any) -> Heard:
    return listen(igmp.dissect, to_peer("igmp", message, **{**GROUP, **changes}))


def heard6(message: bytes) -> Heard:
    return heard(message, **GROUP6)


def groups(*texts: str) -> list[tuple[str, str, str]]:
    return [(MAC_TEXT, "multicast_group", text) for text in texts]


def record(kind: int, group: str, sources: int = 0) -> bytes:
    packed = ipaddress.ip_address(group).packed
    return struct.pack(">BBH", kind, 0, sources) + packed + bytes(len(packed) * sources)


def report(*records: bytes, count: int | None = None) -> bytes:
    number = len(records) if count is None else count
    return struct.pack(">BBHHH", 143 if records[0][4] == 0xFF else 0x22, 0, 0, 0, number) + b"".join(records)


@pytest.mark.parametrize(
    ("message", "where", "group", "evidence"),
    [
        (V1_REPORT, GROUP, SSDP, "IGMPv1 report"),
        (V2_REPORT, GROUP, SSDP, "IGMPv2 report"),
        (V3_REPORT, GROUP, SSDP, "IGMPv3 report"),
        (MLD1_REPORT, GROUP6, SSDP6, "MLDv1 report"),
        (MLD2_REPORT, GROUP6, SSDP6, "MLDv2 report"),
    ],
)
def test_golden_octets(message: bytes, where: dict[str, Any], group: str, evidence: str) -> None:
    first = next(igmp.dissect(to_peer("igmp", message, **where)))

    assert first[:6] == (MAC_TEXT, "multicast_group", group, "igmp", evidence, 85)


def test_all_records_of_a_report_count() -> None:
    assert heard(V3_REPORT) == Heard(groups(SSDP, "232.1.2.3"), True)
    assert heard6(MLD2_REPORT) == Heard(groups(SSDP6, "ff05::fb"), True)


@pytest.mark.parametrize(
    ("message", "where"),
    [
        (V1_REPORT, GROUP),
        (V2_REPORT, GROUP),
        (V3_REPORT, GROUP),
        (MLD1_REPORT, GROUP6),
        (MLD2_REPORT, GROUP6),
        (bytes.fromhex("1164ee9b00000000"), GROUP),
        (bytes.fromhex("1164ec1e000000000a7d0001c0a80101"), GROUP),
    ],
)
def test_every_prefix_says_a_part_and_nothing_else(message: bytes, where: dict[str, Any]) -> None:
    assert prefixes_say_a_part(igmp.dissect, to_peer("igmp", message, **where))


@pytest.mark.parametrize(
    ("message", "where", "evidence"),
    [
        (bytes.fromhex("1100eeff00000000"), GROUP, "IGMPv1 general query"),
        (bytes.fromhex("1164ee9b00000000"), GROUP, "IGMPv2 general query"),
        (bytes.fromhex("11640000effffffa"), GROUP, "IGMPv2 query for a group"),
        (bytes.fromhex("1164ec1e00000000027d0000"), GROUP, "IGMPv3 general query"),
        (bytes.fromhex("11640000effffffa0a7d0001c0a80101"), GROUP, "IGMPv3 query for a group"),
        (bytes.fromhex("8200000027100000") + bytes(16), GROUP6, "MLDv1 general query"),
        (bytes.fromhex("8200000027100000") + bytes(16) + bytes.fromhex("027d0000"), GROUP6, "MLDv2 general query"),
    ],
)
def test_who_asks_for_groups_is_the_querier(message: bytes, where: dict[str, Any], evidence: str) -> None:
    facts = [item[:6] for item in igmp.dissect(to_peer("igmp", message, **where))]

    assert facts == [(MAC_TEXT, "role", "multicast querier", "igmp", evidence, 85)]


@pytest.mark.parametrize(
    "group", [MDNS, "224.0.0.1", "224.0.0.255", "ff02::1", "ff02::1:ff00:1", "ff02::1:ffff:ffff"]
)  # fmt: skip
def test_groups_of_every_host_tell_nothing(group: str) -> None:
    message = report(record(4, group), record(4, SSDP6 if ":" in group else SSDP))
    frame = to_peer("igmp", message, **(GROUP6 if ":" in group else GROUP))

    assert listen(igmp.dissect, frame) == Heard(groups(SSDP6 if ":" in group else SSDP), True)


@pytest.mark.parametrize(
    ("kind", "sources", "member"),
    [(1, 0, False), (1, 1, True), (2, 0, True), (2, 3, True), (3, 0, False), (3, 1, True), (4, 0, True),
     (5, 1, True), (5, 0, False), (6, 1, False), (0, 0, False), (7, 1, False)],
)  # fmt: skip
def test_which_records_make_a_member(kind: int, sources: int, member: bool) -> None:
    """RFC 3376 section 4.2.12: INCLUDE of no source is to leave, BLOCK takes sources away, others are not known."""
    assert heard(report(record(kind, SSDP, sources))) == Heard(groups(SSDP) if member else [], True)


@pytest.mark.parametrize("message", [bytes.fromhex("170008f4effffffa"), bytes.fromhex("13000000"), b"\x30\0\0\0"])
def test_leaving_and_other_messages_say_nothing(message: bytes) -> None:
    assert heard(message) == Heard([], True)


def test_types_are_of_their_family() -> None:
    """143 is no IGMP, and 0x22 no MLD."""
    assert (heard(MLD2_REPORT), heard6(V3_REPORT)) == (Heard([], True), Heard([], True))


@pytest.mark.parametrize(
    ("message", "before"),
    [
        (b"", []),
        (bytes.fromhex("16000000c0a80101"), []),  # no group
        (report(record(4, SSDP), count=2), [SSDP]),  # a record less than it says
        (report(record(4, SSDP), record(1, "232.1.2.3", 2)[:-1]), [SSDP]),
        (report(record(4, SSDP), b"\x04\xff\0\0\xe8\x01\x02\x03"), [SSDP]),  # auxiliary data that are not there
        (report(record(4, SSDP), record(4, "10.0.0.1")), [SSDP]),
        (bytes.fromhex("1164ec1e00000000027d"), []),  # RFC 3376 section 7.1: of no version
        (bytes.fromhex("1164ec1e00000000027d0002c0a80101"), []),  # a source less than it says
    ],
)
def test_what_comes_before_the_damage_stands(message: bytes, before: list[str]) -> None:
    assert heard(message) == Heard(groups(*before), False)


def test_a_public_host_of_a_group_that_routers_forward_is_its_address() -> None:
    frame = to_peer("igmp", V2_REPORT, src_ip=bytes([203, 0, 113, 9]), dst_ip=bytes([239, 255, 255, 250]))

    assert listen(igmp.dissect, frame).facts == [("203.0.113.9", "multicast_group", SSDP)]


def test_few_groups_of_a_report_count_and_it_costs_little() -> None:
    records = [record(4, f"239.1.{number >> 8}.{number & 255}") for number in range(8000)]
    many, none = report(*records), report(*[record(6, SSDP)] * 8000)

    assert len(heard(many).facts) == igmp.MAX_GROUPS
    assert heard(none) == Heard([], True)
    assert cpu_s(lambda: (heard(many), heard(none))) < 0.05
