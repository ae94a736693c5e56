from libc.stdint cimport uint8_t, uint32_t

cdef class Program:
    # The filter's verdict: 0 = reject.
    cdef uint32_t run(self, const uint8_t* frame, uint32_t captured, uint32_t original) noexcept nogil
