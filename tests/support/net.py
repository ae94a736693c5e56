"""Two network namespaces and a wire between them: a real interface on which nothing else speaks.

Both ends carry no address, ARP is off, IPv6 is disabled and the MTU is 65,535, so that what the test sends is all there
is. Loopback is up in each namespace. Needs root and iproute2.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Wire:
    """`near` is where the agent listens, `far` where the sender stands."""

    near: str
    far: str
    interface: str = "wire0"

    def run_in(self, namespace: str, *command: str) -> list[str]:
        """The command line that runs `command` inside one of the two namespaces."""
        return ["ip", "netns", "exec", namespace, *command]

    def counters(self) -> tuple[int, int]:
        """(received, sent) frames of the near end, as the interface counts them."""
        base = f"/sys/class/net/{self.interface}/statistics"
        shown = _ip("netns", "exec", self.near, "cat", f"{base}/rx_packets", f"{base}/tx_packets").split()
        return int(shown[0]), int(shown[1])


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@functools.cache
def _refused() -> str:
    """Why no command can run in a namespace here (a container without the right, a bare chroot), or nothing."""
    name = f"fw-probe-{os.getpid()}"
    try:
        for command in (["netns", "add", name], ["netns", "exec", name, "true"]):
            done = subprocess.run(["ip", *command], check=False, capture_output=True, text=True)
            if done.returncode:
                return f"network namespaces are refused here: {done.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
    return ""


def require_namespaces(*, ethtool: bool = False) -> None:
    """Skip, with the reason, where namespaces cannot be made; in CI that is a failure instead."""
    reason = ""
    if os.geteuid() != 0:
        reason = "needs root for network namespaces"
    elif shutil.which("ip") is None:
        reason = "needs iproute2 (apt-get install iproute2)"
    elif ethtool and shutil.which("ethtool") is None:
        reason = "needs ethtool (apt-get install ethtool)"
    else:
        reason = _refused()
    if reason:
        if os.environ.get("FIELDWATCH_CI"):
            pytest.fail(reason)
        pytest.skip(reason)


@contextlib.contextmanager
def wire() -> Iterator[Wire]:
    """Make the namespaces and the veth pair; take them away at the end."""
    number = next(_numbers)
    near, far = (f"fw-{end}-{os.getpid()}-{number}" for end in ("near", "far"))
    made = Wire(near, far)
    try:
        for namespace in (near, far):
            _ip("netns", "add", namespace)
            for scope in ("all", "default"):
                setting = f"/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"
                _ip("netns", "exec", namespace, "sh", "-c", f"test ! -e {setting} || echo 1 > {setting}")
            _ip("-n", namespace, "link", "set", "lo", "up")
        _ip(
            "-n",
            near,
            "link",
            "add",
            made.interface,
            "type",
            "veth",
            "peer",
            "name",
            made.interface,
            "netns",
            far,
        )
        for namespace in (near, far):
            _ip("-n", namespace, "link", "set", made.interface, "mtu", "65535", "arp", "off", "up")
        yield made
    finally:
        for namespace in (near, far):
            subprocess.run(["ip", "netns", "del", namespace], check=False, capture_output=True)
