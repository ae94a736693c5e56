"""Sightings, the ring for dissectors, the observed count, stages."""

from __future__ import annotations

from array import array

import pytest
from fieldwatch_ext import engine as kernel
from fieldwatch_ext.capture import MemorySource
from fieldwatch_ext.engine import Engine
from fieldwatch_proto.schema import Kind, SightingSource
from support.engine_compare import drain, rows_of, run
from support.frames import BROADCAST, MAC_A, MAC_B, arp, ethernet, ethernet_802_3, ip, ipv4, lldp, mac, snap, udp
from support.traffic import ETHERNET_FRAMES

FRAME = ethernet(ipv4("10.0.0.1", "10.0.0.2", udp(5, 6)))


def taken(engine: Engine) -> list[tuple[int, int, int, int]]:
    """(source, first, last, frames) of what was touched since the last call."""
    columns = engine.take_sightings()
    rows = rows_of(Kind.SIGHTING, columns.columns, columns.count)
    return sorted((row["source"], row["first_ns"], row["last_ns"], row["frames"]) for row in rows)


def test_rows_hold_what_came_since_the_last_take() -> None:
    """Times and frames of a row are those since the rows were last taken; untouched sightings give none."""
    engine = Engine()
    engine.process(MemorySource([(10, FRAME), (30, FRAME), (20, FRAME)]))
    first = taken(engine)
    nothing = taken(engine)
    engine.process(MemorySource([(40, FRAME)]))

    assert first == [(SightingSource.ETH, 10, 30, 3), (SightingSource.IP, 10, 30, 3)]
    assert nothing == []
    assert taken(engine) == [(SightingSource.ETH, 40, 40, 1), (SightingSource.IP, 40, 40, 1)]


def test_a_full_table_loses_no_frame() -> None:
    """With 4 entries and thousands of senders every sighting is still given out, evicted ones are counted."""
    frames = []
    for number in range(3000):
        sender = f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}"
        frames.append((number, ethernet(ipv4(f"10.1.{number >> 8}.{number & 255}", "10.0.0.2", udp(5, 6)), src=sender)))

    result = run([(ts_ns, octets, len(octets)) for ts_ns, octets in frames], max_sightings=4, block=64)

    assert len(result.sightings) == 6000
    assert sum(row[2] for row in result.sightings.values()) == 6000
    assert (result.counters.sightings, result.counters.sightings_evicted) == (4, 5996)


def test_a_flow_remembers_its_sightings_truly() -> None:
    """When a MAC changes in the middle of a flow (a takeover), each MAC keeps its own frames."""
    other = ethernet(ipv4("10.0.0.1", "10.0.0.2", udp(5, 6)), src=MAC_B)
    result = run([(1, FRAME, 60), (2, other, 60), (3, other, 60)])

    assert {(key[1], key[3]): row[2] for key, row in result.sightings.items()} == {
        (mac(MAC_A), SightingSource.ETH): 1,
        (mac(MAC_A), SightingSource.IP): 1,
        (mac(MAC_B), SightingSource.ETH): 2,
        (mac(MAC_B), SightingSource.IP): 2,
    }


def test_slow_frames_as_dissectors_get_them() -> None:
    """Number, addresses, ports and payload of a DHCP request, and an LLDPDU without IP."""
    dhcp = ethernet(ipv4("10.0.0.1", "255.255.255.255", udp(68, 67, b"\x01discover")), dst=BROADCAST, vlans=[5])
    pdu = lldp((1, b"\x04x"))
    cdp = ethernet_802_3(snap(0x00000C, 0x2000, b"\x02\xb4cdp"), dst="01:00:0c:cc:cc:cc")
    frames = [FRAME, dhcp, ethernet(pdu, ethertype=0x88CC), cdp]

    slow = run([(at, octets, len(octets)) for at, octets in enumerate(frames)]).slow

    assert slow == [
        (2, 1, "dhcp", mac(MAC_A), mac(BROADCAST), 0x1005, ip("10.0.0.1"), b"\xff" * 4, 68, 67, b"\x01discover"),
        (3, 2, "lldp", mac(MAC_A), mac(MAC_B), 0, b"", b"", 0, 0, pdu),
        (4, 3, "cdp", mac(MAC_A), mac("01:00:0c:cc:cc:cc"), 0, b"", b"", 0, 0, b"\x02\xb4cdp"),
    ]


def test_every_protocol_of_the_ring() -> None:
    """Ports on either side: what a dissector wants is known by its well-known port. A query tells nothing."""
    names = [row.protocol for row in run([(1, octets, len(octets)) for octets in ETHERNET_FRAMES["slow"]]).slow]
    netbios = [row.protocol for row in run([(1, octets, len(octets)) for octets in ETHERNET_FRAMES["netbios"]]).slow]

    assert names == ["dhcp", "dhcpv6", "mdns", "llmnr", "ssdp"]
    assert netbios == ["nbns", "nbds", "nbns", "nbds"]


def test_the_ring_loses_nothing_when_it_is_drained() -> None:
    """Ten times the ring's octets pass through it, in order, as long as the frames are taken when it asks."""
    answers = [n.to_bytes(2, "big") + b"\x84\0\0\0\0\1" + bytes(1200) for n in range(600)]
    frames = [
        (n, ethernet(ipv4("10.0.0.1", "224.0.0.251", udp(5353, 5353, answer)))) for n, answer in enumerate(answers)
    ]

    result = drain(Engine(slow_bytes=1 << 16), MemorySource(frames))

    assert [row.payload for row in result.slow] == answers
    assert (result.counters.slow_frames, result.counters.slow_dropped) == (600, 0)


def test_observed_is_written_before_frames_are_processed() -> None:
    """The count lands in the given memory, and goes on from what stands there."""
    page = bytearray((41).to_bytes(8, "little"))
    engine = Engine(observed=memoryview(page))
    engine.process(MemorySource([(1, FRAME)] * 10, block=3), blocks=2)

    assert int.from_bytes(page, "little") == 41 + 6
    assert engine.counters().frames == 6


@pytest.mark.parametrize(
    ("stage", "decoded", "in_flows", "slow"),
    [
        (kernel.STAGE_READ, 0, 0, 0),
        (kernel.STAGE_DECODE, 2, 0, 0),
        (kernel.STAGE_FLOWS, 2, 2, 0),
        (kernel.STAGE_ALL, 2, 2, 1),
    ],
)
def test_stages(stage: int, decoded: int, in_flows: int, slow: int) -> None:
    """Each stage does what it says and no more."""
    result = run([(1, octets, len(octets)) for octets in (FRAME, ETHERNET_FRAMES["slow"][0])], stage=stage)

    counters = result.counters
    assert (counters.frames, counters.decoded, counters.in_flows, counters.slow_frames) == (2, decoded, in_flows, slow)


def test_newest_and_columns_without_frames() -> None:
    """A fresh engine gives empty columns of the same names."""
    engine = Engine()
    empty = engine.take_flows()

    assert (engine.newest_ns, empty.count, set(empty.columns.values())) == (0, 0, {b""})
    assert array("Q", engine.take_sightings().columns["frames"]).tolist() == []
    assert engine.tunnels == [""]


def test_arp_by_snap_and_vlan() -> None:
    """ARP binds wherever it stands, with the VLAN that it was seen in."""
    request = arp(1, MAC_A, "10.0.0.1", "00:00:00:00:00:00", "10.0.0.2")
    frames = [ethernet_802_3(snap(0, 0x0806, request)), ethernet(request, ethertype=0x0806, vlans=[9])]

    result = run([(1, octets, len(octets)) for octets in frames])

    assert {key[0] for key in result.sightings if key[3] == SightingSource.ARP} == {(), (9,)}
