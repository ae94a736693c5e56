from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free


cdef class MemorySource(Source):
    cdef tuple _octets          # keeps alive what the references point to
    cdef FrameRef* _refs
    cdef Py_ssize_t _count
    cdef Py_ssize_t _next
    cdef int _block

    def __cinit__(self):
        self._refs = NULL
        self._count = 0
        self._next = 0

    def __init__(self, frames, *, uint16_t linktype=1, int block=BLOCK_FRAMES):
        if self._refs != NULL:
            raise ValueError("a source is made once")
        if not 0 < block <= BLOCK_FRAMES:
            raise ValueError(f"a block has 1 to {BLOCK_FRAMES} frames, not {block}")
        cdef list kept = []
        cdef bytes octets
        cdef FrameRef* ref
        self._block = block
        self._refs = <FrameRef*>calloc(max(len(frames), 1), sizeof(FrameRef))
        if self._refs == NULL:
            raise MemoryError
        for frame in frames:
            octets = frame[1]
            kept.append(octets)
            ref = &self._refs[len(kept) - 1]
            ref.octets = <const uint8_t*><const char*>octets
            ref.ts_ns = frame[0]
            ref.captured = <uint32_t>len(octets)
            ref.original = max(frame[2] if len(frame) > 2 else 0, len(octets))
            ref.linktype = linktype
        self._octets = tuple(kept)
        self._count = len(kept)

    def __dealloc__(self):
        free(self._refs)

    cdef int next_block(self, FrameRef* out, int capacity) noexcept nogil:
        cdef int count = 0
        cdef int limit = min(capacity, self._block)
        if self._next == self._count:
            return -1
        while count < limit and self._next < self._count:
            out[count] = self._refs[self._next]
            self._next += 1
            admit(&self.tally, &out[count], NULL)
            count += 1
        return count

    def close(self):
        self._next = self._count
