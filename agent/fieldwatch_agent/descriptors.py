"""What it means that no file descriptor is left: nothing is wrong with what could not be opened."""

from __future__ import annotations

import errno


def lacks_descriptors(problem: BaseException) -> bool:
    """Whether an error means that this process, or the machine, has no file descriptor left."""
    return isinstance(problem, OSError) and problem.errno in (errno.EMFILE, errno.ENFILE)
