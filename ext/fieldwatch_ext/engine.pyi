"""One pass over blocks of frames: decode, flow table, sighting table. The GIL is released; content never raises."""

from collections.abc import Sequence
from typing import NamedTuple

from fieldwatch_ext.capture import Source

class Slow(NamedTuple):
    """A frame that a dissector asked for, as the kernel found it."""

    number: int  # 1-based, in the order in which this engine saw frames
    ts_ns: int
    protocol: str  # dhcp dhcpv6 mdns llmnr nbns nbds ssdp lldp cdp dns wsd radius igmp quic tcp_syn tls http smb
    src_mac: bytes
    dst_mac: bytes
    vlans: int
    src_ip: bytes  # 4 or 16 octets; empty for lldp, cdp
    dst_ip: bytes
    src_port: int
    dst_port: int
    payload: bytes
    """Behind the UDP header; for lldp the LLDPDU, for cdp the CDP packet behind LLC/SNAP.

    igmp: the IGMP or MLD message. tcp_syn: from the IP header to the end of the TCP header. http: the first segment of
    one side of a flow. smb: a segment, the first few of each side. tls: the stream's octets up to the end of its
    ClientHello, from as many segments as it took, at most 8 KiB; the rest of the tuple is that of the first.
    """

class Flows(NamedTuple):
    """Columns of the records that have ended, in the types and octets of `fieldwatch_proto.schema` (kind flow).

    Beside the schema's fixed-width columns: `tunnel` (u16, index into `tunnels`) and `application` (u16, index into the
    labels the engine was made with; 0 = none).
    """

    count: int  # type: ignore[assignment]  # a field, not the method of tuple
    columns: dict[str, bytes]

class Sightings(NamedTuple):
    """Columns of the sightings touched since the last call (kind sighting, fixed-width columns)."""

    count: int  # type: ignore[assignment]  # a field, not the method of tuple
    columns: dict[str, bytes]

class Counters(NamedTuple):
    """Since the engine was made. frames == decoded + truncated + malformed + unsupported, always."""

    frames: int
    octets: int
    decoded: int
    truncated: int
    malformed: int
    unsupported: int
    by_layer: dict[str, int]  # frames that had the layer: ethernet vlan llc snap mpls pppoe arp ipv4 tcp ...
    rejected_at: dict[str, int]  # layer at which a frame was found truncated, malformed or unsupported
    in_flows: int  # frames credited to a flow record (already exported or still in the table), or waiting for theirs
    outside_flows: int  # frames == in_flows + outside_flows
    flows_active: int
    flows_exported: int
    flows_evicted: int
    sightings: int
    sightings_evicted: int
    fragments_lost: int  # later fragments whose first was not seen within a minute: decoded, outside flows
    slow_frames: int  # handed to dissectors
    slow_dropped: int  # dissector ring was full
    slow_limited: int  # beyond the allowance of their sender (1,000 at once, then 50 a second), or of all together
    slow_repeated: int  # what their sender said in the ten minutes before, in what facts are made of
    slow_silent: int  # told nothing that a dissector looks for: queries, answers without an address, ordinary file work

CLOSED_LINGER_NS: int
"""So long a closed TCP flow waits for stragglers (late ACKs, repeated FINs), in packet time."""

LAYER_NAMES: tuple[str, ...]
"""Every name that `by_layer` and `rejected_at` can have. `link` = the linktype itself is not one that we read."""

STAGE_READ: int  # frames are counted, no more: the sums of Counters hold from STAGE_DECODE on
STAGE_DECODE: int
STAGE_FLOWS: int  # decode + flows + sightings
STAGE_ALL: int  # + the ring for dissectors

class Engine:
    """Bounded tables, sized once. Live and offline run the same engine and give the same records.

    For one thread at a time: a call while another thread is in `process` or `expire` raises RuntimeError.

    max_flows       entries of the flow table; under pressure the oldest goes, and is counted and exported
    max_sightings   entries of the sighting table; likewise
    idle_ns         a flow without a frame for so long (packet time) has ended; ICMP and UDP alike. So has one whose
                    last frame is as far in the future: the clock was set back
    active_ns       a record is written for a flow that lasts so long (0 = never)
    stage           how much of the work is done (for measuring)
    tcp_labels, udp_labels   65,536 u16 each, port -> application label (0 = none), or None
    content_labels  application label of what the first octets of a flow tell: tls, http, smb, ssh, quic
    ignore          protocols of `Slow` whose frames are not handed over
    local_prefixes  [(address octets, prefix length)] that count as local beside the private ranges
    observed        a writable buffer of 8 octets: the number of frames taken from the source, written before they are
                    processed (a MAP_SHARED page survives a killed process)
    """

    def __init__(
        self,
        *,
        max_flows: int = ...,
        max_sightings: int = ...,
        idle_ns: int = ...,
        active_ns: int = ...,
        stage: int = ...,
        tcp_labels: bytes | None = ...,
        udp_labels: bytes | None = ...,
        content_labels: dict[str, int] | None = ...,
        local_prefixes: list[tuple[bytes, int]] = ...,
        slow_bytes: int = ...,
        ignore: Sequence[str] = ...,
        observed: memoryview | None = ...,
        seed: int | None = ...,
    ) -> None: ...
    def process(self, source: Source, blocks: int = ...) -> int:
        """Run up to `blocks` blocks of the source; frames processed; 0 = none within its timeout; -1 = its end.

        Returns early when the export columns or the dissector ring are more than half full: take them and call again.
        Nothing is lost as long as that is done.
        """
    def expire(self, now_ns: int) -> int:
        """Write a record for every flow that is idle (or over the active timeout) at `now_ns`; the number written.

        As far as there is room: `take_flows` and call again until it gives 0.
        """
    def flush(self) -> int:
        """Move flows that still stand in the table to the export columns, at most as many as fit; the number moved.

        Call `take_flows` and `flush` in turn until it gives 0.
        """
    def take_flows(self) -> Flows: ...
    def take_sightings(self) -> Sightings:
        """At most 65,536 rows (the limit of a batch); what is left comes with the next call."""
    def take_slow(self) -> list[Slow]: ...
    def counters(self) -> Counters: ...
    @property
    def newest_ns(self) -> int:
        """Greatest packet time seen, 0 before the first frame."""
    @property
    def tunnels(self) -> list[str]:
        """Outer headers met so far, in the schema's text form; index 0 is the empty text, the last "more than fit"."""
