"""Flow records of a made-up site, sealed as an agent seals them: what the collector is fed with by `ingest.py`.

A site of `HOSTS` clients behind one router talks to a resolver, to a file server, and to `SERVERS` of the Internet, few
of which are popular. Times are random to the nanosecond, and so is what a wire makes random: ephemeral ports,
octets, gaps and round trips. Records stand in the order in which flows end, as the flow table gives them. What does not
compress here does not compress on a wire; a seed gives the same octets again.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from fieldwatch_proto.columns import Sealed, seal
from fieldwatch_proto.records import records_of
from fieldwatch_proto.schema import EndReason, FlowState, Kind, ip_value, vlan_stack

HOSTS, SERVERS = 300, 4_000
FLOWS_A_SECOND = 150.0
START_NS = 1_700_000_000_000_000_000
ROUTER_MAC = bytes.fromhex("001b54aa0001")
RESOLVER, FILES = bytes([10, 20, 0, 53]), bytes([10, 20, 0, 5])
SYN_FIN_PUSH_ACK, RESET_TOO = 0x1B, 0x1F
# (share, application, protocol, port, whether to the Internet, median octets there and back, median milliseconds)
TALKS = (
    (0.42, "https", 6, 443, True, 2_600, 9_000, 900),
    (0.10, "quic", 17, 443, True, 4_000, 30_000, 4_000),
    (0.27, "dns", 17, 53, False, 84, 180, 12),
    (0.07, "http", 6, 80, True, 700, 2_500, 120),
    (0.06, "smb", 6, 445, False, 9_000, 16_000, 2_500),
    (0.04, "ntp", 17, 123, True, 90, 90, 18),
    (0.02, "", 6, 22, False, 5_000, 9_000, 20_000),
    (0.02, "", 1, 0, True, 98, 98, 20),
)


def flow_batches(batches: int, records: int, seed: int = 1) -> list[Sealed]:
    """So many sealed batches of so many records each."""
    rows = _flows(random.Random(seed))
    return [seal(records_of(Kind.FLOW, [next(rows) for _ in range(records)])) for _ in range(batches)]


def _flows(chance: random.Random) -> Iterator[dict[str, Any]]:
    hosts = [(bytes([10, 20, 1 + n // 250, n % 250 + 1]), b"\x3c\xd9\x2b" + chance.randbytes(3)) for n in range(HOSTS)]
    servers = [(chance.randbytes(4), chance.lognormvariate(10.0, 0.7)) for _ in range(SERVERS)]  # address, round trip
    shares = [talk[0] for talk in TALKS]
    now_ns = START_NS
    while True:
        now_ns += int(chance.expovariate(FLOWS_A_SECOND) * 1e9)
        host, mac = hosts[int(HOSTS * chance.random() ** 2)]
        _, application, protocol, port, outside, sent, replied, millis = chance.choices(TALKS, shares)[0]
        if outside:
            server, rtt_us = servers[int(SERVERS * chance.random() ** 4)]
            server_mac = ROUTER_MAC
        else:
            server = RESOLVER if port == 53 else FILES
            rtt_us, server_mac = 400.0, b"\x00\x11\x32" + server[1:]
        yield _row(
            chance, now_ns, host, mac, server, server_mac, application, protocol, port, sent, replied, millis, rtt_us
        )


def _row(
    chance: random.Random,
    now_ns: int,
    host: bytes,
    mac: bytes,
    server: bytes,
    server_mac: bytes,
    application: str,
    protocol: int,
    port: int,
    sent: int,
    replied: int,
    millis: int,
    rtt_us: float,
) -> dict[str, Any]:
    octets, back = (int(median * chance.lognormvariate(0, 0.9 if median > 200 else 0.1)) for median in (sent, replied))
    lasted_ns = int(millis * 1e6 * chance.lognormvariate(0, 1.2))
    packets, back_packets = (max(1, round(total / 700) + (5 if protocol == 6 else 0)) for total in (octets, back))
    if protocol != 6 and packets == 1:
        lasted_ns = min(lasted_ns, int(rtt_us * 1_000))
    frames = packets + back_packets
    gap_us = lasted_ns // 1_000 // max(1, frames - 1)
    reset = protocol == 6 and chance.random() < 0.08
    large = protocol == 6 and octets > 20_000
    return {
        "first_ns": now_ns - lasted_ns,
        "last_ns": now_ns,
        "ip_version": 4,
        "protocol": protocol,
        "src": ip_value(host)[1],
        "dst": ip_value(server)[1],
        "src_port": 8 if protocol == 1 else chance.randrange(32_768, 61_000),
        "dst_port": port,
        "vlans": vlan_stack([20]),
        "src_mac": mac,
        "dst_mac": server_mac,
        "packets": packets,
        "bytes": octets,
        "reply_packets": back_packets,
        "reply_bytes": back,
        "tcp_flags": 0 if protocol != 6 else RESET_TOO if reset else SYN_FIN_PUSH_ACK,
        "reply_tcp_flags": 0 if protocol != 6 else SYN_FIN_PUSH_ACK,
        "state": FlowState.ACTIVE if protocol != 6 else FlowState.RESET if reset else FlowState.CLOSED,
        "end_reason": EndReason.IDLE if protocol != 6 else EndReason.CLOSED,
        "tunnels": "",
        "application": application,
        "interface": "eth0",
        "min_bytes": 66 if protocol == 6 else octets // packets,
        "max_bytes": 1_514 if octets > 3_000 else octets // packets + (400 if protocol == 6 else 0),
        "reply_min_bytes": 66 if protocol == 6 else back // back_packets,
        "reply_max_bytes": 1_514 if back > 3_000 else back // back_packets,
        "min_gap_us": int(gap_us * chance.random() ** 4) if frames > 2 else gap_us,
        "max_gap_us": int(gap_us * (1 + 9 * chance.random())) if frames > 2 else gap_us,
        "retransmits": int(large and chance.random() < 0.2),
        "reply_retransmits": int(protocol == 6 and chance.random() < 0.05),
        "server_rtt_us": int(rtt_us * chance.lognormvariate(0, 0.15)) if protocol == 6 else 0,
        "client_rtt_us": int(350 * chance.lognormvariate(0, 0.5)) if protocol == 6 else 0,
    }
