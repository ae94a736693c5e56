"""The collector's half of a stream as a model: sets of numbers, no disk, no network; and an agent's half before it.

The model commits what comes, tells repeats, names the range that an item is in of what it was shown on this stream, and
has room for a bounded number of ranges of a stream. `Line` puts a real `Conversation` on a real store in front of it,
with a clock of the test's own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from fieldwatch_agent.shipper.agenda import Agenda
from fieldwatch_agent.shipper.conversation import Conversation
from fieldwatch_agent.shipper.pace import Pace
from fieldwatch_agent.spool.store import Store
from fieldwatch_proto.v1 import agent_pb2 as pb

T = TypeVar("T")
MAX_RANGES = 1_024


def ranges_of(numbers: Collection[int]) -> list[tuple[int, int]]:
    """The runs of a set of numbers."""
    runs: list[tuple[int, int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def sparse(numbers: Collection[int]) -> list[tuple[int, int]]:
    """The runs above the high-water mark."""
    return [run for run in ranges_of(numbers) if run[0] != 1]


class ModelCollector:
    """`stored`: what is committed, in the order of the commits; `conflicts`: other data under a number that is held."""

    def __init__(self, *, max_ranges: int = MAX_RANGES) -> None:
        self.stored: list[pb.Batch | pb.Gap] = []
        self.repeats = 0
        self.conflicts = 0
        self.refuse: Callable[[pb.Batch], bool] = lambda batch: False
        self._max_ranges = max_ranges
        self._held: dict[int, dict[int, bytes]] = {}  # epoch -> number -> digest, empty for a gap
        self._shown: dict[int, set[int]] = {}

    def greet(self, hello: pb.Hello, messages: int = 8, octets: int = 1 << 20) -> pb.Down:
        """The Welcome."""
        self._shown = {stream.epoch: set(range(1, stream.first_unacked)) for stream in hello.streams}
        have = [pb.Have(epoch=stream.epoch, upto=stream.first_unacked - 1) for stream in hello.streams]
        return pb.Down(welcome=pb.Welcome(have=have, window_messages=messages, window_bytes=octets))

    def take(self, up: pb.Up) -> pb.Down:
        """Commit one message; the Ack, or the Nack where it is not taken."""
        item = up.batch if up.WhichOneof("message") == "batch" else up.gap
        numbers = {item.seq} if isinstance(item, pb.Batch) else set(range(item.from_seq, item.to_seq + 1))
        first, digest = min(numbers), item.digest if isinstance(item, pb.Batch) else b""
        held = self._held.setdefault(item.epoch, {})
        if isinstance(item, pb.Batch) and self.refuse(item):
            return pb.Down(nack=pb.Nack(epoch=item.epoch, seq=first, code=pb.SCHEMA))
        if numbers <= held.keys():
            self.repeats += 1
            if digest and held[first] not in (b"", digest):
                self.conflicts += 1
                return pb.Down(nack=pb.Nack(epoch=item.epoch, seq=first, code=pb.CONFLICT))
        else:
            if len(sparse(held.keys() | numbers)) > self._max_ranges:
                return pb.Down(nack=pb.Nack(epoch=item.epoch, seq=first, code=pb.RETRY, retry_ms=1_000))
            held.update(dict.fromkeys(numbers, digest))
            self.stored.append(item)
        shown = self._shown.setdefault(item.epoch, set())
        shown.update(numbers)
        runs = ranges_of(shown)
        upto = runs[0][1] if runs[0][0] == 1 else 0
        also = [pb.Range(from_seq=low, to_seq=high) for low, high in runs if low > upto + 1 and low <= first <= high]
        return pb.Down(ack=pb.Ack(epoch=item.epoch, upto=upto, also=also))

    def ranges(self, epoch: int) -> int:
        """How many it remembers above the high-water mark."""
        return len(sparse(self._held[epoch].keys()))

    def bodies(self) -> list[bytes]:
        """Of all batches that are stored."""
        return [item.body for item in self.stored if isinstance(item, pb.Batch)]


class Direct:
    """The store without its thread, as a conversation asks it."""

    quarantines = 0

    def __init__(self, store: Store) -> None:
        self.store = store

    def call(self, function: Callable[[Store], T]) -> T:
        return function(self.store)

    def ack(self, epoch: int, spans: list[tuple[int, int]]) -> None:
        self.store.ack(epoch, 0, spans)


class Line:
    """One stream after the other between a store and a model. `up` and `down`: what is under way."""

    def __init__(self, store: Store, collector: ModelCollector, *, lag_s: float = 60.0) -> None:
        self.now = 1_000.0
        self.store, self.collector = store, collector
        self.up: list[pb.Up] = []
        self.down: list[pb.Down] = []
        self.sent: list[Any] = []
        self.pace = Pace()
        self.spool = Direct(store)
        self.agenda = Agenda(self.spool, lag_s=lag_s)

    def connect(self, messages: int = 8, octets: int = 1 << 20) -> Conversation:
        """A new stream; what was under way on the one before is gone."""
        self.up, self.down = [], []
        self.talk = Conversation(
            self.spool,
            self.agenda,
            self.pace,
            b"boot",
            lambda: self.now,
            on_welcome=lambda welcome: None,
            on_ack=lambda: None,
            alarm=lambda kind, data: None,
        )
        self.talk.hear(self.collector.greet(self.talk.greet().hello, messages, octets))
        return self.talk

    def say(self) -> list[Any]:
        """Let the agent send what it may; the batches and gaps of it."""
        said = list(self.talk.say())
        self.up += said
        found = [message.batch if message.WhichOneof("message") == "batch" else message.gap for message in said]
        self.sent += found
        return found

    def answer(self) -> None:
        """The collector takes the oldest message under way and answers; the agent hears it at once."""
        self.talk.hear(self.collector.take(self.up.pop(0)))

    def run(self, rounds: int = 10_000) -> None:
        """Go on, everything in order, until nothing is left to say; time passes where somebody waits."""
        for _ in range(rounds):
            self.say()
            if self.up:
                self.answer()
            elif (pause := self.talk.pause()) is not None:
                self.now += pause
            else:
                return
        raise AssertionError(f"still not done after {rounds} rounds")
