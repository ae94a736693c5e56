"""What the engine tells of single frames, as values that a test can spell out."""

from __future__ import annotations

from typing import Any

from fieldwatch_proto.schema import ip_octets, ip_text, mac_text, vlan_ids

from support.engine_compare import Result, run


def give(*frames: bytes, **options: Any) -> Result:
    return run([(at * 1000, octets, len(octets)) for at, octets in enumerate(frames, 1)], **options)


def flows(result: Result) -> list[tuple[Any, ...]]:
    """(protocol, src, src_port, dst, dst_port, VLANs, tunnel, packets, bytes, reply_packets, reply_bytes)."""
    return [
        (
            row["protocol"],
            ip_text(ip_octets(row["ip_version"], row["src"])),
            row["src_port"],
            ip_text(ip_octets(row["ip_version"], row["dst"])),
            row["dst_port"],
            vlan_ids(row["vlans"]),
            result.tunnels[row["tunnel"]],
            row["packets"],
            row["bytes"],
            row["reply_packets"],
            row["reply_bytes"],
        )
        for row in result.flows
    ]


def sightings(result: Result) -> set[tuple[str, str, int]]:
    return {(mac_text(mac), ip_text(ip), source) for _, mac, ip, source in result.sightings}
