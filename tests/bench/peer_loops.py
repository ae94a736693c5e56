"""One pass over a capture by a Python library, in a process of its own: ``python peer_loops.py scapy FILE``.

Run by `peers.py` in the environment of packaging/requirements-bench.txt: imports nothing of Fieldwatch.
"""

from __future__ import annotations

import sys
from typing import Any


def dpkt_flows(path: str) -> int:
    import dpkt

    flows: dict[Any, list[int]] = {}
    with open(path, "rb") as stream:
        for _, octets in dpkt.pcap.UniversalReader(stream):
            try:
                packet = dpkt.ethernet.Ethernet(octets).data
                if isinstance(packet, dpkt.ip.IP | dpkt.ip6.IP6):
                    ports = (getattr(packet.data, "sport", 0), getattr(packet.data, "dport", 0))
                    _count(flows, (packet.src, packet.dst, *ports, packet.p), len(octets))
            except (dpkt.Error, AttributeError):
                continue
    return len(flows)


def scapy_flows(path: str) -> int:
    from scapy.layers.inet import IP, TCP, UDP
    from scapy.layers.inet6 import IPv6
    from scapy.utils import PcapReader

    flows: dict[Any, list[int]] = {}
    with PcapReader(path) as reader:
        for packet in reader:
            ip = packet.getlayer(IP) or packet.getlayer(IPv6)
            if ip is not None:
                transport = ip.getlayer(TCP) or ip.getlayer(UDP)
                ports = (transport.sport, transport.dport) if transport is not None else (0, 0)
                _count(flows, (ip.src, ip.dst, *ports), len(packet))
    return len(flows)


def nfstream_flows(path: str) -> int:
    from nfstream import NFStreamer

    return sum(1 for _ in NFStreamer(source=path, n_dissections=0, statistical_analysis=False, n_meters=1))


def _count(flows: dict[Any, list[int]], key: Any, octets: int) -> None:
    totals = flows.setdefault(key, [0, 0])
    totals[0] += 1
    totals[1] += octets


LOOPS = {"dpkt": dpkt_flows, "scapy": scapy_flows, "nfstream": nfstream_flows}

if __name__ == "__main__":  # nfstream starts processes that import this file
    print(LOOPS[sys.argv[1]](sys.argv[2]))
