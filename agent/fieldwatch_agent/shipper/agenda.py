"""What goes next: fresh data first, what an outage left after it.

Three lanes, once the collector has said Welcome and more waits than one window carries:

fresh     what is sealed from now on, in order
news      the newest events, facts and sightings of what waits, the newest first: who is there now
backlog   all the rest, oldest first, on half of the window at most; turn and turn about with `fresh`

An item that is sent out of order leaves a hole below it, and the collector remembers a bounded number of ranges of a
stream. So news are bounded as well; and what the collector does not take yet goes back to its lane, which rests for as
long as the collector said: when it goes on the oldest comes first again, and fills the lowest hole.

Where the fresh lane cannot keep pace (a slow link, a long pause) what waits in it becomes backlog, and there is a new
beginning: whoever looks sees what is new, not what was new when the trouble began.

Used by one thread. Kept by the shipper from one stream to the next for the number of holes that it has made.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol, TypeVar

from fieldwatch_agent.shipper.window import Flight, Window, span, weight
from fieldwatch_agent.spool.items import START, Batch, Gap, Place
from fieldwatch_agent.spool.leases import lease_at, outlook, waits_after
from fieldwatch_agent.spool.store import Store

MAX_NEWS = 128
MAX_HOLES = 512  # half of the ranges that a collector remembers of a stream
LAG_S = 60.0
LEASE_ITEMS = 8
LEASE_BYTES = 256 << 10
NEVER = float("-inf")

T = TypeVar("T")
Found = tuple[Place, Batch | Gap]


class Asks(Protocol):
    """What is asked of the spool's thread."""

    def call(self, function: Callable[[Store], T]) -> T: ...


class Agenda:
    """`begin` with each stream, `wake` when the spool has something new, `upcoming` for what goes now."""

    def __init__(self, spool: Asks, *, max_news: int = MAX_NEWS, lag_s: float = LAG_S) -> None:
        self._spool, self._max_news, self._lag_s = spool, max_news, lag_s
        self._holes_left = MAX_HOLES
        self.in_order()

    def in_order(self) -> None:
        """Everything from the start on, in the order of the numbers."""
        self._fresh_at = START
        self._fresh: deque[Found] = deque()
        self._news: deque[Place] = deque()
        self._one_news: deque[Found] = deque()
        self._backlog_at: Place | None = None
        self._backlog: deque[Found] = deque()
        self._mark = START
        self._ahead_rests_until = self._backlog_rests_until = NEVER
        self._behind_since: float | None = None
        self._backlogs_turn = False
        self._more = True

    def begin(self, messages: int) -> None:
        """A stream begins; `messages`: how many the collector grants at one time."""
        self.in_order()
        seen = self._spool.call(partial(outlook, most_news=min(self._max_news, self._holes_left)))
        if seen.waiting > max(1, messages):
            self._divide(seen.mark, START, seen.news)
        else:
            self._holes_left = MAX_HOLES

    def _divide(self, mark: Place, backlog_at: Place, news: list[Place]) -> None:
        self._fresh_at = self._mark = mark
        self._fresh.clear()
        self._backlog.clear()
        self._backlog_at = backlog_at
        self._news = deque(place for place in news if backlog_at < place <= mark)
        self._one_news.clear()
        self._backlogs_turn = False
        self._more = True

    def wake(self) -> None:
        """The spool holds something new."""
        self._more = True

    @property
    def level(self) -> bool:
        """Whether there is no backlog: everything goes in order."""
        return self._backlog_at is None

    def put_back(self, flight: Flight, until: float) -> None:
        """The collector does not take this one yet: it goes back to its lane, which rests until then."""
        before = flight.place._replace(seq=flight.from_seq - 1)
        if flight.backlog:
            self._backlog_rests_until = max(self._backlog_rests_until, until)
        else:
            self._ahead_rests_until = max(self._ahead_rests_until, until)
            self._news.clear()  # they come with the backlog
            self._one_news.clear()
        if flight.backlog or before < self._mark:
            self._backlog_at = min([before, *map(_before, self._backlog), self._backlog_at or before])
            self._backlog.clear()
        else:
            self._fresh_at = min([before, *map(_before, self._fresh), self._fresh_at])
            self._fresh.clear()
            self._more = True

    def next_due(self) -> float | None:
        """When a lane that rests may go on; None where none does."""
        return min(
            (until for until in (self._ahead_rests_until, self._backlog_rests_until) if until > NEVER), default=None
        )

    def upcoming(self, window: Window, pace_bytes: int, now: float) -> Iterator[tuple[Found, bool]]:
        """What goes now, each with whether it is backlog; the caller puts it into the window before it asks on."""
        if self._behind_since is None and (self._fresh or self._more):
            self._behind_since = now
        if now >= self._ahead_rests_until:
            self._ahead_rests_until = NEVER
        if now >= self._backlog_rests_until:
            self._backlog_rests_until = NEVER
        self._catch_up(window, now)
        while True:
            messages, octets = window.room(pace_bytes)
            if not messages:
                return
            ahead = self._next_ahead(window)
            behind = None if self._news or self._one_news else self._next_behind(window, pace_bytes)
            lane = behind if behind and (not ahead or (self._backlogs_turn and ahead is self._fresh)) else ahead
            if not lane:
                return
            if len(window) and weight(lane[0][1]) > octets:
                return  # it waits for room
            found = lane.popleft()
            if lane is self._one_news:
                self._holes_left -= 1
            self._backlogs_turn = lane is not self._backlog
            yield found, lane is self._backlog

    # --- the lanes ----------------------------------------------------------------------------------------------

    def _next_ahead(self, window: Window) -> deque[Found] | None:
        if self._ahead_rests_until > NEVER:
            return None
        while not self._fresh and self._more:
            self._more = False  # before the look: what comes after it sets it again
            found = self._lease(self._fresh_at)
            if not found:
                self._behind_since = None
                break
            self._more = True
            self._fresh_at = found[-1][0]
            self._fresh.extend(entry for entry in found if not _flies(entry, window))
        if self._fresh:
            return self._fresh
        while self._news and not self._one_news:
            place = self._news.popleft()
            item = self._spool.call(partial(lease_at, place=place))
            if item is not None and not _flies((place, item), window):
                self._one_news.append((place, item))
        return self._one_news or None

    def _next_behind(self, window: Window, pace_bytes: int) -> deque[Found] | None:
        messages, octets = window.backlog_room(pace_bytes)
        if not messages or self._backlog_rests_until > NEVER:
            return None
        while not self._backlog and self._backlog_at is not None:
            found = self._lease(self._backlog_at)
            if not found or not self._is_backlog(found[0]):
                self._backlog_at = None
                self._holes_left = MAX_HOLES
                break
            ours = [entry for entry in found if self._is_backlog(entry)]
            self._backlog_at = ours[-1][0]
            self._backlog.extend(entry for entry in ours if not _flies(entry, window))
        if self._backlog and window.backlog_messages and weight(self._backlog[0][1]) > octets:
            return None  # its half is taken
        return self._backlog or None

    def _lease(self, after: Place) -> list[Found]:
        return self._spool.call(partial(Store.lease, after=after, max_items=LEASE_ITEMS, max_bytes=LEASE_BYTES))

    def _is_backlog(self, entry: Found) -> bool:
        place, item = entry
        return place._replace(seq=span(item)[0]) <= self._mark

    def _catch_up(self, window: Window, now: float) -> None:
        """Where the fresh lane has been behind for too long, all that waits in it becomes backlog."""
        since = self._behind_since
        if since is None or now - since < self._lag_s or window.paused or not self._holes_left:
            return
        self._behind_since = now
        after = _before(self._fresh[0]) if self._fresh else self._fresh_at
        if self._spool.call(partial(waits_after, place=after, most=window.messages + 1)) <= window.messages:
            return
        self._holes_left -= 1
        seen = self._spool.call(partial(outlook, most_news=min(self._max_news, self._holes_left)))
        if self._backlog:
            after = _before(self._backlog[0])
        elif self._backlog_at is not None:
            after = self._backlog_at
        self._divide(seen.mark, after, seen.news)


def _before(entry: Found) -> Place:
    """The place behind which this item comes next."""
    return entry[0]._replace(seq=span(entry[1])[0] - 1)


def _flies(entry: Found, window: Window) -> bool:
    return (entry[1].epoch, span(entry[1])[0]) in window
