# A stream of octets in pieces. The memory is CARRY_OCTETS + PIECE_OCTETS + SLACK_OCTETS; a piece is read to the same
# place each time (the copy stays in cache), and what is left of the piece before is moved in front of it.
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove
from posix.unistd cimport read

cdef extern from "<poll.h>" nogil:
    struct pollfd:
        int fd
        short events
        short revents
    int POLLIN
    int POLLERR
    int poll(pollfd* fds, unsigned long count, int timeout_ms)

cdef enum:
    PIECE_OCTETS = 262144
    CARRY_OCTETS = 327680           # the longest record, headers and options included
    SLACK_OCTETS = 64               # readable behind the last frame
    ROOM_OCTETS = 65536             # with less room than this behind the octets at hand, a piece starts anew
    PIECE_MEMORY = CARRY_OCTETS + PIECE_OCTETS + SLACK_OCTETS
    STREAM_POLL_MS = 100            # how long a call waits for a pipe

cdef enum Refill:
    REFILL_READ
    REFILL_NONE                     # nothing yet, or a signal came: the caller gets to look around
    REFILL_END
    REFILL_ERROR                    # errno says why

# What a parser came to. It hands out frames until one of these holds.
cdef enum Outcome:
    OUTCOME_NEEDS_OCTETS            # the next record is not whole yet
    OUTCOME_FULL                    # `capacity` frames handed out, and more stand here
    OUTCOME_ASKS                    # `fault.value` is a linktype for which the filter is not known yet
    OUTCOME_DAMAGED                 # `fault` says why; nothing behind this can be trusted

cdef enum FaultKind:
    FAULT_NONE
    FAULT_CAPTURED_TOO_LONG
    FAULT_BLOCK_TOO_SHORT
    FAULT_BLOCK_TOO_LONG
    FAULT_BLOCK_LENGTHS_DIFFER
    FAULT_NO_SUCH_INTERFACE
    FAULT_TOO_MANY_INTERFACES
    FAULT_BYTE_ORDER
    FAULT_VERSION

cdef struct Fault:
    FaultKind kind
    uint64_t value
    uint64_t limit

cdef struct Piece:
    uint8_t* memory
    uint8_t* at                     # next octet to be parsed
    uint8_t* end                    # behind the last octet read
    uint64_t octets_read            # since the stream was opened


cdef inline uint16_t load16(const uint8_t* p, bint swapped) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, p, 2)
    return <uint16_t>(value << 8 | value >> 8) if swapped else value


cdef inline uint32_t byteswapped(uint32_t value) noexcept nogil:
    value = (value & 0x00FF00FFu) << 8 | (value >> 8 & 0x00FF00FFu)
    return value << 16 | value >> 16


cdef inline uint32_t load32(const uint8_t* p, bint swapped) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, p, 4)
    return byteswapped(value) if swapped else value


cdef inline uint64_t position_of(const Piece* piece) noexcept nogil:
    """Octets of the stream that the parser has consumed."""
    return piece.octets_read - <uint64_t>(piece.end - piece.at)


cdef Refill refill(Piece* piece, int fd, bint waits) noexcept nogil:
    """Put the stream's next octets behind those at hand; one read(2). `waits` = fd is a pipe that may stay silent.

    Frames handed out before are overwritten. At most CARRY_OCTETS may be at hand: the parsers reject a longer record.
    """
    cdef uint8_t* limit = piece.memory + CARRY_OCTETS + PIECE_OCTETS
    cdef size_t carry = piece.end - piece.at
    cdef pollfd waiting
    cdef ssize_t got
    if waits:
        waiting.fd = fd
        waiting.events = <short>POLLIN
        waiting.revents = 0
        if poll(&waiting, 1, STREAM_POLL_MS) <= 0:
            return REFILL_NONE
    if <size_t>(limit - piece.end) < ROOM_OCTETS:
        memmove(piece.memory + CARRY_OCTETS - carry, piece.at, carry)
        piece.at = piece.memory + CARRY_OCTETS - carry
        piece.end = piece.memory + CARRY_OCTETS
    got = read(fd, piece.end, limit - piece.end)
    if got < 0:
        return REFILL_NONE if errno == EINTR else REFILL_ERROR
    if got == 0:
        return REFILL_END
    piece.end += got
    piece.octets_read += <uint64_t>got
    return REFILL_READ
