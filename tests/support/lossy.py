"""A bad link of our own between two network namespaces: real IP packets, lost, late and squeezed.

Two TUN devices, one in each namespace; what the kernel sends into one comes out of the other if the dice allow, after
its turn on the link and the way. So TCP itself has to cope: its retransmissions, its timeouts. Needs root and iproute2.
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

TUNSETIFF = 0x400454CA  # linux/if_tun.h
IFF_TUN = 0x0001
IFF_NO_PI = 0x1000
QUEUE_BYTES = 32 << 10  # before the link; what finds no room is lost, as in a router
MTU = 1_500


@dataclass(frozen=True)
class BadLink:
    """The namespaces at its ends and their addresses. `stop` the carrying with the `with` block of `lossy`."""

    near: str
    far: str
    near_ip: str = "10.177.0.1"
    far_ip: str = "10.177.0.2"

    def run_in(self, namespace: str) -> list[str]:
        """The beginning of a command line that runs in that namespace."""
        return ["ip", "netns", "exec", namespace]


class _Carrier(threading.Thread):
    """Carries packets between two descriptors, each direction on its own; counts what it carried and what it lost."""

    def __init__(self, ends: tuple[int, int], loss: float, one_way_s: float, bytes_per_s: float, seed: int) -> None:
        super().__init__(name="bad link", daemon=True)
        self.carried = self.lost = 0
        self._ends, self._loss, self._one_way_s, self._bytes_per_s = ends, loss, one_way_s, bytes_per_s
        self._dice = random.Random(seed)
        self._stopping = False

    def stop(self) -> None:
        self._stopping = True
        self.join(5.0)

    def run(self) -> None:
        under_way: list[tuple[float, int, int, bytes]] = []
        free_at = [0.0, 0.0]
        number = 0
        while not self._stopping:
            now = time.monotonic()
            while under_way and under_way[0][0] <= now:
                _, _, end, packet = heapq.heappop(under_way)
                os.write(self._ends[end], packet)
            wait = min(0.2, under_way[0][0] - now) if under_way else 0.2
            for end in select.select(self._ends, [], [], max(0.0, wait))[0]:
                side = self._ends.index(end)
                packet = os.read(end, MTU + 64)
                now = time.monotonic()
                queued = (free_at[side] - now) * self._bytes_per_s
                if self._dice.random() < self._loss or queued > QUEUE_BYTES:
                    self.lost += 1
                    continue
                self.carried += 1
                free_at[side] = max(free_at[side], now) + len(packet) / self._bytes_per_s
                number += 1
                heapq.heappush(under_way, (free_at[side] + self._one_way_s, number, 1 - side, packet))


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


def _tun(name: str) -> int:
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return fd


@contextlib.contextmanager
def lossy(*, loss: float, round_trip_s: float, bytes_per_s: float, seed: int = 1) -> Iterator[tuple[BadLink, _Carrier]]:
    """Make the link; everything is gone at the end of the block."""
    tag = f"{os.getpid() % 100_000}"
    link = BadLink(f"fw-bad-near-{tag}", f"fw-bad-far-{tag}")
    ends: list[int] = []
    carrier: _Carrier | None = None
    try:
        for namespace, address, peer in ((link.near, link.near_ip, link.far_ip), (link.far, link.far_ip, link.near_ip)):
            device = f"fwt{len(ends)}{tag}"
            _ip("netns", "add", namespace)
            ends.append(_tun(device))
            _ip("link", "set", device, "netns", namespace)
            _ip("-n", namespace, "link", "set", "lo", "up")
            _ip("-n", namespace, "address", "add", address, "peer", peer, "dev", device)
            _ip("-n", namespace, "link", "set", device, "up", "mtu", str(MTU))
        carrier = _Carrier((ends[0], ends[1]), loss, round_trip_s / 2, bytes_per_s, seed)
        carrier.start()
        yield link, carrier
    finally:
        if carrier is not None:
            carrier.stop()
        for fd in ends:
            os.close(fd)
        for namespace in (link.near, link.far):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)
