"""The engine: what Python sees of the kernel. The hot loop stands in kernel.pxd; the contract in engine.pyi."""

import os
from typing import NamedTuple

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.object cimport PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from fieldwatch_ext.addresses cimport MAX_PREFIXES, Prefix
from fieldwatch_ext.capture cimport Source
from fieldwatch_ext.content cimport CONTENTS
from fieldwatch_ext.flow_columns cimport FlowColumns, flow_columns_free, flow_columns_make
from fieldwatch_ext.flows cimport flows_expire, flows_flush, flows_free, flows_make
from fieldwatch_ext.fragments cimport fragments_expire, fragments_flush
from fieldwatch_ext.hashing cimport seed_from
from fieldwatch_ext.kernel cimport (
    ALL, DECODE, FLOWS, MASKS, READ, Kernel, block_capacity, process_block, tally_flush
)
from fieldwatch_ext.packet cimport LAYERS, MALFORMED, OK, SLOW_KINDS, TRUNCATED, UNSUPPORTED
from fieldwatch_ext.sightings cimport Sighting, SightingRow, sightings_free, sightings_make
from fieldwatch_ext.slow cimport SlowFrame, slow_clear, slow_make
from fieldwatch_ext.streams cimport streams_flush
from fieldwatch_ext.tunnels cimport Tunnel

cdef extern from "Python.h":
    void PyObject_GC_UnTrack(PyObject* made)

STAGE_READ = READ
STAGE_DECODE = DECODE
STAGE_FLOWS = FLOWS
STAGE_ALL = ALL

# In the order of `Layer`, `SlowKind`, `TunnelKind` and `Content`.
LAYER_NAMES = (
    "link", "ethernet", "cooked", "loopback", "hdlc", "vlan", "llc", "snap", "mpls", "pppoe", "ppp", "arp", "lldp",
    "cdp", "stp", "eapol", "ipv4", "ipv6", "ipv6_extension", "fragment", "ah", "tcp", "udp", "sctp", "icmp", "icmpv6",
    "ndp", "igmp", "gre", "vxlan", "geneve", "other_ip", "nbns", "nbds", "gtpu", "erspan", "udplite",
    "dccp", "mld", "wifi", "wifi_protected", "radiotap", "prism", "avs", "ppi", "pbb",
)
SLOW_NAMES = (
    "", "dhcp", "dhcpv6", "mdns", "llmnr", "nbns", "nbds", "ssdp", "lldp", "cdp", "dns", "wsd", "radius", "igmp",
    "quic", "tcp_syn", "tls", "http", "smb",
)
TUNNEL_NAMES = ("gre", "vxlan", "geneve", "ipip", "6in4", "4in6", "6in6", "gtpu", "erspan")
CONTENT_NAMES = ("", "tls", "http", "smb", "ssh", "quic")
assert len(LAYER_NAMES) == LAYERS
assert len(SLOW_NAMES) == SLOW_KINDS
assert len(CONTENT_NAMES) == CONTENTS

cdef enum:
    FLOW_ROWS = 4_096           # records between two takes; the limit of a batch is 65,536
    SIGHTING_ROWS = 8_192       # of evicted sightings
    SIGHTINGS_PER_TAKE = 65_536
    MOST_ENTRIES = 1 << 26
    LEAST_SLOW_BYTES = 1 << 16

CLOSED_LINGER_NS = 5_000_000_000
"""So long a closed TCP flow waits for stragglers (late ACKs, repeated FINs), in packet time."""


class Slow(NamedTuple):
    number: int
    ts_ns: int
    protocol: str
    src_mac: bytes
    dst_mac: bytes
    vlans: int
    src_ip: bytes
    dst_ip: bytes
    src_port: int
    dst_port: int
    payload: bytes


class Flows(NamedTuple):
    count: int
    columns: dict


class Sightings(NamedTuple):
    count: int
    columns: dict


class Counters(NamedTuple):
    frames: int
    octets: int
    decoded: int
    truncated: int
    malformed: int
    unsupported: int
    by_layer: dict
    rejected_at: dict
    in_flows: int
    outside_flows: int
    flows_active: int
    flows_exported: int
    flows_evicted: int
    sightings: int
    sightings_evicted: int
    fragments_lost: int
    slow_frames: int
    slow_dropped: int
    slow_limited: int
    slow_repeated: int
    slow_silent: int


cdef object _make = tuple.__new__      # without the call of a function that checks the number of fields


cdef bytes _octets(const void* start, size_t octets):
    return PyBytes_FromStringAndSize(<const char*>start, <Py_ssize_t>octets)


cdef bytes _address(uint8_t version, const uint64_t* words):
    return _octets(words, 4 if version == 4 else 16 if version == 6 else 0)


cdef str _address_text(uint8_t version, const uint64_t* words):
    import ipaddress
    return str(ipaddress.ip_address(_address(version, words)))


cdef class Engine:
    cdef Kernel* _kernel
    cdef bint _busy
    cdef list _tunnels          # texts of the numbers so far; the table never forgets
    cdef object _labels         # keeps the tables alive that the kernel points to
    cdef Py_buffer _observed
    cdef bint _observes

    def __cinit__(self):
        self._kernel = <Kernel*>calloc(1, sizeof(Kernel))
        if self._kernel == NULL:
            raise MemoryError

    def __init__(
        self,
        *,
        max_flows=65_536,
        max_sightings=65_536,
        idle_ns=120_000_000_000,
        active_ns=0,
        stage=ALL,
        tcp_labels=None,
        udp_labels=None,
        content_labels=None,
        local_prefixes=(),
        slow_bytes=1 << 20,
        ignore=(),
        observed=None,
        seed=None,
    ):
        cdef Kernel* kernel = self._kernel
        cdef uint64_t start
        if kernel.flows.capacity:
            raise RuntimeError("an engine is made once")
        _check("max_flows", max_flows, 1, MOST_ENTRIES)
        _check("max_sightings", max_sightings, 1, MOST_ENTRIES)
        _check("idle_ns", idle_ns, 1, 1 << 62)
        _check("active_ns", active_ns, 0, 1 << 62)
        _check("stage", stage, READ, ALL)
        _check("slow_bytes", slow_bytes, LEAST_SLOW_BYTES, 1 << 30)
        if len(local_prefixes) > MAX_PREFIXES:
            raise ValueError(f"{len(local_prefixes)} local prefixes, at most {MAX_PREFIXES} fit")
        start = (int.from_bytes(os.urandom(8), "little") if seed is None else seed) & 0xFFFF_FFFF_FFFF_FFFF
        seed_from(&kernel.flows.seed, start)
        kernel.decoder.seed = kernel.flows.seed
        seed_from(&kernel.sightings.seed, start + 1)
        seed_from(&kernel.decoder.tunnels.seed, start + 2)
        seed_from(&kernel.decoder.fragments.seed, start + 3)
        seed_from(&kernel.slow.repeats.seed, start + 4)
        self._tunnels = [""]
        kernel.stage = stage
        kernel.flows.idle_ns = idle_ns
        kernel.flows.active_ns = active_ns
        kernel.flows.linger_ns = CLOSED_LINGER_NS
        self._labels = (_label_table("tcp_labels", tcp_labels), _label_table("udp_labels", udp_labels))
        if self._labels[0] is not None:
            kernel.flows.tcp_labels = <const uint16_t*>PyBytes_AS_STRING(self._labels[0])
        if self._labels[1] is not None:
            kernel.flows.udp_labels = <const uint16_t*>PyBytes_AS_STRING(self._labels[1])
        for name, label in (content_labels or {}).items():
            kernel.flows.content_labels[_place_of("content", name, CONTENT_NAMES)] = label
        for name in ignore:
            kernel.slow.unwanted |= <uint32_t>1 << <int>_place_of("protocol", name, SLOW_NAMES)
        for octets, length in local_prefixes:
            _add_prefix(kernel, octets, length)
        if observed is not None:
            PyObject_GetBuffer(observed, &self._observed, PyBUF_WRITABLE)
            self._observes = True
            if self._observed.len != 8:
                raise ValueError(f"observed has {self._observed.len} octets, it must have 8")
        if (
            flows_make(&kernel.flows, max_flows) != 0
            or flow_columns_make(&kernel.flows.columns, FLOW_ROWS) != 0
            or sightings_make(&kernel.sightings, max_sightings, SIGHTING_ROWS) != 0
            or slow_make(&kernel.slow, slow_bytes) != 0
        ):
            raise MemoryError

    def __dealloc__(self):
        if self._kernel != NULL:
            flows_free(&self._kernel.flows)
            flow_columns_free(&self._kernel.flows.columns)
            sightings_free(&self._kernel.sightings)
            free(self._kernel.slow.octets)
            free(self._kernel)
        if self._observes:
            PyBuffer_Release(&self._observed)

    cdef Kernel* _own(self) except NULL:
        # The kernel is for one thread at a time: the GIL is released while it works.
        if self._busy:
            raise RuntimeError("the engine is used by two threads at once")
        return self._kernel

    def process(self, Source source not None, int blocks=16):
        cdef Kernel* kernel = self._own()
        cdef int64_t processed = 0
        cdef int count = 0
        cdef int capacity
        cdef uint64_t seen
        self._busy = True
        with nogil:
            while blocks > 0:
                capacity = block_capacity(kernel)
                if capacity == 0:
                    break
                count = source.next_block(kernel.block, capacity)
                if count <= 0:
                    break
                if self._observes:
                    memcpy(&seen, self._observed.buf, 8)
                    seen += count
                    memcpy(self._observed.buf, &seen, 8)
                process_block(kernel, count)
                processed += count
                blocks -= 1
        self._busy = False
        return -1 if processed == 0 and count < 0 else processed

    def expire(self, int64_t now_ns):
        cdef Kernel* kernel = self._own()
        cdef uint32_t ended
        self._busy = True
        with nogil:
            ended = flows_expire(&kernel.flows, now_ns)
            streams_flush(&kernel.streams, &kernel.slow, now_ns, False)
            fragments_expire(&kernel.decoder.fragments, now_ns)
        self._busy = False
        return ended

    def flush(self):
        cdef Kernel* kernel = self._own()
        streams_flush(&kernel.streams, &kernel.slow, kernel.newest_ns, True)
        fragments_flush(&kernel.decoder.fragments)
        return flows_flush(&kernel.flows, kernel.newest_ns)

    def take_flows(self):
        cdef FlowColumns* c = &self._own().flows.columns
        cdef size_t n = c.count
        columns = {
            "first_ns": _octets(c.first_ns, 8 * n),
            "last_ns": _octets(c.last_ns, 8 * n),
            "ip_version": _octets(c.ip_version, n),
            "protocol": _octets(c.protocol, n),
            "src": _octets(c.src, 16 * n),
            "dst": _octets(c.dst, 16 * n),
            "src_port": _octets(c.src_port, 2 * n),
            "dst_port": _octets(c.dst_port, 2 * n),
            "vlans": _octets(c.vlans, 8 * n),
            "src_mac": _octets(c.src_mac, 6 * n),
            "dst_mac": _octets(c.dst_mac, 6 * n),
            "packets": _octets(c.packets, 8 * n),
            "bytes": _octets(c.octets, 8 * n),
            "reply_packets": _octets(c.reply_packets, 8 * n),
            "reply_bytes": _octets(c.reply_octets, 8 * n),
            "tcp_flags": _octets(c.tcp_flags, n),
            "reply_tcp_flags": _octets(c.reply_tcp_flags, n),
            "state": _octets(c.state, n),
            "end_reason": _octets(c.end_reason, n),
            "tunnel": _octets(c.tunnel, 2 * n),
            "application": _octets(c.application, 2 * n),
            "min_bytes": _octets(c.least_octets, 2 * n),
            "max_bytes": _octets(c.most_octets, 2 * n),
            "reply_min_bytes": _octets(c.reply_least_octets, 2 * n),
            "reply_max_bytes": _octets(c.reply_most_octets, 2 * n),
            "min_gap_us": _octets(c.least_gap_us, 4 * n),
            "max_gap_us": _octets(c.most_gap_us, 4 * n),
            "retransmits": _octets(c.retransmits, 4 * n),
            "reply_retransmits": _octets(c.reply_retransmits, 4 * n),
            "server_rtt_us": _octets(c.server_rtt_us, 4 * n),
            "client_rtt_us": _octets(c.client_rtt_us, 4 * n),
        }
        c.count = 0
        return Flows(n, columns)

    def take_sightings(self):
        cdef Kernel* kernel = self._own()
        cdef uint32_t evicted = kernel.sightings.rows_count
        cdef uint32_t most = SIGHTINGS_PER_TAKE - evicted
        cdef uint32_t dirty = kernel.sightings.dirty_count
        cdef uint32_t kept = dirty - most if dirty > most else 0
        cdef uint32_t n = 0
        cdef uint32_t i, place
        cdef Sighting* s
        cdef SightingRow row
        # Places whose entry was evicted since stand in `dirty` without frames: the rows are fewer than the places.
        count = evicted
        for i in range(kept, dirty):
            if kernel.sightings.entries[kernel.sightings.dirty[i]].frames:
                count += 1
        columns = {
            "first_ns": bytes(8 * count),
            "last_ns": bytes(8 * count),
            "vlans": bytes(8 * count),
            "mac": bytes(6 * count),
            "ip_version": bytes(count),
            "ip": bytes(16 * count),
            "source": bytes(count),
            "frames": bytes(8 * count),
        }
        cdef _SightingColumns into
        into.first_ns = <uint8_t*>PyBytes_AS_STRING(columns["first_ns"])
        into.last_ns = <uint8_t*>PyBytes_AS_STRING(columns["last_ns"])
        into.vlans = <uint8_t*>PyBytes_AS_STRING(columns["vlans"])
        into.mac = <uint8_t*>PyBytes_AS_STRING(columns["mac"])
        into.ip_version = <uint8_t*>PyBytes_AS_STRING(columns["ip_version"])
        into.ip = <uint8_t*>PyBytes_AS_STRING(columns["ip"])
        into.source = <uint8_t*>PyBytes_AS_STRING(columns["source"])
        into.frames = <uint8_t*>PyBytes_AS_STRING(columns["frames"])
        for i in range(evicted):
            _put_sighting(&into, n, &kernel.sightings.rows[i])
            n += 1
        for i in range(kept, dirty):
            place = kernel.sightings.dirty[i]
            s = &kernel.sightings.entries[place]
            s.listed = 0
            if s.frames:
                row.key = s.key
                row.first_ns = s.first_ns
                row.last_ns = s.last_ns
                row.frames = s.frames
                s.frames = 0
                _put_sighting(&into, n, &row)
                n += 1
        kernel.sightings.rows_count = 0
        kernel.sightings.dirty_count = kept
        return Sightings(count, columns)

    def take_slow(self):
        cdef Kernel* kernel = self._own()
        cdef size_t at = 0
        cdef SlowFrame* s
        taken = []
        while at < kernel.slow.used:
            s = <SlowFrame*>(kernel.slow.octets + at)
            frame = _make(Slow, (
                s.number, s.ts_ns, SLOW_NAMES[s.kind], _octets(s.mac[0], 6), _octets(s.mac[1], 6), s.vlans,
                _address(s.version, s.src), _address(s.version, s.dst), s.src_port, s.dst_port,
                _octets(s + 1, s.payload_octets),
            ))
            PyObject_GC_UnTrack(<PyObject*>frame)   # octets and numbers: it is in no cycle, ever
            taken.append(frame)
            at += sizeof(SlowFrame) + ((s.payload_octets + 7) & ~<size_t>7)
        slow_clear(&kernel.slow)
        return taken

    def counters(self):
        cdef Kernel* kernel = self._own()
        cdef uint64_t in_flows = kernel.in_flows + kernel.decoder.fragments.waiting
        cdef int i
        for i in range(MASKS):
            tally_flush(&kernel.tally, i)
        return Counters(
            frames=kernel.frames,
            octets=kernel.octets,
            decoded=kernel.tally.verdicts[OK],
            truncated=kernel.tally.verdicts[TRUNCATED],
            malformed=kernel.tally.verdicts[MALFORMED],
            unsupported=kernel.tally.verdicts[UNSUPPORTED],
            by_layer={name: kernel.tally.layers[i] for i, name in enumerate(LAYER_NAMES) if kernel.tally.layers[i]},
            rejected_at={
                name: kernel.tally.rejected_at[i] for i, name in enumerate(LAYER_NAMES) if kernel.tally.rejected_at[i]
            },
            in_flows=in_flows,
            outside_flows=kernel.frames - in_flows,
            flows_active=kernel.flows.count,
            flows_exported=kernel.flows.exported,
            flows_evicted=kernel.flows.evicted,
            sightings=kernel.sightings.count,
            sightings_evicted=kernel.sightings.evicted,
            fragments_lost=kernel.decoder.fragments.lost,
            slow_frames=kernel.slow.frames,
            slow_dropped=kernel.slow.dropped,
            slow_limited=kernel.slow.limited,
            slow_repeated=kernel.slow.repeated,
            slow_silent=kernel.slow.silent,
        )

    @property
    def newest_ns(self):
        return self._own().newest_ns

    @property
    def tunnels(self):
        cdef Kernel* kernel = self._own()
        cdef Tunnel* t
        cdef uint8_t version
        cdef int i
        texts = self._tunnels
        for i in range(len(texts), kernel.decoder.tunnels.count + 1):
            t = &kernel.decoder.tunnels.item[i]
            version = <uint8_t>(t.key[4] >> 40)
            src = _address_text(version, &t.key[2 if t.swapped else 0])
            dst = _address_text(version, &t.key[0 if t.swapped else 2])
            text = f"{TUNNEL_NAMES[(t.key[4] >> 32) & 0xFF]} {src} {dst} {<uint32_t>t.key[4]}"
            texts.append(f"{texts[t.key[5]]}; {text}" if t.key[5] else text)
        if kernel.decoder.tunnels.overflowed and len(texts) == kernel.decoder.tunnels.count + 1:
            texts.append("other")
        return texts


cdef struct _SightingColumns:
    uint8_t* first_ns
    uint8_t* last_ns
    uint8_t* vlans
    uint8_t* mac
    uint8_t* ip_version
    uint8_t* ip
    uint8_t* source
    uint8_t* frames


cdef void _put_sighting(_SightingColumns* into, size_t n, const SightingRow* row) noexcept nogil:
    cdef uint64_t meta = row.key[1]
    memcpy(into.first_ns + 8 * n, &row.first_ns, 8)
    memcpy(into.last_ns + 8 * n, &row.last_ns, 8)
    memcpy(into.vlans + 8 * n, &row.key[0], 8)
    memcpy(into.mac + 6 * n, &meta, 6)
    into.source[n] = <uint8_t>(meta >> 48)
    into.ip_version[n] = <uint8_t>(meta >> 56)
    memcpy(into.ip + 16 * n, &row.key[2], 16)
    memcpy(into.frames + 8 * n, &row.frames, 8)


def _check(name, value, least, most):
    if not least <= value <= most:
        raise ValueError(f"{name} is {value}, it must be {least} to {most}")


def _place_of(what, name, names):
    if not name or name not in names:
        raise ValueError(f"no such {what}: {name!r}")
    return names.index(name)


def _label_table(name, table):
    if table is None:
        return None
    octets = bytes(table)
    if len(octets) != 2 * 65_536:
        raise ValueError(f"{name} has {len(octets)} octets, it must have {2 * 65_536}")
    return octets


cdef _add_prefix(Kernel* kernel, octets, length):
    cdef Prefix* p = &kernel.decoder.prefixes.item[kernel.decoder.prefixes.count]
    bits = 8 * len(octets)
    if bits not in (32, 128) or not 0 <= length <= bits:
        raise ValueError(f"local prefix {octets!r}/{length} is no IPv4 or IPv6 prefix")
    mask = ((1 << length) - 1) << (bits - length)
    net = (int.from_bytes(octets, "big") & mask).to_bytes(bits // 8, "big").ljust(16, b"\0")
    mask_octets = mask.to_bytes(bits // 8, "big").ljust(16, b"\0")
    memcpy(p.net, PyBytes_AS_STRING(net), 16)
    memcpy(p.mask, PyBytes_AS_STRING(mask_octets), 16)
    p.version = 4 if bits == 32 else 6
    kernel.decoder.prefixes.count += 1
