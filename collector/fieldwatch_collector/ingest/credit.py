"""How much an agent may have in flight, and how fast it may go: the window that a Welcome or a Credit grants.

It is the least of

- what one agent gets: 8 messages, up to 16 where it uses them up and the collector has little to do;
- its share of `IN_FLIGHT` messages among the agents that push now, so that acks stay quick in a crowd;
- what waits for a commit leaves it: less where much waits, one message while a commit takes long;
- nothing, while the store cannot take batches, or while the agent has used up its rate (records/s, octets/s).

A window of nothing is a pause: whoever keeps to it has its next window as soon as it may go on. What was in flight when
the pause began is taken; who sends on regardless gets OVER_QUOTA, and keeps its data. Octets go with messages.
"""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from fieldwatch_collector.config import Limits
from fieldwatch_collector.ingest.budget import Budget
from fieldwatch_collector.store import Store

USUAL, MOST = 8, 16  # messages of one agent
MESSAGE_BYTES = 128 << 10  # of the window for each message of it
IN_FLIGHT = 256  # messages of all agents together, shared by those that push
# Messages at most, while such a share of the octets that the collector may hold waits for a commit.
LEVELS = ((0.25, MOST), (0.5, USUAL), (0.8, 4), (1.0, 2))
SLOW_COMMIT_S = 1.0
SINGLES_PER_S = 200  # gaps, and messages that are refused
BURST_S = 2.0  # an agent that was quiet may send as much at once
LOOK_EVERY_S = 0.25
PUSHING_S = 1.0  # an agent whose last message is older does not push now
MAX_AGENTS = 10_000  # remembered; beyond it the one that was quiet longest begins anew

Window = tuple[int, int]
PAUSE: Window = (0, 0)


@dataclass(slots=True)
class Bucket:
    """Tokens that come at `rate` a second up to a burst. It may be overdrawn: the debt is waited for."""

    rate: float
    tokens: float
    seen: float

    def take(self, cost: int, now: float) -> None:
        self.tokens = min(self.rate * BURST_S, self.tokens + (now - self.seen) * self.rate) - cost
        self.seen = now

    def wait_s(self, now: float) -> float:
        """Seconds until nothing is owed; 0 = go on."""
        return max(0.0, -(self.tokens + (now - self.seen) * self.rate) / self.rate)


class Allowance:
    """The rate of one agent, over all of its streams and connections. A rate of 0 is no limit.

    Gaps and what is refused have a rate of their own: each gap is a row and an event, and each costs its work, however
    few octets it has. An agent joins gaps that follow one another, and so an honest one has few of both.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        now = clock()
        self._buckets = [
            Bucket(rate, rate * BURST_S, now) if rate else None
            for rate in (limits.agent_records_per_s, limits.agent_bytes_per_s, SINGLES_PER_S)
        ]

    def take(self, records: int, octets: int, singles: int = 0) -> None:
        """Count what came."""
        now = self._clock()
        for bucket, cost in zip(self._buckets, (records, octets, singles), strict=True):
            if bucket is not None:
                bucket.take(cost, now)

    def wait_s(self) -> float:
        """Seconds until the agent may send again; 0 = now."""
        now = self._clock()
        return max((bucket.wait_s(now) for bucket in self._buckets if bucket is not None), default=0.0)


class Pusher(Protocol):
    """A stream."""

    def look_again(self) -> None:
        """Its window may be another now."""


class Credit:
    """One per server, on its event loop."""

    def __init__(
        self, store: Store, total: Budget, limits: Limits, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._total = total
        self._limits = limits
        self._clock = clock
        self._allowances: OrderedDict[str, Allowance] = OrderedDict()
        self._streams: set[Pusher] = set()
        self._pushing: dict[Pusher, float] = {}  # moment of the last message
        self._waiting: set[Pusher] = set()
        self._seen = (0, 0)

    def allowance(self, agent: str) -> Allowance:
        """The rate of this agent; it outlives its streams."""
        found = self._allowances.pop(agent, None) or Allowance(self._limits, self._clock)
        self._allowances[agent] = found
        if len(self._allowances) > MAX_AGENTS:
            self._allowances.popitem(last=False)
        return found

    @contextlib.contextmanager
    def following(self, stream: Pusher) -> Iterator[None]:
        """Ask a stream to look at its window now and then, for as long as it is open."""
        self._streams.add(stream)
        try:
            yield
        finally:
            self._streams.discard(stream)
            self._waiting.discard(stream)
            self._pushing.pop(stream, None)

    def pushes(self, stream: Pusher) -> None:
        """A message of it came."""
        self._pushing[stream] = self._clock()

    def window(self, allowance: Allowance, *, uses_it_up: bool = False) -> Window:
        """What one agent may have in flight now; `uses_it_up`: it had as much in flight as it was granted."""
        usual, most = self._levels()
        messages = 0 if allowance.wait_s() > 0 else most if uses_it_up else usual
        return messages, messages * MESSAGE_BYTES

    def _levels(self) -> tuple[int, int]:
        """Messages for an agent, and for one that uses them up; 0 = pause."""
        if self._store.problem:
            return 0, 0
        load = self._total.used / self._total.limit
        most = next((messages for share, messages in LEVELS if load <= share), LEVELS[-1][1])
        if self._store.committing_s > SLOW_COMMIT_S:
            most = 1
        most = max(1, min(most, IN_FLIGHT // max(1, len(self._pushing))))
        return min(most, USUAL), most

    def told(self, stream: Pusher, window: Window) -> None:
        """It was granted this."""
        if window == PAUSE:
            self._waiting.add(stream)
        else:
            self._waiting.discard(stream)

    def look(self) -> None:
        """Every `LOOK_EVERY_S`: who is quiet leaves its share to the others; windows that may be others are looked at.

        The rate concerns those that pause and those that push; a quiet stream looks when what holds for all is new.
        """
        quiet = self._clock() - PUSHING_S
        levels, before = self._levels(), self._seen
        self._seen = levels
        for stream in list(self._streams) if levels != before else {*self._pushing, *self._waiting}:
            stream.look_again()
        for stream in [stream for stream, moment in self._pushing.items() if moment < quiet]:
            del self._pushing[stream]
