from fieldwatch_ext.frames cimport FrameRef

cdef class Source:
    # At most `capacity` frames; 0 = none within the timeout, -1 = the source has ended (or failed: `problem` says why).
    # One call a block, never one a frame. Frames that the filter rejects are not handed out (they are counted).
    cdef int next_block(self, FrameRef* out, int capacity) noexcept nogil
