"""What a record is: every kind, its columns and its enumerations, in one place.

A *kind* is a named list of typed columns. Columns may be added, never changed or reused; a change of type is a new
name. Unknown columns are kept verbatim by whoever does not know them.

Column types (all little-endian):

=======  ==================  =============================================================================
type     Python value        octets of a value
=======  ==================  =============================================================================
u8..u64  int                 1, 2, 4, 8
i64      int                 8; every ``*_ns`` column is nanoseconds since the epoch, UTC
f64      float               8 (IEEE 754)
mac      bytes (6)           6; ``00:00:00:00:00:00`` = not known
ip       bytes (16)          16; IPv4 stands in the first 4 octets, the rest is zero; the row's ``ip_version`` (4, 6,
                             or 0 = none) says how many count. `ip_value` and `ip_octets` convert.
str      str                 always dictionary-encoded: the distinct texts, and an index per row
=======  ==================  =============================================================================

VLAN stacks are a ``u64``: up to four tags of 16 bits, outermost lowest, each ``0x1000 | VLAN id``; 0 = untagged.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from socket import inet_ntoa

SCHEMA_VERSION = 3  # 2: the clock of a batch; 3: columns as planes, steps and tables

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)

WIDTHS = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "i64": 8, "f64": 8, "mac": 6, "ip": 16}


class Kind(IntEnum):
    """What a batch holds. Numbers are for ever; 6 (path) and 7 (record) are kept for what the design names."""

    FLOW = 1
    SIGHTING = 2
    FACT = 3
    EVENT = 4
    METRIC = 5


class Class(IntEnum):
    """Order of eviction under pressure: the lowest goes first."""

    FLOWS = 1
    METRICS = 2
    KNOWLEDGE = 3  # sightings, facts, events


class SightingSource(IntEnum):
    """By what a (VLAN, MAC, IP) was seen. ARP, NDP and DHCP bind with authority, IP and FORWARD are weak."""

    ETH = 1  # the MAC sent a frame
    IP = 2  # plain IP frame with a local source address
    ARP = 3
    NDP = 4
    DHCP = 5
    FORWARD = 6  # IP frames that a router had before; with the address where it is local, else with its version alone
    DHCPV6 = 7

    @property
    def text(self) -> str:
        return self.name.lower()


AUTHORITATIVE = frozenset({SightingSource.ARP, SightingSource.NDP, SightingSource.DHCP, SightingSource.DHCPV6})
WEAK = frozenset({SightingSource.IP, SightingSource.FORWARD})


class FlowState(IntEnum):
    """Where a flow stood when its record was written."""

    ACTIVE = 0  # not TCP, or nothing to tell
    SYN = 1  # SYN without SYN-ACK
    SYN_ACK = 2
    ESTABLISHED = 3
    CLOSING = 4  # one FIN
    CLOSED = 5  # FIN both ways
    RESET = 6

    @property
    def text(self) -> str:
        return self.name.lower().replace("_", "-")


class EndReason(IntEnum):
    """Why a flow record was written."""

    IDLE = 1
    ACTIVE = 2  # active timeout: the flow goes on, the next record holds the rest
    CLOSED = 3
    EVICTED = 4
    FLUSH = 5  # the agent stopped, or the capture ended

    @property
    def text(self) -> str:
        return self.name.lower()


class ClockQuality(IntEnum):
    """How far the times of a record are to be trusted."""

    UNKNOWN = 0  # an older agent, or times of a capture file: nobody said
    UNSYNCED = 1  # by a clock that no time service kept right
    NTP = 2  # by one that was
    CORRECTED = 3  # moved by the collector, which knows by how much that clock was wrong
    AGREES = 4  # by one that no time service kept right, and that agreed with the collector's

    @property
    def text(self) -> str:
        """For people: empty where there is no reason for doubt."""
        return self.name.lower() if self in (ClockQuality.UNSYNCED, ClockQuality.CORRECTED) else ""


@dataclass(frozen=True)
class Column:
    """One column of a kind: its name, and the type that the codec packs."""

    name: str
    type: str


def _columns(text: str) -> tuple[Column, ...]:
    return tuple(Column(*pair.split(":")) for pair in text.split())


COLUMNS: dict[Kind, tuple[Column, ...]] = {
    # `src` is the side that opened the flow; packets/bytes count that side, reply_* the other; bytes are octets of
    # the whole frame on the wire. packets + reply_packets is the frame count, the unit of the conservation equation.
    # tunnels: outer headers outermost first, "vxlan 10.0.0.1 10.0.0.2 100; gre ..." (type source destination id).
    # tcp_flags: octet 13 of the TCP header, OR of all segments of that side.
    # min_bytes, max_bytes: of one frame, at most 65,535; 0 = no frame. min_gap_us, max_gap_us: between two frames of
    # the flow, whoever sent them. retransmits: segments that end at or before the highest sequence number seen.
    # server_rtt_us: SYN to SYN-ACK at the vantage point; client_rtt_us: SYN-ACK to ACK; 0 = not seen, or ambiguous.
    Kind.FLOW: _columns(
        "first_ns:i64 last_ns:i64 ip_version:u8 protocol:u8 src:ip dst:ip src_port:u16 dst_port:u16 vlans:u64 "
        "src_mac:mac dst_mac:mac packets:u64 bytes:u64 reply_packets:u64 reply_bytes:u64 "
        "tcp_flags:u8 reply_tcp_flags:u8 state:u8 end_reason:u8 tunnels:str application:str interface:str "
        "min_bytes:u16 max_bytes:u16 reply_min_bytes:u16 reply_max_bytes:u16 min_gap_us:u32 max_gap_us:u32 "
        "retransmits:u32 reply_retransmits:u32 server_rtt_us:u32 client_rtt_us:u32"
    ),
    # One row per (vlans, mac, ip, source) touched since the last batch; `frames` is the number since then.
    Kind.SIGHTING: _columns(
        "first_ns:i64 last_ns:i64 vlans:u64 mac:mac ip_version:u8 ip:ip source:u8 frames:u64 interface:str"
    ),
    # subject: MAC text, or IP text where no MAC can be known. ip: the address that said it. frame: its number, 1-based.
    Kind.FACT: _columns(
        "seen_ns:i64 subject:str key:str value:str source:str evidence:str confidence:u8 frame:u64 "
        "vlans:u64 ip_version:u8 ip:ip interface:str"
    ),
    # data: JSON object. severity: info, warning, error.
    Kind.EVENT: _columns("ts_ns:i64 type:str severity:str subject:str data:str"),
    # labels: JSON object with sorted keys. Counters end in _total and carry the increase since the last record.
    Kind.METRIC: _columns("ts_ns:i64 name:str labels:str value:f64"),
}

# Of every kind, the same in each row, added at the seal: by which clock the times of the batch are. An agent that reads
# a capture file has none of them, for its times are those of the file.
# clock_anchor_ns: CLOCK_REALTIME less CLOCK_BOOTTIME, so that time less anchor = time since that boot, which no clock
# that is set changes. clock_boot: the boot, the first 8 octets of its id, little-endian. clock_quality: ClockQuality.
CLOCK_COLUMNS = _columns("clock_anchor_ns:i64 clock_boot:u64 clock_quality:u8")

CLASSES: dict[Kind, Class] = {
    Kind.FLOW: Class.FLOWS,
    Kind.METRIC: Class.METRICS,
    Kind.SIGHTING: Class.KNOWLEDGE,
    Kind.FACT: Class.KNOWLEDGE,
    Kind.EVENT: Class.KNOWLEDGE,
}

# The frames that no flow record carries (ARP, LLDP, rejected frames, ...) are shipped under this metric, so that
# frames observed = sum of flow packets + sum of this metric.
METRIC_FRAMES_OUTSIDE_FLOWS = "agent_frames_outside_flows_total"

# What agents report of themselves, name -> what it counts: as many series as an agent has interfaces, which the
# collector shows at /metrics. Each has the label `interface`, and the one that is named in parentheses.
AGENT_METRICS = {
    METRIC_FRAMES_OUTSIDE_FLOWS: "Frames that no flow record carries (verdict).",
    "agent_interface_frames_total": "Frames that the agent took from the interface.",
    "agent_interface_kernel_drops_total": "Frames that found no room in the ring between kernel and agent.",
    "agent_interface_ring_freezes_total": "Times the ring between kernel and agent was full.",
    "agent_interface_nic_losses_total": "Frames that the interface lost before the kernel saw them (counter), "
    "as its driver counts: one frame may be in several counters.",
    "agent_interface_giant_frames_total": "Frames longer than the MTU allows: offloads merged them.",
    "agent_dissector_frames_limited_total": "Frames beyond what dissectors read of one sender, or of all.",
    "agent_dissector_frames_repeated_total": "Frames not looked into: their sender had said the same.",
    "agent_dissector_frames_silent_total": "Frames not looked into: they tell nothing that a dissector looks for.",
    "agent_dissector_frames_dropped_total": "Frames for which dissectors had no room.",
    "agent_disk_written_bytes_total": "Bytes that the agent wrote to its disk.",
    "agent_flows_evicted_total": "Flows that were written out early because the table was full.",
    "agent_sightings_evicted_total": "Sightings that were written out early because the table was full.",
    "agent_fragments_lost_total": "Later fragments whose first one was not seen within a minute.",
}
METRIC_LABELS = frozenset({"interface", "verdict", "counter"})


def ip_value(octets: bytes) -> tuple[int, bytes]:
    """(ip_version, 16 octets) of an address of 4 or 16 octets, or of none (empty)."""
    if not octets:
        return 0, bytes(16)
    return (4, octets + bytes(12)) if len(octets) == 4 else (6, octets)


def ip_octets(version: int, value: bytes) -> bytes:
    """The 4 or 16 octets that count; empty where there is no address."""
    return value[:4] if version == 4 else value if version == 6 else b""


def ip_text(octets: bytes) -> str:
    """RFC 5952 / dotted text of 4 or 16 octets; empty text for none."""
    if len(octets) == 4:
        return inet_ntoa(octets)
    return _ip6_text(octets) if octets else ""


@lru_cache(maxsize=1024)
def _ip6_text(octets: bytes) -> str:
    return str(ipaddress.IPv6Address(octets))


def mac_text(octets: bytes) -> str:
    """Lower-case, colon-separated."""
    return octets.hex(":")


def vlan_ids(vlans: int) -> list[int]:
    """VLAN ids of a packed stack, outermost first."""
    ids = []
    while vlans:
        ids.append(vlans & 0x0FFF)
        vlans >>= 16
    return ids


def vlan_stack(ids: list[int]) -> int:
    """The packed form of VLAN ids, outermost first (at most four)."""
    return sum((0x1000 | vlan) << (16 * place) for place, vlan in enumerate(ids[:4]))


def time_text(ns: int) -> str:
    """RFC 3339 UTC with nine decimals: the one form in JSON, REST and tables of machines."""
    seconds, fraction = divmod(ns, 1_000_000_000)
    return f"{_second_text(seconds)}.{fraction:09d}Z"


@lru_cache(maxsize=1_024)  # the records of one output lie close together
def _second_text(seconds: int) -> str:
    return f"{_EPOCH + dt.timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%S}"
