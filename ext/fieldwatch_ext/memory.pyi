"""Memory that the C library holds for later, given back to the kernel."""

def give_back() -> bool:
    """Whether anything was given back (malloc_trim(3)); False with another C library than glibc. Takes milliseconds."""
