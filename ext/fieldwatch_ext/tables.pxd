# Memory of the kernel's tables: zeroed, touched page by page as it is used.
#
# A large table is asked for in huge pages: with pages of 4 KiB the address of nearly every entry would have to be
# looked up in memory first. A small one is not: it would be resident whole after a handful of flows.
from libc.stdint cimport uint8_t, uintptr_t

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* address, size_t length, int protection, int flags, int fd, long offset) noexcept
    int munmap(void* address, size_t length) noexcept
    int madvise(void* address, size_t length, int advice) noexcept
    void* MAP_FAILED
    int PROT_READ
    int PROT_WRITE
    int MAP_PRIVATE
    int MAP_ANONYMOUS
    int MADV_HUGEPAGE

cdef enum:
    HUGE_PAGE = 1 << 21
    LARGE_TABLE = 12 << 20

cdef struct Table:
    void* start                 # aligned to HUGE_PAGE where the table is large, to a page else
    void* mapped
    size_t length


cdef inline int table_make(Table* t, size_t octets) noexcept nogil:
    cdef bint large = octets >= LARGE_TABLE
    t.length = octets + HUGE_PAGE if large else octets
    t.mapped = mmap(NULL, t.length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if t.mapped == MAP_FAILED:
        t.mapped = NULL
        return -1
    t.start = t.mapped
    if large:
        t.start = <void*>((<uintptr_t>t.mapped + HUGE_PAGE - 1) & ~<uintptr_t>(HUGE_PAGE - 1))
        madvise(t.start, octets, MADV_HUGEPAGE)
    return 0


cdef inline void table_free(Table* t) noexcept nogil:
    if t.mapped != NULL:
        munmap(t.mapped, t.length)
