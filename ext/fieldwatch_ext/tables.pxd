# Memory of the kernel's tables: zeroed, touched page by page as it is used.
#
# A large table is asked for in huge pages: with pages of 4 KiB the address of nearly every entry would have to be
# looked up in memory first. A small one is not, nor the beginning of one of middling size, which is filled from its
# start: it would be resident whole after a handful of flows.
from libc.stdint cimport uint8_t, uintptr_t
from libc.stdlib cimport calloc, free

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
    CACHE_LINES = 128           # two: neighbours are fetched together
    HUGE_PAGE = 1 << 21
    MIDDLING_TABLE = 4 << 20    # the flow table of the default size, for one
    LARGE_TABLE = 12 << 20

cdef struct Table:
    void* start                 # aligned to CACHE_LINES, a large one to HUGE_PAGE
    void* memory
    size_t mapped               # octets of `memory`, where it was mapped


cdef inline void* _aligned(void* memory, uintptr_t to) noexcept nogil:
    return <void*>((<uintptr_t>memory + to - 1) & ~(to - 1))


cdef inline int table_make(Table* t, size_t octets) noexcept nogil:
    cdef size_t small = HUGE_PAGE if octets < LARGE_TABLE else 0
    if octets < MIDDLING_TABLE:
        t.memory = calloc(1, octets + CACHE_LINES)
        t.start = _aligned(t.memory, CACHE_LINES)
        return 0 if t.memory != NULL else -1
    t.memory = mmap(NULL, octets + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    if t.memory == MAP_FAILED:
        t.memory = NULL
        return -1
    t.mapped = octets + HUGE_PAGE
    t.start = _aligned(t.memory, HUGE_PAGE)
    madvise(<uint8_t*>t.start + small, octets - small, MADV_HUGEPAGE)
    return 0


cdef inline void table_free(Table* t) noexcept nogil:
    if t.mapped:
        munmap(t.memory, t.mapped)
    else:
        free(t.memory)
