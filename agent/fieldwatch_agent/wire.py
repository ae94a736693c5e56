"""An interface as the kernel counts it: its own counters, and where they stood when a socket began to listen."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from fieldwatch_agent.descriptors import lacks_descriptors

NET = Path("/sys/class/net")
ARPHRD_ETHER = 1
ARPHRD_LOOPBACK = 772
IFF_UP = 1
# Documentation/ABI/testing/sysfs-class-net-statistics of the kernel: what was received and given to nobody.
NIC_LOSSES = ("rx_dropped", "rx_missed_errors", "rx_fifo_errors", "rx_over_errors")
TRIES = 40
AGREE = 3  # readings that must give the same answer
QUIET_S = 0.0005  # no frame may pass for so long within a reading


def _read(interface: str, name: str, base: int = 10) -> int:
    return int((NET / interface / name).read_text("ascii"), base)


def is_up(interface: str) -> bool:
    """Where no file can be opened to find out, it counts as up: a socket that is open goes on."""
    try:
        return bool(_read(interface, "flags", 16) & IFF_UP)
    except (OSError, ValueError) as problem:
        return lacks_descriptors(problem)


def exists(interface: str) -> bool:
    return (NET / interface).exists()


def ifindex(interface: str) -> int:
    """0 where there is no such interface."""
    try:
        return _read(interface, "ifindex")
    except (OSError, ValueError):
        return 0


def is_loopback(interface: str) -> bool:
    try:
        return _read(interface, "type") == ARPHRD_LOOPBACK
    except (OSError, ValueError):
        return False


def ethernet_interfaces() -> list[str]:
    """Names of the Ethernet interfaces that are up."""
    names = []
    for name in sorted(os.listdir(NET)):
        try:
            if _read(name, "type") == ARPHRD_ETHER and is_up(name):
                names.append(name)
        except (OSError, ValueError):
            continue
    return names


def passed(interface: str) -> int | None:
    """Frames that the interface has received and sent; None where it has gone."""
    try:
        return _read(interface, "statistics/rx_packets") + _read(interface, "statistics/tx_packets")
    except (OSError, ValueError):
        return None


def nic_losses(interface: str) -> dict[str, int]:
    """The interface's counters of frames that it lost before any socket saw them; those that it does not have are 0."""
    losses = {}
    for name in NIC_LOSSES:
        try:
            losses[name] = _read(interface, f"statistics/{name}")
        except (OSError, ValueError):
            losses[name] = 0
    return losses


def start_position(interface: str, socket_packets: Callable[[], int]) -> int | None:
    """The interface's counter at the moment at which the socket began to listen: W - P, read while no frame passes.

    A frame that passes between the two readings is in one of them only; a reading counts when the interface's counter
    stands still around it, and the answer when several readings agree. None where the interface has gone, or frames
    pass without a pause and no two readings agree.
    """
    seen: Counter[int] = Counter()
    for attempt in range(TRIES):
        before = passed(interface)
        time.sleep(QUIET_S if attempt < TRIES // 2 else 0)
        packets = socket_packets()
        after = passed(interface)
        if before is None or after is None:
            return None
        if before == after:
            seen[after - packets] += 1
            if seen[after - packets] == AGREE:
                return after - packets
    best = seen.most_common(1)
    return best[0][0] if best and best[0][1] > 1 else None
