"""Several rings beside each other share an interface's frames: each comes once, and a flow stays with one of them."""

from __future__ import annotations

import struct
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fieldwatch_ext.capture import RingSource
from support.frames import ethernet, fragment6, ip, ipv4, ipv4_fragments, ipv6, tcp, udp
from support.net import Wire, require_namespaces, wire
from support.sender import arp_frame
from unit.capture.test_capture_ring import frame, inside, ip_in, receive, sender, wait_for

RINGS = 3
FLOWS = 60
PART = 200  # frames that a ring has to get
SOL_PACKET, PACKET_VNET_HDR = 263, 15
# struct virtio_net_hdr: flags, kind (1 = TCP over IPv4), octets of headers, of a segment; where the checksum stands.
NOT_SEGMENTED = bytes(10)
SEGMENTED = struct.pack("<BBHHHH", 1, 1, 54, 1448, 34, 16)

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def link() -> Iterator[Wire]:
    require_namespaces()
    with wire() as made:
        yield made


@pytest.fixture
def rings(link: Wire) -> Iterator[list[RingSource]]:
    with ExitStack() as stack:
        first = stack.enter_context(inside(link.near, lambda: RingSource(link.interface)))
        beside = [
            stack.enter_context(inside(link.near, lambda: RingSource(link.interface, beside=first)))
            for _ in range(1, RINGS)
        ]
        yield [first, *beside]


def places(link: Wire, rings: list[RingSource], frames: list[bytes]) -> list[int]:
    """In which ring each frame arrived; every frame in exactly one."""
    with sender(link.far, link.interface) as out:
        for octets in frames:
            out.send(octets)
    assert wait_for(lambda: sum(ring.stats().packets for ring in rings) >= len(frames))
    found: defaultdict[bytes, list[int]] = defaultdict(list)
    for place, ring in enumerate(rings):
        for one in receive(ring, ring.stats().packets):
            found[one.octets].append(place)
    assert [len(found[octets]) for octets in frames] == [1] * len(frames)
    return [found[octets][0] for octets in frames]


def both_ways(number: int, version: int, transport: Callable[..., bytes], vlans: list[int]) -> Iterator[bytes]:
    """A frame of a flow, and one of its replies."""
    ends = ("10.0.0.1", "10.9.0.2") if version == 4 else ("fd00::1", "fd00:9::2")
    packet = ipv4 if version == 4 else ipv6
    port = 20_000 + number
    yield ethernet(packet(*ends, transport(port, 443)), vlans=vlans)
    yield ethernet(packet(*reversed(ends), transport(443, port)), vlans=vlans)


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("vlans", [[], [7], [7, 9]], ids=["untagged", "tag", "two tags"])
@pytest.mark.parametrize("transport", [udp, tcp])
def test_a_flow_stays_with_one_ring(
    link: Wire, rings: list[RingSource], version: int, vlans: list[int], transport: Callable[..., bytes]
) -> None:
    """Both directions, over UDP and TCP, with tags or without; the flows are spread over all rings."""
    frames = [octets for number in range(FLOWS) for octets in both_ways(number, version, transport, vlans)]

    found = places(link, rings, frames)

    assert found[0::2] == found[1::2]
    assert set(found) == set(range(RINGS))


@pytest.mark.parametrize("version", [4, 6])
def test_fragments_of_a_datagram_stay_together(link: Wire, rings: list[RingSource], version: int) -> None:
    """As they were on the wire, none put together; in the ring of their addresses, whatever the ports."""
    sources = [f"10.0.0.{host}" if version == 4 else f"fd00::{host}" for host in range(1, 40)]
    frames = [octets for source in sources for octets in fragments(source, version)]

    found = places(link, rings, frames)

    assert found[0::3] == found[1::3] == found[2::3]
    assert set(found) == set(range(RINGS))


def fragments(source: str, version: int) -> list[bytes]:
    """The three fragments of a datagram, as frames."""
    payload = udp(1000, 53, bytes(range(200)) * 10)
    if version == 4:
        return [ethernet(one) for one in ipv4_fragments(source, "10.9.0.2", payload, mtu=900)]
    whole = payload.sealed(ip(source), ip("fd00:9::2"))
    return [
        ethernet(ipv6(source, "fd00:9::2", whole[start : start + 800], protocol=17, extensions=[(44, header)]))
        for start in range(0, len(whole), 800)
        for header in [fragment6(7, start, more=start + 800 < len(whole))]
    ]


def test_frames_without_a_flow_come_once(link: Wire, rings: list[RingSource]) -> None:
    """ARP, LLDP and ethertypes that nobody knows: each in one ring."""
    frames = [frame(number=number) for number in range(20)]
    frames += [arp_frame(host) for host in range(20)]

    assert len(places(link, rings, frames)) == 40


def test_a_ring_that_joins_amid_traffic_repeats_nothing(link: Wire) -> None:
    """While frames flow, rings are opened beside the first: none comes twice, what it misses is in no count."""
    stop = threading.Event()
    sent = most_missed = 0

    def send() -> None:
        nonlocal sent
        with sender(link.far, link.interface) as out:
            while not stop.is_set():
                for _ in range(20):
                    out.send(ethernet(ipv4("10.0.0.1", "10.0.0.2", udp(sent & 0x3FFF, 53, sent.to_bytes(4)))))
                    sent += 1
                time.sleep(0.001)

    with ExitStack() as stack:
        first = stack.enter_context(inside(link.near, lambda: RingSource(link.interface, ring_bytes=64 << 20)))
        rings = [first]
        thread = threading.Thread(target=send)
        thread.start()
        try:
            for _ in range(RINGS):
                assert wait_for(lambda: rings[-1].stats().packets > PART)
                begun = sent
                rings.append(stack.enter_context(inside(link.near, lambda: RingSource(link.interface, beside=first))))
                most_missed += sent - begun + 1  # and the one that was on its way
            assert wait_for(lambda: rings[-1].stats().packets > PART)
        finally:
            stop.set()
            thread.join()
        passed = [ring.stats().packets for ring in rings]
        received = [receive(ring, count) for ring, count in zip(rings, passed, strict=True)]

    came = Counter(one.octets for frames in received for one in frames)
    assert [len(frames) for frames in received] == passed
    assert max(came.values()) == 1
    assert sent - most_missed <= len(came) <= sent  # a ring misses its share while its memory is made


def test_giant_frames_are_counted(link: Wire) -> None:
    """A frame longer than the MTU (as it is now) and two tags: the sender left it to the hardware to cut it."""
    plain = [frame(octets=1500), frame(b"\x81\x00\x00\x05", octets=1500)]
    giant = ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(1, 2, payload=bytes(5000))))
    ip_in(link.near, "link", "set", link.interface, "mtu", "1500")
    try:
        with inside(link.near, lambda: RingSource(link.interface)) as ring, sender(link.far, link.interface) as out:
            out.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
            for octets in plain:
                out.send(NOT_SEGMENTED + octets)
            out.send(SEGMENTED + giant)
            received = receive(ring, 3)
            before = ring.giants
            ip_in(link.near, "link", "set", link.interface, "mtu", "9000")
            ring.stats()
            out.send(SEGMENTED + giant)
            received += receive(ring, 1)
    finally:
        ip_in(link.near, "link", "set", link.interface, "mtu", "65535")

    assert [one.octets for one in received] == [*plain, giant, giant]
    assert (before, ring.giants) == (1, 1)
