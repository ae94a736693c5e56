"""A bound on the octets in flight: whoever would pass it waits in line."""

from __future__ import annotations

import asyncio
from collections import deque


class Budget:
    """`limit` octets at one time; a single item over the limit passes when it is alone. For one event loop."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, cost: int) -> None:
        """Wait for room, first come first served."""
        if not self._waiting and self._fits(cost):
            self.used += cost
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (cost, turn)
        self._waiting.append(entry)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(cost)  # it was our turn already
            else:
                self._waiting.remove(entry)
                self._admit()
            raise

    async def room(self, cost: int) -> None:
        """Wait as `take` does, and leave the room to whoever takes it."""
        await self.take(cost)
        self.give(cost)

    def give(self, cost: int) -> None:
        """Give room back."""
        self.used -= cost
        self._admit()

    def _admit(self) -> None:
        while self._waiting:
            cost, turn = self._waiting[0]
            if not self._fits(cost):
                return
            self._waiting.popleft()
            if not turn.done():
                self.used += cost
                turn.set_result(None)

    def _fits(self, cost: int) -> bool:
        return self.used == 0 or self.used + cost <= self.limit
