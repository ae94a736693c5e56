"""The JSON objects of `read --json`: one function for each type, keys in the order of the commands contract."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from fieldwatch_proto.identity import NO_MAC, Device
from fieldwatch_proto.protocols import protocol_text, tcp_flags_text
from fieldwatch_proto.records import Records
from fieldwatch_proto.schema import EndReason, FlowState, ip_octets, ip_text, mac_text, time_text, vlan_ids

from fieldwatch_agent.analysis import Totals

Object = dict[str, Any]

_FLOW_COLUMNS = (
    "first_ns",
    "last_ns",
    "ip_version",
    "protocol",
    "src",
    "dst",
    "src_port",
    "dst_port",
    "vlans",
    "packets",
    "bytes",
    "reply_packets",
    "reply_bytes",
    "tcp_flags",
    "reply_tcp_flags",
    "state",
    "end_reason",
    "tunnels",
    "application",
    "min_bytes",
    "max_bytes",
    "reply_min_bytes",
    "reply_max_bytes",
    "min_gap_us",
    "max_gap_us",
    "retransmits",
    "reply_retransmits",
    "server_rtt_us",
    "client_rtt_us",
)
_FACT_COLUMNS = (
    "seen_ns",
    "subject",
    "key",
    "value",
    "source",
    "evidence",
    "frame",
    "vlans",
)

_STATES = {int(state): state.text for state in FlowState}
_ENDS = {int(reason): reason.text for reason in EndReason}


@lru_cache(maxsize=8_192)
def address_text(version: int, value: bytes) -> str:
    """Text of a schema address (version and 16 octets); kept for the ones met most."""
    return ip_text(ip_octets(version, value))


def device_object(device: Device, vendor: str | None) -> Object:
    """A device; `vendor` is null where the MAC's block is not registered."""
    return {
        "type": "device",
        "mac": None if device.mac == NO_MAC else mac_text(device.mac),
        "vlan": sorted(device.vlans),
        "ips": [ip_text(ip) for ip in sorted(device.ips, key=lambda ip: (len(ip), ip))],
        "vendor": vendor,
        "names": [{"name": name.name, "source": name.source} for name in device.names],
        "sources": sorted(device.sources),
        "first_seen": time_text(device.first_ns),
        "last_seen": time_text(device.last_ns),
        "frames": device.frames,
    }


def flow_objects(records: Records) -> Iterator[Object]:
    """The flows of one `Records`, in its order. A round trip that was not seen is null."""
    for row in zip(*(records.values(name) for name in _FLOW_COLUMNS), strict=True):
        (first_ns, last_ns, version, protocol, src, dst, src_port, dst_port, vlans, packets, octets) = row[:11]
        (reply_packets, reply_octets, tcp_flags, reply_tcp_flags, state, end, tunnels, application) = row[11:19]
        (least, most, reply_least, reply_most, least_gap, most_gap, repeats, reply_repeats, server, client) = row[19:]
        yield {
            "type": "flow",
            "protocol": protocol_text(protocol),
            "src": address_text(version, src),
            "src_port": src_port,
            "dst": address_text(version, dst),
            "dst_port": dst_port,
            "vlan": vlan_ids(vlans),
            "tunnels": tunnels.split("; ") if tunnels else [],
            "packets": packets,
            "bytes": octets,
            "reply_packets": reply_packets,
            "reply_bytes": reply_octets,
            "first_seen": time_text(first_ns),
            "last_seen": time_text(last_ns),
            "tcp_flags": tcp_flags_text(tcp_flags),
            "reply_tcp_flags": tcp_flags_text(reply_tcp_flags),
            "state": _STATES.get(state, str(state)),
            "end": _ENDS.get(end, str(end)),
            "application": application,
            "min_bytes": least,
            "max_bytes": most,
            "reply_min_bytes": reply_least,
            "reply_max_bytes": reply_most,
            "min_gap_us": least_gap,
            "max_gap_us": most_gap,
            "retransmits": repeats,
            "reply_retransmits": reply_repeats,
            "server_rtt_us": server or None,
            "client_rtt_us": client or None,
        }


def fact_objects(records: Records) -> Iterator[Object]:
    """The facts of one `Records`, in its order."""
    for row in zip(*(records.values(name) for name in _FACT_COLUMNS), strict=True):
        seen_ns, subject, key, value, source, evidence, frame, vlans = row
        yield {
            "type": "fact",
            "subject": subject,
            "key": key,
            "value": value,
            "source": source,
            "seen": time_text(seen_ns),
            "frame": frame,
            "vlan": vlan_ids(vlans),
            "evidence": evidence,
        }


def summary_object(totals: Totals, devices: int) -> Object:
    """The sums; "problem" is there when a capture did not end as it should, "overflow" when a bound was met."""
    found: Object = {
        "type": "summary",
        "captures": totals.captures,
        "linktypes": totals.linktypes,
        "frames": totals.frames,
        "bytes": totals.octets,
        "decoded": totals.decoded,
        "rejected": {
            "truncated": totals.truncated,
            "malformed": totals.malformed,
            "unsupported": totals.unsupported,
        },
        "by_layer": dict(sorted(totals.by_layer.items())),
        "devices": devices,
        "flows": totals.flows,
        "evicted_flows": totals.evicted_flows,
        "duration_s": round(totals.duration_ns / 1e9, 9),
        "complete": not totals.problems,
    }
    if totals.filtered:
        found["filtered"] = totals.filtered
    if totals.problems:
        found["problem"] = "; ".join(totals.problems)
    if totals.overflow:
        found["overflow"] = totals.overflow
    return found
