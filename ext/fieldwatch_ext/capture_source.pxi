from typing import NamedTuple

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free

from fieldwatch_ext.bpf cimport Instruction, run_filter
from fieldwatch_ext.frames cimport BLOCK_FRAMES, FrameRef

Frame = NamedTuple(
    "Frame", [("ts_ns", int), ("octets", bytes), ("original", int), ("linktype", int), ("interface", int)]
)
Frame.__module__ = __name__


cdef inline bint admit(Tally* tally, const FrameRef* frame, const Instruction* filter) noexcept nogil:
    """Whether the frame passes the filter (NULL = every frame does); counted either way."""
    if filter != NULL and run_filter(filter, frame.octets, frame.captured, frame.original) == 0:
        tally.filtered += 1
        return False
    tally.frames += 1
    tally.octets += frame.original
    return True


cdef class Source:
    @property
    def frames(self):
        return self.tally.frames

    @property
    def octets(self):
        return self.tally.octets

    @property
    def filtered(self):
        return self.tally.filtered

    cdef int next_block(self, FrameRef* out, int capacity) noexcept nogil:
        return -1

    def read_block(self, int capacity=BLOCK_FRAMES):
        if not 0 < capacity <= BLOCK_FRAMES:
            raise ValueError(f"a block has 1 to {BLOCK_FRAMES} frames, not {capacity}")
        cdef FrameRef* refs = <FrameRef*>calloc(capacity, sizeof(FrameRef))
        if refs == NULL:
            raise MemoryError
        cdef int count
        cdef int i
        try:
            with nogil:
                count = self.next_block(refs, capacity)
            if count < 0:
                return None
            return [
                Frame(
                    refs[i].ts_ns,
                    (<const char*>refs[i].octets)[:refs[i].captured],
                    refs[i].original,
                    refs[i].linktype,
                    refs[i].interface,
                )
                for i in range(count)
            ]
        finally:
            free(refs)

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.close()
