# cython: language_level=3
"""The kernel's opinion of its own clock."""

import os

cdef extern from *:
    """
    #include <errno.h>
    #ifdef __linux__
    #include <string.h>
    #include <sys/timex.h>
    static int clock_is_unsynced(void)
    {
        struct timex asked;
        memset(&asked, 0, sizeof asked); /* modes = 0: nothing is set */
        return adjtimex(&asked) < 0 ? -errno : (asked.status & STA_UNSYNC) != 0;
    }
    #else
    static int clock_is_unsynced(void) { return -ENOSYS; }
    #endif
    """
    int clock_is_unsynced() nogil


def is_disciplined() -> bool:
    """Whether the wall clock is kept right by a time service (adjtimex(2) without STA_UNSYNC).

    Raises OSError where the kernel is not to be asked: a seccomp filter forbids it (EPERM), or it is no Linux (ENOSYS).
    """
    cdef int unsynced = clock_is_unsynced()
    if unsynced < 0:
        raise OSError(-unsynced, os.strerror(-unsynced))
    return unsynced == 0
