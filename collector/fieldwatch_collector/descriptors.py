"""How many descriptors there are, and how many of them connections may take: each port has its share.

A connection takes a descriptor whoever is at its other end, and without one the store opens no file, no agent is let in
and no page is shown. So whoever fills one port fills that port alone.
"""

from __future__ import annotations

import resource
from dataclasses import dataclass

WANTED = 65_536
OWN = 256  # the store, its readers, files of commands, whoever administers
SHARE = 5  # one in so many, of what is left, for each port that anybody may reach
MOST_OF_ANYBODY = 1_000


@dataclass(frozen=True, slots=True)
class Shares:
    """Connections at one time: to the port of agents, to each of the others."""

    agents: int
    anybody: int


def raise_limit() -> int:
    """As many descriptors as are allowed, `WANTED` at most; how many the process may have from now on."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError):  # not for this process; it has to do with what it has
            return soft
        return wanted
    return WANTED if soft == resource.RLIM_INFINITY else soft


def shares(limit: int) -> Shares:
    """Of so many descriptors."""
    left = max(SHARE, limit - OWN)
    anybody = min(MOST_OF_ANYBODY, left // SHARE)
    return Shares(agents=left - 2 * anybody, anybody=anybody)
