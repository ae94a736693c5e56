"""What is said on one stream: no thread, no socket, a clock that is given. `session` lends it both.

The order: Hello -> Welcome -> batches and gaps as `agenda` has them, as many as `window` and `pace` allow -> acks,
nacks, credit.

The collector's word frees what is in flight on this stream and nothing else: an item leaves the spool when it was sent
and its ack is here. What the collector says that it has besides may be another's (a cloned card), or a mistake: it is
sent, and told apart by its digest. A lost ack costs one resend.

What the collector has may be more than this agent ever gave: then the spool's file is an older copy (a restored card).
Everything is sent one by one, and new seals get numbers of a new epoch.

No word makes the agent run in circles: pauses have a least length that doubles while nothing is acked, and a greatest
one; an epoch that replaced another is not replaced itself before `REPLACED_S` are over (`Store.may_replace`).

=====================  ===========================================================================================
nack                   what follows
=====================  ===========================================================================================
RETRY, OVER_QUOTA      the same batch after the pause that is named; while there is a backlog it goes back to its lane
CONFLICT               other data is held under this number: the batch gets a new one, of a new epoch; where that has
                       just been done, as RETRY
ROLLED_BACK            as RETRY; new seals get numbers of a new epoch
TOO_BIG, SCHEMA        never taken: its gap goes in its place
=====================  ===========================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, TypeVar

from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1 import agent_pb2

from fieldwatch_agent.shipper.agenda import Agenda
from fieldwatch_agent.shipper.messages import hello, up
from fieldwatch_agent.shipper.pace import Pace
from fieldwatch_agent.shipper.window import Flight, Window
from fieldwatch_agent.spool.items import StreamState
from fieldwatch_agent.spool.store import Store

MIN_RETRY_S = 0.01
MAX_FLOOR_S = 5.0  # to which the least pause before a resend grows
MAX_RETRY_S = 300.0  # however long a batch is to wait: the collector may be mistaken, and nobody would come to see
REFUSED_GAP_S = 60.0
MESSAGE_BYTES = 128  # what a message weighs on the link beside its body

log = get_logger(__name__)
T = TypeVar("T")


class Spool(Protocol):
    """What a conversation needs of the spool's thread."""

    @property
    def quarantines(self) -> int: ...

    def call(self, function: Callable[[Store], T]) -> T: ...

    def ack(self, epoch: int, spans: list[tuple[int, int]]) -> None: ...


class Conversation:
    """Call `greet` once; then `hear` what comes and `say` what goes, until `leaving`."""

    def __init__(
        self,
        spool: Spool,
        agenda: Agenda,
        pace: Pace,
        boot: bytes,
        clock: Callable[[], float],
        *,
        on_welcome: Callable[[agent_pb2.Welcome], None],
        on_ack: Callable[[], None],
        alarm: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self.leaving = False
        self.welcomed = False
        self.retry_s: float | None = None
        """The pause that the collector asked for when it sent us away."""
        self.window = Window()
        self._spool, self._agenda, self._pace, self._boot, self._clock = spool, agenda, pace, boot, clock
        self._on_welcome, self._on_ack, self._alarm = on_welcome, on_ack, alarm
        self._streams: list[StreamState] = []
        self._rolled_back: set[int] = set()
        self._waits_since = clock()  # for an ack
        self._put_off = 0  # times, one after the other, that something was not taken yet, with no ack between
        self._put_off_until = clock()
        self._quarantines = spool.quarantines
        self._extra: list[agent_pb2.Up] = []

    def greet(self) -> agent_pb2.Up:
        """The Hello."""
        self._streams, buffered = self._spool.call(lambda store: (store.streams(), store.status().body_bytes))
        return hello(self._streams, self._boot, buffered)

    # --- what goes ----------------------------------------------------------------------------------------------

    def say(self) -> Iterator[agent_pb2.Up]:
        """What is to be sent now."""
        if self._spool.quarantines != self._quarantines:
            log.info("the spool has another file; greeting anew")
            self.leaving = True
        if self.leaving or not self.welcomed:
            return
        extra, self._extra = self._extra, []
        yield from extra
        now = self._clock()
        if not self.window.paused:
            for flight in self.window.due(now):
                flight.due, flight.sent_at = None, now
                yield flight.message
        if self._rolled_back and len(self.window):
            return  # one at a time, see `_acked`
        for (place, item), backlog in self._agenda.upcoming(self.window, self._pace.limit(), now):
            if not len(self.window):
                self._waits_since = now
            yield self.window.add(item, up(item), place=place, backlog=backlog, now=now).message
            if self._rolled_back:
                return

    def pause(self) -> float | None:
        """How long there is nothing to do, if nobody says anything; None = for ever."""
        moments = [] if self.window.paused else [self.window.next_due(), self._agenda.next_due()]
        if self._awaits_ack:
            moments.append(self._waits_since + self._pace.patience(self.window.in_flight_bytes))
        known = [moment for moment in moments if moment is not None]
        return max(MIN_RETRY_S, min(known) - self._clock()) if known else None

    @property
    def _awaits_ack(self) -> bool:
        return len(self.window) > 0 and not self.window.paused and self.window.next_due() is None

    def overdue(self) -> float:
        """For how many seconds an ack is missing, once that is too long; else 0."""
        now = self._clock()
        if not self._awaits_ack:
            self._waits_since = now
            return 0.0
        waited = now - self._waits_since
        if waited < self._pace.patience(self.window.in_flight_bytes):
            return 0.0
        self._pace.timed_out(self.window.in_flight_bytes, waited)
        return waited

    # --- what comes ---------------------------------------------------------------------------------------------

    def hear(self, down: agent_pb2.Down) -> bool:
        """What the collector said; whether it answers something, and is no mere remark."""
        said = down.WhichOneof("message")
        if said == "welcome" and not self.welcomed:
            self._welcome(down.welcome)
            return True
        if said == "ack":
            return self._acked(down.ack)
        if said == "nack":
            return self._nack(down.nack)
        if said == "credit":
            if self.window.paused:  # nobody was to answer while it lasted
                self._waits_since = self._clock()
            self.window.grant(down.credit.window_messages, down.credit.window_bytes)
        elif said == "goaway":
            log.info("the collector asks to come back later", reason=down.goaway.reason[:200])
            self.retry_s = down.goaway.retry_ms / 1000
            self.leaving = True
        return False

    def _welcome(self, welcome: agent_pb2.Welcome) -> None:
        self.window.grant(welcome.window_messages, welcome.window_bytes)
        next_seqs = {stream.epoch: stream.next_seq for stream in self._streams}
        for have in welcome.have:
            newest = max(have.upto, max((part.to_seq for part in have.also), default=0))
            if have.epoch in next_seqs and newest >= next_seqs[have.epoch]:
                self._roll_back(have.epoch, newest)
        if not self._rolled_back:
            self._agenda.begin(self.window.messages)
        self.welcomed = True
        self._on_welcome(welcome)

    def _acked(self, ack: agent_pb2.Ack) -> bool:
        flights = self.window.ack(ack.epoch, ack.upto, [(part.from_seq, part.to_seq) for part in ack.also])
        if not flights:
            return False
        now = self._clock()
        self._waits_since = now
        self._put_off = 0
        octets = sum(flight.octets + MESSAGE_BYTES for flight in flights)
        self._pace.acked(octets, min(flight.sent_at for flight in flights), now)
        self._spool.ack(ack.epoch, [(flight.from_seq, flight.to_seq) for flight in flights])
        self._on_ack()
        return True

    def _nack(self, nack: agent_pb2.Nack) -> bool:
        if nack.code == agent_pb2.ROLLED_BACK:
            self._roll_back(nack.epoch, nack.seq)
        flight = self.window.get(nack.epoch, nack.seq)
        if flight is None or flight.due is not None:
            return False
        now = self._waits_since = self._clock()
        if nack.code in (agent_pb2.TOO_BIG, agent_pb2.SCHEMA):
            self._refused(flight, agent_pb2.NackCode.Name(nack.code))
        elif nack.code != agent_pb2.CONFLICT or not self._relabel(flight):
            # RETRY, OVER_QUOTA, ROLLED_BACK, and what later versions may say: the batch itself is fine
            self._put_back(flight, now, nack.retry_ms / 1000)
        return True

    def _put_back(self, flight: Flight, now: float, asked_s: float) -> None:
        """It goes again after the pause that was asked for, within our own bounds."""
        if now >= self._put_off_until:
            self._put_off += 1
        floor = min(MAX_FLOOR_S, MIN_RETRY_S * 2.0 ** min(self._put_off - 1, 20))
        due = now + min(MAX_RETRY_S, max(floor, asked_s))
        self._put_off_until = max(self._put_off_until, due)
        if self._agenda.level and not flight.backlog:
            flight.due = due
            return
        self.window.remove(flight)
        self._agenda.put_back(flight, due)

    def _relabel(self, flight: Flight) -> bool:
        """False where its number is such a new one itself: it can hardly be another's."""
        if not self._spool.call(lambda store: store.may_replace(flight.epoch)):
            return False
        self.window.remove(flight)
        new = self._spool.call(lambda store: store.relabel(flight.epoch, flight.from_seq))
        self._agenda.wake()
        if new is not None:
            data = {"epoch": flight.epoch, "seq": flight.from_seq, "new_epoch": new[0], "new_seq": new[1]}
            log.warning("the collector holds other data under this number; the batch got a new one", **data)
            self._alarm("agent.spool_conflict", data)
        return True

    def _refused(self, flight: Flight, why: str) -> None:
        """The collector will never take this batch: its gap goes in its place."""
        gap = self._spool.call(
            lambda store: store.refuse(flight.epoch, flight.from_seq, f"refused by the collector: {why}")
        )
        if gap is None:  # it is a gap itself; it stays in the spool
            flight.due = self._clock() + REFUSED_GAP_S
            return
        self.window.remove(flight)
        again = self.window.add(gap, up(gap), place=flight.place, backlog=flight.backlog, now=self._clock())
        self._extra.append(again.message)
        log.error("the collector refuses a batch; it is declared lost", epoch=gap.epoch, seq=gap.from_seq, why=why)

    def _roll_back(self, epoch: int, held: int) -> None:
        if epoch in self._rolled_back or all(stream.epoch != epoch for stream in self._streams):
            return
        self._rolled_back.add(epoch)
        self._agenda.in_order()
        renewed = self._spool.call(lambda store: store.leave_epoch(epoch))
        if renewed:
            data = {"epoch": epoch, "held": held, "new_epoch": renewed}
            log.error("the spool is older than what the collector has of it (a restored or cloned disk?)", **data)
            self._alarm("agent.spool_rolled_back", data)
