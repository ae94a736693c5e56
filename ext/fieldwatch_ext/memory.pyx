# cython: language_level=3
"""Memory that the C library holds for later, given back to the kernel."""

cdef extern from *:
    """
    #ifdef __GLIBC__
    #include <malloc.h>
    static int give_back_unused(void) { return malloc_trim(0); }
    #else
    static int give_back_unused(void) { return 0; }
    #endif
    """
    int give_back_unused() nogil


def give_back() -> bool:
    """Whether anything was given back (malloc_trim(3)); False with another C library than glibc. Takes milliseconds."""
    cdef int gave
    with nogil:
        gave = give_back_unused()
    return gave != 0
