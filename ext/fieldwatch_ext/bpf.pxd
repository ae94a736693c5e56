from libc.stdint cimport uint8_t, uint16_t, uint32_t

cdef struct Instruction:
    uint16_t code
    uint8_t jump_true
    uint8_t jump_false
    uint32_t k

# The filter's verdict on a checked program: 0 = reject. Sources that hold several filters call it without the object.
cdef uint32_t run_filter(
    const Instruction* program, const uint8_t* frame, uint32_t captured, uint32_t original
) noexcept nogil

cdef class Program:
    cdef Instruction* instructions      # lives as long as the object
    cdef uint32_t count

    # The filter's verdict: 0 = reject.
    cdef uint32_t run(self, const uint8_t* frame, uint32_t captured, uint32_t original) noexcept nogil
