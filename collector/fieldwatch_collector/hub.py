"""The event hub: what the collector has just learnt, to everybody who watches (WebSocket, gRPC, rules).

Constraints:

- `publish` and `publish_transient` may be called from any thread, return at once and wait for nobody.
- Persisted events carry `seq` and are published after their commit, by several threads. They are told in the
  order of their numbers, so that a number is all a subscriber needs to resume: an event that is ahead of its
  predecessor waits for it, at most `HOLE_S`. One bounded ring holds
  the newest; a subscriber is a *position* in that ring, not a queue of its own, so a slow one costs nothing.
  Who falls behind the ring, or resumes from before it, reads the event table through `history`; what the
  table no longer holds is answered with a gap and never passed over in silence.
- Transient messages (a device's newest numbers) are not persisted: per subscriber the newest one of each id
  is kept, and an id is sent at most once a second. When too many wait, the oldest go and the subscriber gets
  a gap.

A gap is ``{"type": "gap", "data": {"after_seq": a, "before_seq": b, "reason": r}}``. With r = "expired" the
events between `a` and `b` are out of reach; "unknown": the collector does not know the number `a` that was
asked for; "slow": updates were dropped. Whoever gets one reads the lists anew.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heappush
from itertools import islice
from types import TracebackType
from typing import Any

Message = dict[str, Any]
# (seq, limit) -> at most `limit` persisted events with a number above `seq`, in order. Called in a thread.
History = Callable[[int, int], list[Message]]

RING_EVENTS = 10_000
PENDING_TRANSIENTS = 10_000  # per subscriber, and between two turns of the loop
TRANSIENT_INTERVAL_S = 1.0
PAGE_EVENTS = 500
HOLE_S = 1.0


def gap(reason: str, after_seq: int = 0, before_seq: int = 0) -> Message:
    """The message that says what a subscriber did not get."""
    return {"type": "gap", "data": {"after_seq": after_seq, "before_seq": before_seq, "reason": reason}}


class Hub:
    """One per collector process. `loop` is that of the subscribers; else the first subscriber brings it."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None = None,
        history: History | None = None,
        *,
        ring_events: int = RING_EVENTS,
        pending_transients: int = PENDING_TRANSIENTS,
        transient_interval_s: float = TRANSIENT_INTERVAL_S,
    ) -> None:
        self.history = history
        self.pending_transients = pending_transients
        self.transient_interval_s = transient_interval_s
        self.closed = False
        self._loop = loop
        self._lock = threading.Lock()
        self._ring: deque[Message] = deque(maxlen=ring_events)
        self._published = 0  # events ever published; the ring holds the positions just below it
        self._first_seq = 0  # of the first event that this process published
        self._next_seq = 0  # that is due; 0 = whichever comes first
        self._ahead: list[tuple[int, int, Message]] = []  # a heap of events whose predecessor is not here yet
        self._ahead_since = 0.0
        self._tie = 0
        self._look_again: asyncio.TimerHandle | None = None
        self._transients: dict[tuple[str, str], Message] = {}
        self._transients_dropped = False
        self._turn_is_due = False
        self._subscriptions: set[Subscription] = set()

    @property
    def subscribers(self) -> int:
        """How many watch now."""
        return len(self._subscriptions)

    def publish(self, events: Sequence[Message]) -> None:
        """Tell of committed events, shaped like query.proto's Event with `data` as an object."""
        with self._lock:
            for event in events:
                self._tie += 1
                heappush(self._ahead, (event["seq"], self._tie, event))
            self._release()
            self._schedule()

    def publish_transient(self, message: Message) -> None:
        """Tell of a state that the next message of the same type and ``data["id"]`` replaces."""
        with self._lock:
            self._transients_dropped |= _keep_newest(self._transients, message, self.pending_transients)
            self._schedule()

    def subscribe(
        self, types: Sequence[str] = (), site: str = "", since_seq: int = 0, *, transient: bool = True
    ) -> Subscription:
        """``async with hub.subscribe(...) as messages: async for message in messages``.

        `types`: none = all; a text that ends in "." = every type with that prefix. `since_seq`: the last
        number that the subscriber has; 0 = from now. `transient`: whether it wants those messages too.
        """
        return Subscription(self, tuple(types), site, since_seq, transient)

    def close(self) -> None:
        """End every subscription; called in the loop when the server stops."""
        self.closed = True
        for subscription in self._subscriptions:
            subscription.wake()

    def _release(self) -> None:
        """Put into the ring what is due: everything up to the first hole, or beyond one that stays."""
        now = time.monotonic()
        waited = self._ahead and self._ahead_since and now - self._ahead_since >= HOLE_S
        while self._ahead:
            seq, _, event = self._ahead[0]
            if not self._published:
                self._first_seq = self._next_seq = seq
            if seq > self._next_seq and not waited and len(self._ahead) < (self._ring.maxlen or 0):
                self._ahead_since = self._ahead_since or now
                return
            heappop(self._ahead)
            self._ring.append(event)
            self._published += 1
            self._next_seq = max(self._next_seq, seq + 1)
        self._ahead_since = 0.0

    def _schedule(self) -> None:
        if self._turn_is_due or self._loop is None:
            return
        try:
            self._loop.call_soon_threadsafe(self._turn)
        except RuntimeError:  # the loop is closed: the server is gone, nobody listens
            return
        self._turn_is_due = True

    def _turn(self) -> None:
        """In the loop: hand the transients out and wake the subscribers."""
        with self._lock:
            self._turn_is_due = False
            self._release()
            if self._ahead and self._loop and self._look_again is None:
                self._look_again = self._loop.call_later(HOLE_S / 4, self._look)
            transients, self._transients = self._transients, {}
            dropped, self._transients_dropped = self._transients_dropped, False
        for subscription in self._subscriptions:
            subscription.offer(transients.values(), dropped)
            subscription.wake()

    def _look(self) -> None:
        """In the loop: has the hole been there long enough?"""
        self._look_again = None
        self._turn()

    def _enter(self, subscription: Subscription) -> tuple[int, int]:
        """(position of the next event, number of the newest one or 0)."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.get_running_loop()
            self._subscriptions.add(subscription)
            if self._transients:
                self._schedule()
            return self._published, self._ring[-1]["seq"] if self._ring else 0

    def _leave(self, subscription: Subscription) -> None:
        self._subscriptions.discard(subscription)

    def _from(self, position: int, limit: int) -> list[Message] | None:
        """Events of the ring from `position` on; None where the ring has moved past it."""
        with self._lock:
            start = position - (self._published - len(self._ring))
            return None if start < 0 else list(islice(self._ring, start, start + limit))

    def _position_after(self, seq: int) -> tuple[int, int | None]:
        """(position of the first event above `seq`, number before which the ring knows no event above `seq`).

        The second is None where the ring cannot tell, because all that it holds is older, or nothing.
        """
        with self._lock:
            base, before = self._published - len(self._ring), 0
            for place, event in enumerate(self._ring):
                if event["seq"] > seq:
                    return base + place, seq + 1 if before else event["seq"]
                before = event["seq"]
            return self._published, seq + 1 if before == seq else None


class Subscription:
    """An async context manager and iterator over events, transients and gaps; made by `Hub.subscribe`."""

    def __init__(self, hub: Hub, types: tuple[str, ...], site: str, since_seq: int, transient: bool) -> None:
        self._hub = hub
        self._types = types
        self._site = site
        self._transient = transient
        self._seq = since_seq  # the highest number handed out or passed over
        self._replaying = since_seq > 0
        self._resuming = since_seq > 0  # the number came from outside: it may be none of ours
        self._replayed_to = 0  # the ring may tell again what the table told
        self._position = 0
        self._out: deque[Message] = deque()
        self._pending: dict[tuple[str, str], Message] = {}
        self._dropped = False
        self._transients_not_before = 0.0
        self._awake = asyncio.Event()

    async def __aenter__(self) -> Subscription:
        self._position, newest = self._hub._enter(self)
        if not self._replaying:
            self._seq = newest
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hub._leave(self)

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Message:
        while not self._out:
            if self._hub.closed:
                raise StopAsyncIteration
            self._awake.clear()
            if self._replaying:
                await self._replay()
            elif not self._read_ring() and not self._flush_transients():
                await self._wait()
        return self._out.popleft()

    def wake(self) -> None:
        """There may be something to read."""
        self._awake.set()

    def offer(self, transients: Iterable[Message], dropped: bool) -> None:
        """Take the newest state of each id; bounded, the oldest go first."""
        if not self._transient:
            return
        self._dropped |= dropped
        for message in transients:
            if self._wants(message, message["data"].get("site", "")):
                self._dropped |= _keep_newest(self._pending, message, self._hub.pending_transients)

    def _wants(self, message: Message, site: str) -> bool:
        if self._site and site != self._site:
            return False
        kind = message["type"]
        return not self._types or any(
            kind.startswith(wanted) if wanted.endswith(".") else kind == wanted for wanted in self._types
        )

    def _take(self, events: Sequence[Message]) -> None:
        for event in events:
            self._seq = max(self._seq, event["seq"])
            if self._wants(event, event.get("site", "")):
                self._out.append(event)

    async def _replay(self) -> None:
        """One page of the event table, or on to the ring when it holds all that follows."""
        position, known_from = self._hub._position_after(self._seq)
        if known_from == self._seq + 1:
            self._go_live(position)
            return
        # Of a number from outside the event itself must be there: read from one before it.
        page = await self._read_table(self._seq - 1 if self._resuming else self._seq)
        fresh = [event for event in page if event["seq"] > self._seq]
        if self._resuming and not page:
            self._out.append(gap("unknown", self._seq))
        elif fresh and len(fresh) == len(page) and fresh[0]["seq"] > self._seq + 1:
            self._out.append(gap("expired", self._seq, fresh[0]["seq"]))
        unknown, self._resuming = self._resuming and not page, False
        self._take(fresh)
        if len(page) == PAGE_EVENTS:
            return
        # The end of the table: what follows was published in the meantime, or will be.
        if unknown:
            position, self._seq = self._hub._enter(self)
            self._go_live(position)
            return
        position, known_from = self._hub._position_after(self._seq)
        if known_from is not None and known_from > self._seq + 1:
            self._out.append(gap("expired", self._seq, known_from))
        self._go_live(position)

    async def _read_table(self, seq: int) -> list[Message]:
        history = self._hub.history
        return await asyncio.to_thread(history, seq, PAGE_EVENTS) if history else []

    def _go_live(self, position: int) -> None:
        self._position, self._replaying, self._replayed_to = position, False, self._seq

    def _read_ring(self) -> bool:
        events = self._hub._from(self._position, PAGE_EVENTS)
        if events is None:
            self._seq = self._seq or self._hub._first_seq - 1
            self._replaying = True
            return True
        if not events:
            return False
        self._position += len(events)
        self._take([event for event in events if event["seq"] > self._replayed_to])
        return True

    def _flush_transients(self) -> bool:
        now = asyncio.get_running_loop().time()
        if not (self._pending or self._dropped) or now < self._transients_not_before:
            return False
        if self._dropped:
            self._out.append(gap("slow"))
        self._out.extend(self._pending.values())
        self._pending, self._dropped = {}, False
        self._transients_not_before = now + self._hub.transient_interval_s
        return True

    async def _wait(self) -> None:
        """Until something came, or the second of the pending transients is over."""
        due = self._transients_not_before if self._pending or self._dropped else None
        try:
            async with asyncio.timeout_at(due):
                await self._awake.wait()
        except TimeoutError:
            pass


def _keep_newest(waiting: dict[tuple[str, str], Message], message: Message, limit: int) -> bool:
    """Put `message` in the place of its predecessor; True where the oldest other one had to go for it."""
    key = (message["type"], str(message["data"].get("id", "")))
    waiting[key] = message
    if len(waiting) <= limit:
        return False
    del waiting[next(iter(waiting))]
    return True
