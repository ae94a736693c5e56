import contextlib
import os
import stat

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.stdlib cimport free, malloc

from fieldwatch_ext.bpf cimport Instruction, Program
from fieldwatch_ext.errors import CaptureError

cdef enum:
    MAX_LINKTYPES = 32              # of one stream; each may cost a child process that compiles the filter

# What people hand us by mistake, by its first octets, and what to do about it.
_COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gunzip", "zcat"),
    b"\xfd7zXZ\x00": ("xz", "unxz", "xzcat"),
    b"\x28\xb5\x2f\xfd": ("zstd", "unzstd", "zstdcat"),
    b"BZh": ("bzip2", "bunzip2", "bzcat"),
    b"\x04\x22\x4d\x18": ("lz4", "unlz4", "lz4cat"),
}
_LONGEST_MAGIC = 6


def _decompression(start):
    """What mends a compressed file that starts so; None where it is not compressed."""
    for magic, (compressor, command, cat) in _COMPRESSED.items():
        if start.startswith(magic):
            return f"{compressor}-compressed: {command} it first ({cat} FILE | fieldwatch-agent read -)"
    return None


cdef str describe(const Fault* fault):
    if fault.kind == FAULT_CAPTURED_TOO_LONG:
        return f"a record claims {fault.value} captured octets, where at most {fault.limit} can be"
    if fault.kind == FAULT_BLOCK_TOO_SHORT:
        return f"a block claims a length of {fault.value} octets, where at least {fault.limit} must be"
    if fault.kind == FAULT_BLOCK_TOO_LONG:
        return f"a block claims a length of {fault.value} octets, where at most {fault.limit} can be"
    if fault.kind == FAULT_BLOCK_LENGTHS_DIFFER:
        return f"a block's length is {fault.value} at its start and {fault.limit} at its end"
    if fault.kind == FAULT_NO_SUCH_INTERFACE:
        return f"a frame of interface {fault.value}, where {fault.limit} are described"
    if fault.kind == FAULT_TOO_MANY_INTERFACES:
        return f"more than {fault.value} interfaces in a section"
    if fault.kind == FAULT_VERSION:
        return f"pcapng version {fault.value}.{fault.limit} is not known"
    return f"a section's byte order mark is {fault.value:#010x}"


cdef class FileSource(Source):
    cdef readonly str format
    cdef readonly list linktypes
    cdef readonly bint complete
    cdef readonly str problem
    cdef str _name
    cdef object _filter_for
    cdef dict _programs             # linktype -> Program or None: answers of filter_for, kept alive
    cdef int _fd
    cdef bint _waits                # the stream is a pipe or the like
    cdef bint _is_pcapng
    cdef bint _ended
    cdef BaseException _refused     # what filter_for raised
    cdef Piece _piece
    cdef PcapFormat _pcap
    cdef PcapngFormat _pcapng

    def __cinit__(self):
        self._piece.memory = NULL
        self._pcapng.interfaces = NULL
        self._ended = True

    def __init__(self, int fd, *, str name="the capture", filter_for=None):
        if self._piece.memory != NULL:
            raise ValueError("a source is made once")
        self.linktypes = []
        self.complete = True
        self._name = name
        self._filter_for = filter_for
        self._programs = {}
        self._fd = fd
        self._piece.memory = <uint8_t*>malloc(PIECE_MEMORY)
        if self._piece.memory == NULL:
            raise MemoryError
        self._piece.at = self._piece.end = self._piece.memory + CARRY_OCTETS
        self._ended = False
        try:
            self._waits = not stat.S_ISREG(os.fstat(fd).st_mode)
        except OSError as error:
            raise CaptureError(f"{name} cannot be read: {error.strerror}") from None
        if not self._waits:
            with contextlib.suppress(OSError):
                os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        self._open()

    def __dealloc__(self):
        self._release()

    cdef void _release(self) noexcept:
        self._ended = True
        free(self._piece.memory)
        free(self._pcapng.interfaces)
        self._piece.memory = self._piece.at = self._piece.end = NULL
        self._pcapng.interfaces = NULL
        self._pcapng.interface_count = self._pcapng.interface_room = 0

    def close(self):
        """Give the memory back. The descriptor stays open: it is the caller's."""
        self._release()

    @property
    def position(self):
        return position_of(&self._piece)

    # -- opening: with the GIL, errors are raised

    cdef bint _gather(self, size_t wanted) except -1:
        """Whether the stream has `wanted` octets from here on (at most CARRY_OCTETS); reads until that is known."""
        cdef Refill outcome
        cdef int error
        while <size_t>(self._piece.end - self._piece.at) < wanted:
            with nogil:
                outcome = refill(&self._piece, self._fd, self._waits)
                error = errno
            if outcome == REFILL_END:
                return False
            if outcome == REFILL_ERROR:
                raise CaptureError(f"{self._name} cannot be read: {os.strerror(error)}")
            if outcome == REFILL_NONE:
                PyErr_CheckSignals()
        return True

    cdef size_t _at_hand(self) noexcept:
        return self._piece.end - self._piece.at

    cdef int _open(self) except -1:
        self._gather(_LONGEST_MAGIC)
        cdef bytes start = (<const char*>self._piece.at)[:min(self._at_hand(), _LONGEST_MAGIC)]
        if not start:
            raise CaptureError(f"{self._name} is empty: no pcap or pcapng capture")
        cdef str advice = _decompression(start)
        if advice is not None:
            raise CaptureError(f"{self._name} is {advice}")
        if len(start) >= 4 and load32(self._piece.at, False) == BLOCK_SECTION:
            return self._open_pcapng()
        cdef bint whole = self._gather(PCAP_HEADER_LEN)
        cdef uint32_t magic = load32(self._piece.at, False) if len(start) >= 4 else 0
        if not is_pcap_magic(magic) and not is_pcap_magic(byteswapped(magic)):
            raise CaptureError(f"{self._name} is no pcap or pcapng capture: it starts with {start[:4].hex(' ')}")
        if not whole:
            raise CaptureError(
                f"{self._name} ends inside its pcap header, after {self._at_hand()} of {PCAP_HEADER_LEN} octets"
            )
        read_pcap_header(self._piece.at, &self._pcap)
        self._piece.at += PCAP_HEADER_LEN
        self.format = "pcap"
        self._pcap.filter = self._filter_of(self._pcap.linktype)
        return 0

    cdef int _open_pcapng(self) except -1:
        cdef uint32_t length = 0
        self._is_pcapng = True
        self.format = "pcapng"
        if self._gather(BLOCK_MIN_LEN):
            # The parser reads the header itself; here only its length matters, so that it is at hand as a whole.
            length = load_length(
                self._piece.at + BLOCK_LENGTH,
                load32(self._piece.at + SECTION_BYTE_ORDER, False) != BYTE_ORDER_MAGIC,
            )
        if not self._gather(min(max(length, <uint32_t>BLOCK_MIN_LEN), <uint32_t>CARRY_OCTETS)):
            raise CaptureError(
                f"{self._name} ends inside its pcapng section header, after {self._at_hand()} octets"
            )
        self._parse(NULL, 0)        # sections and interfaces as far as they are at hand, so that filters are asked for
        if self._refused is not None:
            raise self._refused
        if not self._pcapng.in_section:
            raise CaptureError(f"{self._name} is no pcap or pcapng capture: {self.problem}")
        return 0

    cdef const Instruction* _filter_of(self, uint16_t linktype) except? NULL:
        """The filter for frames of a linktype; filter_for is asked when it is first met, and may raise."""
        cdef Program program
        if linktype not in self._programs:
            program = self._filter_for(linktype) if self._filter_for is not None else None
            self._programs[linktype] = program
            self.linktypes.append(LINKTYPE_NAMES.get(linktype, str(linktype)))
        program = self._programs[linktype]
        return NULL if program is None else program.instructions

    # -- reading: without the GIL, errors end the stream

    cdef int next_block(self, FrameRef* out, int capacity) noexcept nogil:
        cdef int count
        cdef int error
        cdef Refill outcome
        if self._ended:
            return -1
        count = self._parse(out, capacity)
        if count:
            return count
        if self._ended:
            return -1
        outcome = refill(&self._piece, self._fd, self._waits)
        if outcome == REFILL_NONE:
            return 0
        if outcome == REFILL_READ:
            count = self._parse(out, capacity)
            return -1 if count == 0 and self._ended else count
        error = errno
        with gil:
            self._finish(error if outcome == REFILL_ERROR else 0)
        return -1

    cdef int _parse(self, FrameRef* out, int capacity) noexcept nogil:
        """The frames at hand, at most `capacity`. Damage ends the stream behind the frames before it."""
        cdef Outcome outcome
        cdef Fault fault
        cdef int count = 0
        cdef int total = 0
        while True:
            if self._is_pcapng:
                outcome = pcapng_blocks(
                    &self._pcapng, &self._piece, out + total, capacity - total, &count, &self.tally, &fault
                )
            else:
                outcome = pcap_records(&self._pcap, &self._piece, out, capacity, &count, &self.tally, &fault)
            total += count
            if outcome == OUTCOME_ASKS:
                with gil:
                    self._answer(<uint16_t>fault.value)
                if not self._ended:
                    continue
            elif outcome == OUTCOME_DAMAGED:
                with gil:
                    self._damaged(&fault)
            return total

    cdef int _answer(self, uint16_t linktype) noexcept:
        if len(self._programs) == MAX_LINKTYPES and linktype not in self._programs:
            self._fail(f"the capture has more than {MAX_LINKTYPES} linktypes")
            return 0
        try:
            self._pcapng.answer = self._filter_of(linktype)
            self._pcapng.answered = True
        except BaseException as error:      # whatever it is: the caller sees the stream end, and why
            self._refused = error
            self._fail(f"no filter for frames of linktype {LINKTYPE_NAMES.get(linktype, linktype)}: {error}")
        return 0

    # -- the end: with the GIL

    cdef int _finish(self, int error) noexcept:
        """The stream has ended, or cannot be read on."""
        self._ended = True
        if error:
            self._fail(f"reading failed at octet {self._piece.octets_read}: {os.strerror(error)}{self._standing()}")
        elif self._at_hand() or self._pcapng.trailer:
            self._fail(
                f"the capture ends in the middle of a record, at octet {self._piece.octets_read}{self._standing()}"
            )
        return 0

    cdef int _damaged(self, const Fault* fault) noexcept:
        self._fail(f"the capture is damaged at octet {self.position}: {describe(fault)}{self._standing()}")
        return 0

    cdef int _fail(self, str problem) noexcept:
        self._ended = True
        self.complete = False
        self.problem = problem
        return 0

    cdef str _standing(self):
        """How many frames were read before the trouble, as a clause."""
        cdef uint64_t frames = self.tally.frames + self.tally.filtered
        if frames == 0:
            return "; no frame stands before it"
        return f"; the {frames} frames before it stand" if frames > 1 else "; the frame before it stands"
