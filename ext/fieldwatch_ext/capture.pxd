from libc.stdint cimport uint64_t

from fieldwatch_ext.frames cimport FrameRef

cdef struct Tally:
    uint64_t frames         # handed out
    uint64_t octets         # of those, on the wire
    uint64_t filtered       # rejected by the filter

cdef class Source:
    cdef Tally tally

    # At most `capacity` frames; 0 = none within the timeout, -1 = the source has ended (or failed: `problem` says why).
    # One call a block, never one a frame. Frames that the filter rejects are not handed out (they are counted).
    # What was handed out stays valid until the next call or close(); neither may run beside the other.
    cdef int next_block(self, FrameRef* out, int capacity) noexcept nogil
