# The pcap format (draft-ietf-opsawg-pcap): a header of 24 octets, then records. Four dialects differ in the unit of
# the fraction, in byte order, in longer record headers ("modified") and, in old files, in the order of the two lengths.
from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef enum:
    PCAP_VERSION_MAJOR = 4
    PCAP_VERSION_MINOR = 6
    PCAP_LINKTYPE = 20
    PCAP_HEADER_LEN = 24

    RECORD_SECONDS = 0
    RECORD_FRACTION = 4
    RECORD_CAPTURED = 8
    RECORD_ORIGINAL = 12
    RECORD_HEADER_LEN = 16
    MODIFIED_RECORD_HEADER_LEN = 24

cdef enum:
    PCAP_MAGIC_US = 0xA1B2C3D4u
    PCAP_MAGIC_NS = 0xA1B23C4Du
    PCAP_MAGIC_MODIFIED = 0xA1B2CD34u
    PCAP_LINKTYPE_MASK = 0xFFFF             # above it stand the FCS bits
    LINKTYPE_ETHERNET = 1
    LINKTYPE_RAW = 101

# Before version 2.3 the original length came first; writers of 2.3 did either.
cdef enum LengthOrder:
    CAPTURED_FIRST
    SMALLER_FIRST
    ORIGINAL_FIRST

cdef struct PcapFormat:
    bint swapped
    uint32_t fraction_ns
    uint32_t record_header_len
    LengthOrder order
    uint16_t linktype
    const Instruction* filter


cdef inline bint is_pcap_magic(uint32_t magic) noexcept nogil:
    return magic == PCAP_MAGIC_US or magic == PCAP_MAGIC_NS or magic == PCAP_MAGIC_MODIFIED


cdef void read_pcap_header(const uint8_t* p, PcapFormat* out) noexcept nogil:
    """The PCAP_HEADER_LEN octets at p, which start with one of the magic numbers."""
    cdef uint32_t magic = load32(p, False)
    cdef uint16_t major
    cdef uint16_t minor
    out.swapped = not is_pcap_magic(magic)
    if out.swapped:
        magic = byteswapped(magic)
    out.fraction_ns = 1 if magic == PCAP_MAGIC_NS else 1000
    out.record_header_len = MODIFIED_RECORD_HEADER_LEN if magic == PCAP_MAGIC_MODIFIED else RECORD_HEADER_LEN
    major = load16(p + PCAP_VERSION_MAJOR, out.swapped)
    minor = load16(p + PCAP_VERSION_MINOR, out.swapped)
    out.order = CAPTURED_FIRST
    if major == 2 and minor < 3:
        out.order = ORIGINAL_FIRST
    elif major == 2 and minor == 3:
        out.order = SMALLER_FIRST
    out.linktype = <uint16_t>(load32(p + PCAP_LINKTYPE, out.swapped) & PCAP_LINKTYPE_MASK)
    if out.linktype == 12 or out.linktype == 14:
        out.linktype = LINKTYPE_RAW         # DLT_RAW of some systems, written as it was


cdef Outcome pcap_records(
    const PcapFormat* form, Piece* piece, FrameRef* out, int capacity, int* count, Tally* tally, Fault* fault
) noexcept nogil:
    """Hand out the whole records at hand. `count` is the number in `out`; the piece moves on behind them."""
    cdef const uint8_t* p = piece.at
    cdef size_t left = piece.end - piece.at
    cdef size_t header_len = form.record_header_len
    cdef bint swapped = form.swapped
    cdef uint32_t captured
    cdef uint32_t original
    cdef FrameRef* frame
    cdef Outcome outcome = OUTCOME_NEEDS_OCTETS
    cdef int n = 0
    while left >= header_len:
        if n == capacity:
            outcome = OUTCOME_FULL
            break
        captured = load32(p + RECORD_CAPTURED, swapped)
        original = load32(p + RECORD_ORIGINAL, swapped)
        if form.order != CAPTURED_FIRST and (form.order == ORIGINAL_FIRST or captured > original):
            captured, original = original, captured
        if captured > CARRY_OCTETS - header_len:
            fault.kind = FAULT_CAPTURED_TOO_LONG
            fault.value = captured
            fault.limit = CARRY_OCTETS - header_len
            outcome = OUTCOME_DAMAGED
            break
        if captured > left - header_len:
            break
        frame = &out[n]
        frame.octets = p + header_len
        frame.ts_ns = (
            <int64_t>load32(p + RECORD_SECONDS, swapped) * 1000000000
            + <int64_t>load32(p + RECORD_FRACTION, swapped) * form.fraction_ns
        )
        frame.captured = captured
        frame.original = max(original, captured)
        frame.linktype = form.linktype
        frame.interface = 0
        p += header_len + captured
        left -= header_len + captured
        if admit(tally, frame, form.filter):
            n += 1
    piece.at = <uint8_t*>p
    count[0] = n
    return outcome
