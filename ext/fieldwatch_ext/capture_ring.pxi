import os
import socket as _socket
from typing import NamedTuple

from libc.errno cimport EPERM, EACCES, ENODEV, ENOMEM, ENXIO, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from fieldwatch_ext.bpf cimport Instruction, Program
from fieldwatch_ext.errors import CaptureError

RingStats = NamedTuple("RingStats", [("packets", int), ("drops", int), ("freezes", int)])
RingStats.__module__ = __name__

# Kinds of interface that people try and that carry neither Ethernet nor bare IP to a packet socket.
_UNSUPPORTED = {
    32: "InfiniBand", 280: "CAN", 512: "PPP", 768: "IP-in-IP tunnel", 769: "IPv6 tunnel", 776: "SIT tunnel",
    778: "GRE tunnel", 801: "Wi-Fi in monitor mode", 802: "Wi-Fi in monitor mode", 803: "Wi-Fi in monitor mode",
    804: "IEEE 802.15.4", 824: "netlink monitor",
}
_DOING = {
    STEP_SOCKET: "opening a packet socket",
    STEP_HARDWARE: "asking for its type",
    STEP_RING: "making the ring",
    STEP_BIND: "binding the socket",
    STEP_FANOUT: "sharing the frames among several workers",
    STEP_PROMISCUOUS: "switching to promiscuous mode",
}


def _no_such_interface(interface):
    names = ", ".join(sorted(name for _, name in _socket.if_nameindex()))
    return f"no interface {interface!r}; there are: {names or 'none'}"


def _linktype_of(interface, hardware):
    """What a frame of such an interface starts with."""
    if hardware in (ARPHRD_ETHER, ARPHRD_LOOPBACK):
        return LINKTYPE_ETHERNET
    if hardware in (ARPHRD_NONE, ARPHRD_RAWIP):
        return LINKTYPE_RAW
    kind = _UNSUPPORTED.get(hardware, "unknown")
    raise CaptureError(
        f"interface {interface} is of a kind that is not supported ({kind}, hardware type {hardware}): Ethernet,"
        " loopback and bare IP (tun) interfaces are; name the one it runs over"
    )


def _refusal(interface, step, error, ring_bytes):
    """One line for what the kernel would not do, with what mends it."""
    if error in (EPERM, EACCES):
        return (
            f"no permission to capture on {interface}: run as root, or as a service whose unit has"
            " AmbientCapabilities=CAP_NET_RAW"
        )
    if error in (ENODEV, ENXIO):
        return _no_such_interface(interface)
    if step == STEP_RING and error == ENOMEM:
        return f"no memory for a ring of {ring_bytes} bytes on {interface}: make the ring smaller"
    return f"cannot capture on {interface}: {_DOING[step]}: {os.strerror(error)}"


cdef class RingSource(Source):
    cdef readonly str interface
    cdef readonly int linktype
    cdef readonly str problem
    cdef Program _filter
    cdef const Instruction* _instructions
    cdef Ring _ring
    cdef int _poll_ms
    cdef int _last_wait_ms          # by then the kernel has handed over what it received before the interface went
    cdef bint _loopback
    cdef bint _went_down            # once, as the kernel told: at each silence from then on, ask whether it is gone
    cdef bint _ended
    cdef uint32_t _block            # the one being read, or the next to be filled
    cdef bint _held                 # it is ours, and frames of it may still be in use
    cdef uint32_t _left             # frames of it that were not looked at yet
    cdef const tpacket3_hdr* _header
    cdef uint64_t _packets
    cdef uint64_t _drops
    cdef uint64_t _freezes
    cdef readonly uint64_t giants

    def __cinit__(self):
        self._ring.fd = -1
        self._ring.memory = NULL

    def __init__(
        self,
        str interface not None,
        *,
        size_t ring_bytes=4 << 20,
        uint32_t block_timeout_ms=20,
        int poll_ms=100,
        bint promiscuous=True,
        Program filter=None,
        RingSource beside=None,
    ):
        if self._ring.fd >= 0:
            raise ValueError("a source is made once")
        cdef bytes name = os.fsencode(interface)
        if not 0 < len(name) < IFNAMSIZ or b"\0" in name:
            raise CaptureError(_no_such_interface(interface))
        name = name.ljust(IFNAMSIZ, b"\0")
        cdef const char* name_octets = name
        cdef int ifindex = <int>if_nametoindex(name_octets)
        if ifindex == 0:
            raise CaptureError(_no_such_interface(interface))
        cdef uint32_t block_count = max(<uint32_t>RING_MIN_BLOCKS, <uint32_t>(ring_bytes // RING_BLOCK_OCTETS))
        cdef RingStep step
        cdef int error
        cdef Ring* others = NULL if beside is None else &beside._ring
        self.interface = interface
        self._filter = filter
        self._instructions = NULL if filter is None else filter.instructions
        self._poll_ms = poll_ms
        self._last_wait_ms = <int>(2 * min(block_timeout_ms, <uint32_t>1000)) + 10
        with nogil:
            error = ring_socket(&self._ring, name_octets, ifindex, &step)
        if error == 0:
            try:
                self.linktype = _linktype_of(interface, self._ring.hardware)
            except CaptureError:
                self.close()
                raise
            self._loopback = self._ring.hardware == ARPHRD_LOOPBACK
            with nogil:
                learn_longest(&self._ring)
                error = ring_start(&self._ring, block_count, block_timeout_ms, promiscuous, others, &step)
        if error:
            self.close()
            raise CaptureError(_refusal(interface, step, error, ring_bytes))

    def __dealloc__(self):
        ring_close(&self._ring)

    def close(self):
        """Give the ring back to the kernel; the statistics stay as they were last."""
        if self._ring.fd >= 0:
            self._collect()
        self._held = False
        with nogil:
            ring_close(&self._ring)

    def stats(self):
        self._collect()
        return RingStats(self._packets, self._drops, self._freezes)

    cdef void _collect(self) noexcept:
        """Add up the kernel's counters, which start anew with each reading."""
        cdef tpacket_stats_v3 counted
        cdef uint32_t length = sizeof(counted)
        if self._ring.fd >= 0 and getsockopt(self._ring.fd, SOL_PACKET, PACKET_STATISTICS, &counted, &length) == 0:
            self._packets += counted.tp_packets
            self._drops += counted.tp_drops
            self._freezes += counted.tp_freeze_q_cnt
            learn_longest(&self._ring)

    cdef int next_block(self, FrameRef* out, int capacity) noexcept nogil:
        cdef int count = 0
        cdef tpacket_block_desc* block
        if self._ended or self._ring.memory == NULL:
            return -1
        if self._left == 0:
            self._hand_back()
            block = self._await_block(self._poll_ms)
            if block == NULL and self._went_down and interface_is_gone(&self._ring):
                poll(NULL, 0, self._last_wait_ms)
                block = self._await_block(0)
                if block == NULL:
                    self._end()
                    return -1
            if block == NULL:
                return 0            # silent, or merely down: it may come up again
            self._held = True
            self._left = block.hdr.bh1.num_pkts
            self._header = <const tpacket3_hdr*>(<const uint8_t*>block + block.hdr.bh1.offset_to_first_pkt)
        while self._left and count < capacity:
            # On loopback each frame passes twice, going out and coming in; one of them is enough.
            if not (self._loopback and is_outgoing(self._header)):
                ring_frame(self._header, <uint16_t>self.linktype, &out[count])
                self.giants += out[count].original > self._ring.longest
                count += admit(&self.tally, &out[count], self._instructions)
            self._header = <const tpacket3_hdr*>(<const uint8_t*>self._header + self._header.tp_next_offset)
            self._left -= 1
        return count

    cdef void _hand_back(self) noexcept nogil:
        """The block that was read belongs to the kernel again; its frames are no longer valid."""
        if self._held:
            hand_back(ring_block(&self._ring, self._block))
            self._held = False
            self._block = (self._block + 1) % self._ring.block_count

    cdef tpacket_block_desc* _await_block(self, int timeout_ms) noexcept nogil:
        """The next block of frames; NULL = none in time, or the interface went down."""
        cdef tpacket_block_desc* block = ring_block(&self._ring, self._block)
        cdef pollfd waiting
        if block_is_ours(block):
            return block
        waiting.fd = self._ring.fd
        waiting.events = <short>POLLIN
        waiting.revents = 0
        poll(&waiting, 1, timeout_ms)
        if waiting.revents & POLLERR:
            self._clear_error()
        return block if block_is_ours(block) else NULL

    cdef void _clear_error(self) noexcept nogil:
        """Take the socket's pending error: the interface went down, perhaps for good."""
        cdef int error = 0
        cdef uint32_t length = sizeof(error)
        getsockopt(self._ring.fd, SOL_SOCKET, SO_ERROR, &error, &length)
        self._went_down = True

    cdef void _end(self) noexcept nogil:
        self._ended = True
        with gil:
            self.problem = f"interface {self.interface} has gone"
