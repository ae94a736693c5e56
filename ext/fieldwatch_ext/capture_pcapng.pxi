# The pcapng format (draft-ietf-opsawg-pcapng): blocks with their length at both ends, grouped in sections. Each section
# has a byte order and interfaces of its own; each interface a linktype, a snaplen and a clock of its own.
from libc.stdint cimport INT64_MAX, INT64_MIN, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport realloc

cdef enum:
    BLOCK_SECTION = 0x0A0D0D0Au     # reads the same in both byte orders
    BLOCK_INTERFACE = 1
    BLOCK_PACKET = 2                # obsolete, still met
    BLOCK_SIMPLE_PACKET = 3
    BLOCK_ENHANCED_PACKET = 6
    BYTE_ORDER_MAGIC = 0x1A2B3C4Du

cdef enum:
    BLOCK_LENGTH = 4
    BLOCK_BODY = 8
    BLOCK_TRAILER_LEN = 4
    BLOCK_MIN_LEN = 12

    SECTION_BYTE_ORDER = 8
    SECTION_MAJOR = 12
    SECTION_MINOR = 14
    SECTION_MIN_LEN = 28

    INTERFACE_LINKTYPE = 8
    INTERFACE_SNAPLEN = 12
    INTERFACE_OPTIONS = 16
    INTERFACE_MIN_LEN = 20

    ENHANCED_INTERFACE = 8
    ENHANCED_TIME_HIGH = 12
    ENHANCED_TIME_LOW = 16
    ENHANCED_CAPTURED = 20
    ENHANCED_ORIGINAL = 24
    ENHANCED_OCTETS = 28
    ENHANCED_MIN_LEN = 32

    PACKET_INTERFACE = 8            # 16 bits; 16 bits of drops follow; the rest as in an enhanced one

    SIMPLE_ORIGINAL = 8
    SIMPLE_OCTETS = 12
    SIMPLE_MIN_LEN = 16

    OPTION_END = 0
    OPTION_IF_TSRESOL = 9
    OPTION_IF_TSOFFSET = 14
    OPTION_HEADER_LEN = 4

    MAX_INTERFACES = 65536          # of a section; FrameRef.interface has 16 bits
    DEFAULT_TSRESOL = 6             # microseconds

cdef extern from *:
    """
    static inline int fw_mul_u64(uint64_t a, uint64_t b, uint64_t *product) {
        return __builtin_mul_overflow(a, b, product);
    }
    static inline int fw_add_i64(int64_t a, int64_t b, int64_t *sum) {
        return __builtin_add_overflow(a, b, sum);
    }
    """
    bint fw_mul_u64(uint64_t a, uint64_t b, uint64_t* product) noexcept nogil   # True = it overflowed
    bint fw_add_i64(int64_t a, int64_t b, int64_t* sum) noexcept nogil

# Nanoseconds = units * multiplier / divisor + offset, or units / 2**bits seconds + offset where the base is 2.
cdef struct Clock:
    uint64_t multiplier
    uint64_t divisor                # 0: finer than any time that fits is long
    uint8_t bits
    bint binary
    int64_t offset_ns

cdef struct Interface:
    Clock clock
    const Instruction* filter
    uint32_t snaplen
    uint16_t linktype

cdef struct PcapngFormat:
    bint swapped
    bint in_section                 # a section header was read
    Interface* interfaces           # of the section
    uint32_t interface_count
    uint32_t interface_room
    int64_t last_ns                 # time of the frame before: simple packets carry none
    uint64_t skip                   # octets of a long block that are still to be passed over
    uint32_t trailer                # then its length must stand here once more; 0 = no long block
    bint answered                   # `answer` is the filter for the interface block at hand
    const Instruction* answer


cdef inline int64_t clamped(uint64_t ns, int64_t offset_ns) noexcept nogil:
    cdef int64_t total
    if fw_add_i64(INT64_MAX if ns > <uint64_t>INT64_MAX else <int64_t>ns, offset_ns, &total):
        return INT64_MAX if offset_ns > 0 else INT64_MIN
    return total


cdef inline int64_t decimal_time(const Clock* clock, uint64_t units) noexcept nogil:
    cdef uint64_t ns
    if clock.divisor != 1:
        ns = units // clock.divisor if clock.divisor else 0
    elif fw_mul_u64(units, clock.multiplier, &ns):
        ns = <uint64_t>INT64_MAX
    return clamped(ns, clock.offset_ns)


cdef int64_t binary_time(const Clock* clock, uint64_t units) noexcept nogil:
    """2**-bits seconds to nanoseconds, rounded down; exact without 128-bit arithmetic (some boards have none)."""
    cdef uint64_t seconds = units >> clock.bits if clock.bits < 64 else 0
    cdef uint64_t fraction = units - (seconds << clock.bits) if clock.bits < 64 else units
    cdef uint64_t high = (fraction >> 32) * 1000000000
    cdef uint64_t low = (fraction & 0xFFFFFFFFu) * 1000000000
    cdef uint64_t ns
    if clock.bits < 32:
        fraction = low >> clock.bits
    else:
        fraction = (high + (low >> 32)) >> (clock.bits - 32) if clock.bits < 96 else 0
    if fw_mul_u64(seconds, 1000000000, &ns) or ns > <uint64_t>INT64_MAX:
        return clamped(<uint64_t>INT64_MAX, clock.offset_ns)
    return clamped(ns + fraction, clock.offset_ns)


cdef void set_resolution(Clock* clock, uint8_t tsresol) noexcept nogil:
    """The option's octet: a negative power of 10, or of 2 where the top bit is set."""
    cdef int exponent
    clock.binary = (tsresol & 0x80) != 0
    clock.bits = tsresol & 0x7F
    clock.multiplier = 1
    clock.divisor = 1
    if clock.binary:
        return
    for exponent in range(clock.bits, 9):
        clock.multiplier *= 10
    for exponent in range(9, clock.bits):
        if fw_mul_u64(clock.divisor, 10, &clock.divisor):
            clock.divisor = 0
            return


cdef void read_interface_options(Clock* clock, const uint8_t* p, size_t left, bint swapped) noexcept nogil:
    """The clock's options. A list that does not fit its block ends there: the frames matter more than the options."""
    cdef uint16_t code
    cdef size_t length
    cdef uint64_t seconds
    cdef uint64_t ns
    while left >= OPTION_HEADER_LEN:
        code = load16(p, swapped)
        length = load16(p + 2, swapped)
        if code == OPTION_END or length > left - OPTION_HEADER_LEN:
            return
        p += OPTION_HEADER_LEN
        left -= OPTION_HEADER_LEN
        if code == OPTION_IF_TSRESOL and length == 1:
            set_resolution(clock, p[0])
        elif code == OPTION_IF_TSOFFSET and length == 8:
            if swapped:
                seconds = <uint64_t>load32(p, True) << 32 | load32(p + 4, True)
            else:
                memcpy(&seconds, p, 8)
            if <int64_t>seconds >= 0:
                ns = <uint64_t>INT64_MAX if seconds > <uint64_t>INT64_MAX // 1000000000 else seconds * 1000000000
                clock.offset_ns = <int64_t>ns
            elif <int64_t>seconds < INT64_MIN // 1000000000:
                clock.offset_ns = INT64_MIN
            else:
                clock.offset_ns = <int64_t>seconds * 1000000000
        length = (length + 3) & ~<size_t>3
        if length > left:
            return
        p += length
        left -= length


cdef inline void set_fault(Fault* fault, FaultKind kind, uint64_t value, uint64_t limit) noexcept nogil:
    fault.kind = kind
    fault.value = value
    fault.limit = limit


cdef bint begin_section(PcapngFormat* form, const uint8_t* p, uint32_t length, Fault* fault) noexcept nogil:
    """A section header block, whose byte order is known already; False = damaged."""
    cdef uint16_t major = load16(p + SECTION_MAJOR, form.swapped)
    if length < SECTION_MIN_LEN:
        set_fault(fault, FAULT_BLOCK_TOO_SHORT, length, SECTION_MIN_LEN)
        return False
    if major != 1:
        set_fault(fault, FAULT_VERSION, major, load16(p + SECTION_MINOR, form.swapped))
        return False
    form.in_section = True
    form.interface_count = 0
    return True


cdef bint add_interface(PcapngFormat* form, const uint8_t* p, uint32_t length, Fault* fault) noexcept nogil:
    """An interface description block, for which the filter is known; False = damaged."""
    cdef uint32_t room
    cdef Interface* grown
    cdef Interface* interface
    if form.interface_count == form.interface_room:
        room = 2 * form.interface_room if form.interface_room else 4
        grown = NULL
        if room <= MAX_INTERFACES:
            grown = <Interface*>realloc(form.interfaces, room * sizeof(Interface))
        if grown == NULL:
            set_fault(fault, FAULT_TOO_MANY_INTERFACES, form.interface_count, MAX_INTERFACES)
            return False
        form.interfaces = grown
        form.interface_room = room
    interface = &form.interfaces[form.interface_count]
    interface.filter = form.answer
    interface.linktype = load16(p + INTERFACE_LINKTYPE, form.swapped)
    interface.snaplen = load32(p + INTERFACE_SNAPLEN, form.swapped)
    interface.clock.offset_ns = 0
    set_resolution(&interface.clock, DEFAULT_TSRESOL)
    read_interface_options(
        &interface.clock, p + INTERFACE_OPTIONS, length - INTERFACE_OPTIONS - BLOCK_TRAILER_LEN, form.swapped
    )
    form.interface_count += 1
    form.answered = False
    return True


cdef const Interface* read_packet(
    PcapngFormat* form, uint32_t kind, const uint8_t* p, uint32_t length, FrameRef* frame, Fault* fault
) noexcept nogil:
    """A packet block of any of the three kinds into `frame`; its interface, or NULL where it is damaged."""
    cdef uint32_t number = 0
    cdef uint32_t room
    cdef uint32_t captured
    cdef uint32_t original
    cdef uint64_t units
    cdef const Interface* interface
    cdef uint32_t least = SIMPLE_MIN_LEN if kind == BLOCK_SIMPLE_PACKET else ENHANCED_MIN_LEN
    if length < least:
        set_fault(fault, FAULT_BLOCK_TOO_SHORT, length, least)
        return NULL
    if kind == BLOCK_ENHANCED_PACKET:
        number = load32(p + ENHANCED_INTERFACE, form.swapped)
    elif kind == BLOCK_PACKET:
        number = load16(p + PACKET_INTERFACE, form.swapped)
    if number >= form.interface_count:
        set_fault(fault, FAULT_NO_SUCH_INTERFACE, number, form.interface_count)
        return NULL
    interface = &form.interfaces[number]
    room = length - least
    if kind == BLOCK_SIMPLE_PACKET:
        original = load32(p + SIMPLE_ORIGINAL, form.swapped)
        captured = original
        if interface.snaplen and captured > interface.snaplen:
            captured = interface.snaplen
        frame.octets = p + SIMPLE_OCTETS
    else:
        captured = load32(p + ENHANCED_CAPTURED, form.swapped)
        original = load32(p + ENHANCED_ORIGINAL, form.swapped)
        units = (
            <uint64_t>load32(p + ENHANCED_TIME_HIGH, form.swapped) << 32
            | load32(p + ENHANCED_TIME_LOW, form.swapped)
        )
        if interface.clock.binary:
            form.last_ns = binary_time(&interface.clock, units)
        else:
            form.last_ns = decimal_time(&interface.clock, units)
        frame.octets = p + ENHANCED_OCTETS
    if captured > room:
        set_fault(fault, FAULT_CAPTURED_TOO_LONG, captured, room)
        return NULL
    frame.ts_ns = form.last_ns
    frame.captured = captured
    frame.original = max(original, captured)
    frame.linktype = interface.linktype
    frame.interface = <uint16_t>number
    return interface


cdef inline uint32_t load_length(const uint8_t* p, bint swapped) noexcept nogil:
    """A block's length. Some writers leave its padding out of it; the padding is there all the same."""
    return (load32(p, swapped) + 3) & ~<uint32_t>3


cdef inline bint is_packet(uint32_t kind) noexcept nogil:
    return kind == BLOCK_ENHANCED_PACKET or kind == BLOCK_SIMPLE_PACKET or kind == BLOCK_PACKET


cdef Outcome pass_over(PcapngFormat* form, Piece* piece, Fault* fault) noexcept nogil:
    """Go on with a long block that is of no interest; OUTCOME_FULL once it is behind us."""
    cdef uint64_t left = piece.end - piece.at
    cdef uint64_t step = min(form.skip, left)
    cdef uint32_t trailer
    piece.at += step
    form.skip -= step
    if form.skip or left - step < BLOCK_TRAILER_LEN:
        return OUTCOME_NEEDS_OCTETS
    trailer = load_length(piece.at, form.swapped)
    if trailer != form.trailer:
        set_fault(fault, FAULT_BLOCK_LENGTHS_DIFFER, form.trailer, trailer)
        return OUTCOME_DAMAGED
    piece.at += BLOCK_TRAILER_LEN
    form.trailer = 0
    return OUTCOME_FULL


cdef Outcome pcapng_blocks(
    PcapngFormat* form, Piece* piece, FrameRef* out, int capacity, int* count, Tally* tally, Fault* fault
) noexcept nogil:
    """Work through the whole blocks at hand; `count` is the number of frames in `out`.

    With a capacity of 0 it stops in front of the first packet block, and `out` is not touched.
    """
    cdef uint32_t kind
    cdef uint32_t length
    cdef uint32_t trailer
    cdef uint8_t* p
    cdef const Interface* interface
    cdef Outcome outcome
    count[0] = 0
    if form.trailer:
        outcome = pass_over(form, piece, fault)
        if outcome != OUTCOME_FULL:
            return outcome
    while piece.end - piece.at >= BLOCK_MIN_LEN:
        p = piece.at
        kind = load32(p, form.swapped)
        if is_packet(kind) and count[0] == capacity:
            return OUTCOME_FULL
        if kind == BLOCK_SECTION:
            if load32(p + SECTION_BYTE_ORDER, form.swapped) != BYTE_ORDER_MAGIC:
                form.swapped = not form.swapped
            if load32(p + SECTION_BYTE_ORDER, form.swapped) != BYTE_ORDER_MAGIC:
                set_fault(fault, FAULT_BYTE_ORDER, load32(p + SECTION_BYTE_ORDER, form.swapped), 0)
                return OUTCOME_DAMAGED
        length = load_length(p + BLOCK_LENGTH, form.swapped)
        if length < BLOCK_MIN_LEN:
            set_fault(fault, FAULT_BLOCK_TOO_SHORT, length, BLOCK_MIN_LEN)
            return OUTCOME_DAMAGED
        if length > CARRY_OCTETS:
            if is_packet(kind) or kind == BLOCK_INTERFACE or kind == BLOCK_SECTION:
                set_fault(fault, FAULT_BLOCK_TOO_LONG, length, CARRY_OCTETS)
                return OUTCOME_DAMAGED
            form.skip = length - BLOCK_TRAILER_LEN
            form.trailer = length
            outcome = pass_over(form, piece, fault)
            if outcome != OUTCOME_FULL:
                return outcome
            continue
        if length > piece.end - p:
            break
        trailer = load_length(p + length - BLOCK_TRAILER_LEN, form.swapped)
        if trailer != length:
            set_fault(fault, FAULT_BLOCK_LENGTHS_DIFFER, length, trailer)
            return OUTCOME_DAMAGED
        if is_packet(kind):
            interface = read_packet(form, kind, p, length, &out[count[0]], fault)
            if interface == NULL:
                return OUTCOME_DAMAGED
            if admit(tally, &out[count[0]], interface.filter):
                count[0] += 1
        elif kind == BLOCK_INTERFACE:
            if length < INTERFACE_MIN_LEN:
                set_fault(fault, FAULT_BLOCK_TOO_SHORT, length, INTERFACE_MIN_LEN)
                return OUTCOME_DAMAGED
            if not form.answered:
                set_fault(fault, FAULT_NONE, load16(p + INTERFACE_LINKTYPE, form.swapped), 0)
                return OUTCOME_ASKS
            if not add_interface(form, p, length, fault):
                return OUTCOME_DAMAGED
        elif kind == BLOCK_SECTION and not begin_section(form, p, length, fault):
            return OUTCOME_DAMAGED
        piece.at += length
    return OUTCOME_NEEDS_OCTETS
