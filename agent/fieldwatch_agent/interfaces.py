"""What libpcap can capture on this machine, asked in a short-lived child process.

``python -m fieldwatch_agent.interfaces`` prints a JSON list; the caller never imports pcapy-ng. A device is opened for
a moment, without promiscuous mode, to learn whether that is allowed, and which linktype its frames have. What is no
network interface is listed and not opened: to open a netfilter queue would take packets away from whom they are for.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict, dataclass

from fieldwatch_agent import wire

TIMEOUT_S = 20
ANY = "any"  # all interfaces at once, as cooked frames
PROBE_SNAPLEN, PROBE_TIMEOUT_MS = 64, 10


@dataclass(frozen=True)
class Device:
    """`network` and `netmask` are IPv4 text, empty where there is none; `linktype` is libpcap's DLT_ value.

    `problem`: why it cannot be opened, in libpcap's words; empty = it may be captured.
    """

    name: str
    network: str = ""
    netmask: str = ""
    linktype: int | None = None
    problem: str = ""


def list_devices() -> list[Device]:
    """In libpcap's order, the best guess first. Raises OSError with one line where the child fails."""
    command = [sys.executable, "-m", "fieldwatch_agent.interfaces"]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise OSError(f"libpcap did not list the interfaces within {TIMEOUT_S} s") from None
    if child.returncode != 0:
        complaint = child.stderr.strip().splitlines()
        raise OSError(f"libpcap cannot list the interfaces: {complaint[-1] if complaint else 'no reason given'}")
    return [Device(**found) for found in json.loads(child.stdout)]


def is_network(name: str) -> bool:
    """Whether what libpcap lists is a network interface; it lists queues of netfilter and buses as well."""
    return name == ANY or wire.exists(name)


def main() -> int:
    """The child: devices to standard output."""
    import pcapy

    try:
        names = pcapy.findalldevs()
    except pcapy.PcapError as problem:
        print(problem, file=sys.stderr)
        return 2
    found = []
    for name in names:
        if not is_network(name):
            found.append(Device(name, problem="not a network interface"))
            continue
        try:
            handle = pcapy.open_live(name, PROBE_SNAPLEN, 0, PROBE_TIMEOUT_MS)
        except pcapy.PcapError as problem:
            found.append(Device(name, problem=" ".join(str(problem).split()) or "no reason given"))
            continue
        network, netmask = (text if text != "0.0.0.0" else "" for text in (handle.getnet(), handle.getmask()))  # noqa: S104
        found.append(Device(name, network, netmask, handle.datalink()))
        handle.close()
    json.dump([asdict(device) for device in found], sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
