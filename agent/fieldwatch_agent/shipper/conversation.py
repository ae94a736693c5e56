"""What is said on one stream: no thread, no socket, a clock that is given. `session` lends it both.

The order: Hello -> Welcome (what the collector has is deleted at once) -> batches and gaps as `agenda` has them, as
many as `window` and `pace` allow -> acks, nacks, credit. An item leaves the spool only when its ack is here.

What the collector has may be more than this agent ever gave: then the spool's file is an older copy (a restored card).
Nothing is deleted on its word for that epoch; everything is sent and told apart by its digest, and new seals get
numbers of a new epoch.

=====================  ===========================================================================================
nack                   what follows
=====================  ===========================================================================================
RETRY, OVER_QUOTA      the same batch after the pause that is named; while there is a backlog it goes back to its lane
CONFLICT               other data is held under this number: the batch gets a new one, of a new epoch
ROLLED_BACK            as above
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
REFUSED_GAP_S = 60.0
MESSAGE_BYTES = 128  # what a message weighs on the link beside its body

log = get_logger(__name__)
T = TypeVar("T")


class Spool(Protocol):
    """What a conversation needs of the spool's thread."""

    @property
    def quarantines(self) -> int: ...

    def call(self, function: Callable[[Store], T]) -> T: ...

    def ack(self, epoch: int, upto: int, also: list[tuple[int, int]]) -> None: ...


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

    def hear(self, down: agent_pb2.Down) -> None:
        """What the collector said."""
        said = down.WhichOneof("message")
        if said == "welcome" and not self.welcomed:
            self._welcome(down.welcome)
        elif said == "ack":
            self._acked(down.ack)
        elif said == "nack":
            self._nack(down.nack)
        elif said == "credit":
            if self.window.paused:  # nobody was to answer while it lasted
                self._waits_since = self._clock()
            self.window.grant(down.credit.window_messages, down.credit.window_bytes)
        elif said == "goaway":
            log.info("the collector asks to come back later", reason=down.goaway.reason[:200])
            self.retry_s = down.goaway.retry_ms / 1000
            self.leaving = True

    def _welcome(self, welcome: agent_pb2.Welcome) -> None:
        self.window.grant(welcome.window_messages, welcome.window_bytes)
        next_seqs = {stream.epoch: stream.next_seq for stream in self._streams}
        for have in welcome.have:
            also = [(part.from_seq, part.to_seq) for part in have.also]
            newest = max([have.upto, *(high for _, high in also)])
            if have.epoch in next_seqs and newest >= next_seqs[have.epoch]:
                self._roll_back(have.epoch, newest)
            elif have.epoch in next_seqs:
                self._spool.ack(have.epoch, have.upto, also)
        if not self._rolled_back:
            self._agenda.begin(self.window.messages)
        self.welcomed = True
        self._on_welcome(welcome)

    def _acked(self, ack: agent_pb2.Ack) -> None:
        flights = self.window.ack(ack.epoch, ack.upto, [(part.from_seq, part.to_seq) for part in ack.also])
        if not flights:
            return
        now = self._clock()
        self._waits_since = now
        octets = sum(flight.octets + MESSAGE_BYTES for flight in flights)
        self._pace.acked(octets, min(flight.sent_at for flight in flights), now)
        # Of an epoch that was rolled back, the high-water mark covers numbers that the collector never compared: only
        # what was in flight (one) counts.
        upto = 0 if ack.epoch in self._rolled_back else ack.upto
        self._spool.ack(
            ack.epoch, upto, [(flight.from_seq, flight.to_seq) for flight in flights if flight.to_seq > upto]
        )
        self._on_ack()

    def _nack(self, nack: agent_pb2.Nack) -> None:
        if nack.code == agent_pb2.ROLLED_BACK:
            self._roll_back(nack.epoch, nack.seq)
        flight = self.window.get(nack.epoch, nack.seq)
        if flight is None:
            return
        now = self._waits_since = self._clock()
        if nack.code == agent_pb2.CONFLICT:
            self._relabel(flight)
        elif nack.code in (agent_pb2.TOO_BIG, agent_pb2.SCHEMA):
            self._refused(flight, agent_pb2.NackCode.Name(nack.code))
        else:  # RETRY, OVER_QUOTA, ROLLED_BACK, and what later versions may say: the batch itself is fine
            due = now + max(MIN_RETRY_S, nack.retry_ms / 1000)
            if self._agenda.level and not flight.backlog:
                flight.due = due
                return
            self.window.remove(flight)
            self._agenda.put_back(flight, due)

    def _relabel(self, flight: Flight) -> None:
        self.window.remove(flight)
        new = self._spool.call(lambda store: store.relabel(flight.epoch, flight.from_seq))
        self._agenda.wake()
        if new is not None:
            data = {"epoch": flight.epoch, "seq": flight.from_seq, "new_epoch": new[0], "new_seq": new[1]}
            log.warning("the collector holds other data under this number; the batch got a new one", **data)
            self._alarm("agent.spool_conflict", data)

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
        self._rolled_back.add(epoch)
        self._agenda.in_order()
        renewed = self._spool.call(lambda store: store.leave_epoch(epoch))
        if renewed:
            data = {"epoch": epoch, "held": held, "new_epoch": renewed}
            log.error("the spool is older than what the collector has of it (a restored or cloned disk?)", **data)
            self._alarm("agent.spool_rolled_back", data)
