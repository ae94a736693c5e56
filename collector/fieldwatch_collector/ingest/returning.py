"""After a restart agents come back one after the other: the collector knows how many there are, and tells them.

A TLS handshake costs 1.3 ms of a core. Ten thousand agents that come at once keep it busy for a quarter of a minute in
which none of them gets an answer, and then come again. So each Welcome names a time that grows with the fleet; an agent
that loses its stream without a word comes back at a random moment of it. A collector that stops says so itself, with a
moment for each.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time

from fieldwatch_collector.store import Store

RETURNS_PER_S = 90  # on the average; with chance, and with those who came too early, fewer than 200
STOP_MS = 3_000  # the least over which agents are spread when the collector stops
COUNT_EVERY_S = 60.0


class Returning:
    """One per server."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._agents = 0
        self._counted_at = float("-inf")

    async def spread_ms(self) -> int:
        """Over how many milliseconds the agents that are enrolled shall come back."""
        now = time.monotonic()
        if now - self._counted_at >= COUNT_EVERY_S:
            self._counted_at = now  # others need not count at the same time
            self._agents = await asyncio.to_thread(self._count)
        return spread_ms(self._agents)

    def _count(self) -> int:
        try:
            with self._store.reader() as connection:
                return int(connection.execute("SELECT count(*) FROM agent WHERE revoked_ns IS NULL").fetchone()[0])
        except sqlite3.Error:  # the store says so itself
            return self._agents


def spread_ms(agents: int) -> int:
    """Milliseconds for so many agents."""
    return agents * 1_000 // RETURNS_PER_S


def stop_ms(spread: int, dice: random.Random) -> int:
    """When an agent shall come back that is sent away because the collector stops."""
    return dice.randint(100, max(STOP_MS, spread))
