"""Live capture in network namespaces of the test's own: tags in place, nothing lost, trouble told in one line."""

from __future__ import annotations

import ctypes
import fcntl
import os
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pcapy
import pytest
from fieldwatch_ext.bpf import Program
from fieldwatch_ext.capture import Frame, HandleSource, RingSource, RingStats, Source
from fieldwatch_ext.errors import CaptureError
from support.net import Wire, require_namespaces, wire

pytestmark = pytest.mark.live

T = TypeVar("T")
DEADLINE_S = 20.0
MACS = bytes.fromhex("020000000001 020000000002")
QINQ = bytes.fromhex("88a80007 81000005")
TUNSETIFF = 0x400454CA
TUNSETLINK = 0x400454CD
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
CAP_NET_RAW = 13
LIBC = ctypes.CDLL(None, use_errno=True)


@pytest.fixture
def link() -> Iterator[Wire]:
    require_namespaces()
    with wire() as made:
        yield made


def in_thread(work: Callable[[], T]) -> T:
    """Run `work` in a thread that may lose its namespace or capabilities without the others noticing."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def inside(namespace: str, work: Callable[[], T]) -> T:
    """Run `work` in the namespace: sockets that it opens stay there."""

    def enter() -> T:
        fd = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
        try:
            if LIBC.setns(fd, 0) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(fd)
        return work()

    return in_thread(enter)


def sender(namespace: str, interface: str) -> socket.socket:
    def opened() -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        made.bind((interface, 0))
        return made

    return inside(namespace, opened)


def ip_in(namespace: str, *arguments: str) -> None:
    subprocess.run(["ip", "-n", namespace, *arguments], check=True, capture_output=True)


def receive(source: Source, count: int, capacity: int = 4096) -> list[Frame]:
    """Frames until there are `count`, the source ends, or the deadline passes."""
    frames: list[Frame] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(frames) < count and time.monotonic() < deadline:
        block = source.read_block(capacity)
        if block is None:
            break
        frames += block
    return frames


def wait_for(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.01)
    return met


def frame(tags: bytes = b"", number: int = 0, octets: int = 46) -> bytes:
    return MACS + tags + b"\x88\xb5" + number.to_bytes(4, "big") + bytes(octets - 4)


def test_tags_are_in_place(link: Wire) -> None:
    """No tag, one, two (802.1ad outside 802.1Q), priority bits, a tag on the shortest frame: as they were sent."""
    sent = [
        frame(),
        frame(b"\x81\x00\x00\x05"),
        frame(b"\x81\x00\xe0\x01"),
        frame(b"\x88\xa8\x00\x07"),
        frame(QINQ),
        frame(b"\x81\x00\x00\x00"),
        MACS + b"\x81\x00\x00\x05\x08\x00xy",
    ]
    started_ns = time.time_ns()
    with inside(link.near, lambda: RingSource(link.interface)) as source, sender(link.far, link.interface) as out:
        for octets in sent:
            out.send(octets)
        frames = receive(source, len(sent))
        stats = source.stats()

    assert [received.octets for received in frames] == sent
    assert [received.original for received in frames] == [len(octets) for octets in sent]
    assert {(received.linktype, received.interface) for received in frames} == {(1, 0)}
    assert all(started_ns - 10**9 < received.ts_ns < time.time_ns() + 10**9 for received in frames)
    assert (stats.packets, stats.drops) == (len(sent), 0)
    assert (source.frames, source.octets) == (len(sent), sum(map(len, sent)))


def test_every_length_arrives_whole(link: Wire) -> None:
    """Up to the longest frame that the interface takes."""
    lengths = [*range(60, 200), 1514, 9014, 65_535 + 14]
    with inside(link.near, lambda: RingSource(link.interface)) as source, sender(link.far, link.interface) as out:
        sent = [frame(number=length, octets=length - 14) for length in lengths]
        for octets in sent:
            out.send(octets)
        frames = receive(source, len(sent))

    assert [received.octets for received in frames] == sent


def test_nothing_is_lost_in_order_and_counted(link: Wire) -> None:
    """20,000 frames while the ring goes round several times, in blocks of ring and of caller that do not match."""
    count = 20_000
    with (
        inside(link.near, lambda: RingSource(link.interface, ring_bytes=1 << 20, block_timeout_ms=10)) as source,
        sender(link.far, link.interface) as out,
    ):
        received: list[Frame] = []
        for start in range(0, count, 500):
            for number in range(start, start + 500):
                out.send(frame(b"\x81\x00\x00\x05" if number % 2 else b"", number))
            received += receive(source, 500, capacity=97)
        stats = source.stats()

    sent = [frame(b"\x81\x00\x00\x05" if number % 2 else b"", number) for number in range(count)]
    assert [one.octets for one in received] == sent
    assert stats == RingStats(packets=count, drops=0, freezes=0)


def test_drops_are_counted(link: Wire) -> None:
    """A ring that nobody reads loses frames, and says how many: handed out + dropped = sent."""
    count = 5000
    with (
        inside(link.near, lambda: RingSource(link.interface, ring_bytes=0)) as source,
        sender(link.far, link.interface) as out,
    ):
        for number in range(count):
            out.send(frame(number=number, octets=200))
        first = source.stats()
        received = receive(source, count - first.drops)
        last = source.stats()

    assert (first.packets, first.drops > 0, first.freezes > 0) == (count, True, True)
    assert len(received) == count - first.drops
    assert last == first
    assert source.stats() == first


def test_own_frames_are_seen(link: Wire) -> None:
    """What this host sends through the interface is captured as well, tags included."""
    sent = [frame(), frame(QINQ)]
    with inside(link.near, lambda: RingSource(link.interface)) as source, sender(link.near, link.interface) as out:
        for octets in sent:
            out.send(octets)
        frames = receive(source, 2)

    assert [received.octets for received in frames] == sent


def test_filter_sees_the_tag(link: Wire) -> None:
    """A `vlan` term holds live as it does for a file; rejected frames are counted."""
    program = Program(pcapy.compile(1, 65535, "vlan 5 and ether proto 0x88b5", 1, 0xFFFFFFFF).get_bpf())
    wanted, last = frame(b"\x81\x00\x00\x05", 1), frame(b"\x81\x00\x00\x05", 2)
    with (
        inside(link.near, lambda: RingSource(link.interface, filter=program)) as source,
        sender(link.far, link.interface) as out,
    ):
        for octets in (wanted, frame(), frame(b"\x81\x00\x00\x06"), frame(QINQ), last):
            out.send(octets)
        frames = receive(source, 2)

    assert [received.octets for received in frames] == [wanted, last]
    assert (source.frames, source.filtered) == (2, 3)


def test_silent_link_ticks(link: Wire) -> None:
    """Without frames a call returns after poll_ms, empty-handed."""
    with inside(link.near, lambda: RingSource(link.interface, poll_ms=30)) as source:
        started = time.monotonic()
        block = source.read_block()
        took_s = time.monotonic() - started

    assert block == []
    assert 0.02 < took_s < 5
    assert source.read_block() is None


def test_loopback_shows_each_frame_once(link: Wire) -> None:
    """On loopback the kernel shows every frame twice, going out and coming in."""
    with inside(link.near, lambda: RingSource("lo")) as source:
        with inside(link.near, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as out:
            for number in range(5):
                out.sendto(bytes([number]), ("127.0.0.1", 9))
        # Each datagram is answered by an ICMP message (nobody listens), so ten frames pass in all.
        frames = receive(source, 10)
        frames += source.read_block() or []

    datagrams = [one.octets[42:] for one in frames if one.octets[23] == socket.IPPROTO_UDP]
    assert datagrams == [bytes([number]) for number in range(5)]


@contextmanager
def tun_in(namespace: str, name: str, *, hardware: int | None = None) -> Iterator[int]:
    """A tun device that is up; what is written to the descriptor arrives on it. `hardware` = ARPHRD_ value to claim."""
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("no /dev/net/tun on this system")

    def make() -> int:
        fd = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
        if hardware is not None:
            fcntl.ioctl(fd, TUNSETLINK, hardware)
        return fd

    fd = inside(namespace, make)
    try:
        ip_in(namespace, "link", "set", name, "up")
        yield fd
    finally:
        os.close(fd)


def test_tun_gives_bare_ip(link: Wire) -> None:
    """An interface without a link layer has linktype RAW."""
    datagram = bytes.fromhex("45000020000000004011f6c8 0a090001 0a090002 0400000900 0c0000 00000000")
    with tun_in(link.near, "fwtun0") as tun, inside(link.near, lambda: RingSource("fwtun0")) as source:
        os.write(tun, datagram)
        frames = receive(source, 1)

    assert source.linktype == 101
    assert [(received.octets, received.linktype) for received in frames] == [(datagram, 101)]


@pytest.mark.parametrize(("hardware", "kind"), [(512, "PPP"), (513, "unknown")])
def test_unsupported_kind_of_interface(link: Wire, hardware: int, kind: str) -> None:
    """An interface whose frames start with something else is refused, with what can be captured instead."""
    with tun_in(link.near, "fwtun0", hardware=hardware), pytest.raises(CaptureError) as caught:
        inside(link.near, lambda: RingSource("fwtun0"))

    assert str(caught.value) == (
        f"interface fwtun0 is of a kind that is not supported ({kind}, hardware type {hardware}): Ethernet,"
        " loopback and bare IP (tun) interfaces are; name the one it runs over"
    )


def test_interface_down_and_up_is_survived(link: Wire) -> None:
    """While it is down the source is silent; when it is up again the frames come again."""
    with (
        inside(link.near, lambda: RingSource(link.interface, poll_ms=20)) as source,
        sender(link.far, link.interface) as out,
    ):
        out.send(frame(number=1))
        before = receive(source, 1)
        ip_in(link.near, "link", "set", link.interface, "down")
        silent = [source.read_block() for _ in range(5)]
        ip_in(link.near, "link", "set", link.interface, "up")
        after: list[Frame] = []

        def arrived() -> bool:
            out.send(frame(number=2))
            after.extend(source.read_block() or [])
            return bool(after)

        came_back = wait_for(arrived)

    assert [one.octets for one in before] == [frame(number=1)]
    assert silent == [[]] * 5
    assert came_back
    assert after[0].octets == frame(number=2)
    assert source.problem is None


@pytest.mark.parametrize("block_timeout_ms", [1, 500])
def test_interface_gone_ends_the_source(link: Wire, block_timeout_ms: int) -> None:
    """What was received before comes first, also what the kernel still holds; then one line says what happened."""
    with (
        inside(link.near, lambda: RingSource(link.interface, block_timeout_ms=block_timeout_ms, poll_ms=20)) as source,
        sender(link.far, link.interface) as out,
    ):
        out.send(frame())
        assert wait_for(lambda: source.stats().packets == 1)
        ip_in(link.near, "link", "del", link.interface)
        frames = receive(source, 2)
        ended = source.read_block()
        stats = source.stats()

    assert [one.octets for one in frames] == [frame()]
    assert ended is None
    assert source.problem == f"interface {link.interface} has gone"
    assert stats.drops == 0


def test_handle_of_a_live_interface(link: Wire) -> None:
    """A pcapy-ng handle gives the same frames; silence is an empty block and not the end."""
    sent = [frame(b"\x81\x00\x00\x05" if number % 2 else b"", number) for number in range(100)]
    handle = inside(link.near, lambda: pcapy.open_live(link.interface, 262144, 1, 50))
    source = HandleSource(handle)
    with source, sender(link.far, link.interface) as out:
        silent = source.read_block()
        for octets in sent:
            out.send(octets)
        frames = receive(source, len(sent))
    handle.close()

    assert silent == []
    assert [one.octets for one in frames] == sent
    assert (source.linktype, source.problem, source.read_block()) == (1, None, None)


def test_close_may_be_repeated(link: Wire) -> None:
    """After close() the source has ended and keeps its statistics."""
    source = inside(link.near, lambda: RingSource(link.interface))
    with sender(link.far, link.interface) as out:
        out.send(frame())
        frames = receive(source, 1)
    source.close()
    source.close()

    assert len(frames) == 1
    assert source.read_block() is None
    assert source.stats() == RingStats(packets=1, drops=0, freezes=0)
    assert source.problem is None


@pytest.mark.parametrize("name", ["nope0", "", "a-name-that-is-far-too-long", "a\0b"])
def test_no_such_interface(link: Wire, name: str) -> None:
    """The line names the interfaces that there are."""
    with pytest.raises(CaptureError) as caught:
        inside(link.near, lambda: RingSource(name))

    assert str(caught.value) == f"no interface {name!r}; there are: lo, {link.interface}"


def drop_net_raw() -> None:
    """Take CAP_NET_RAW from the effective set of this thread (capset(2), version 3)."""
    header = struct.pack("Ii", 0x20080522, 0)
    sets = ctypes.create_string_buffer(24)
    if LIBC.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    values = list(struct.unpack("6I", sets.raw))
    values[0] &= ~(1 << CAP_NET_RAW)
    if LIBC.capset(header, struct.pack("6I", *values)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def test_no_permission(link: Wire) -> None:
    """The line names each way to get it."""

    def refused() -> None:
        drop_net_raw()
        RingSource("lo")

    with pytest.raises(CaptureError) as caught:
        in_thread(refused)

    assert str(caught.value) == (
        "no permission to capture on lo: run as root, or as a service whose unit has AmbientCapabilities=CAP_NET_RAW"
    )
