"""The kernel's opinion of its own clock."""

def is_disciplined() -> bool:
    """Whether the wall clock is kept right by a time service (adjtimex(2) without STA_UNSYNC).

    Raises OSError where the kernel is not to be asked: a seccomp filter forbids it (EPERM), or it is no Linux (ENOSYS).
    """
