"""What the collector keeps, behind one contract. The package may import fieldwatch_proto, `faults` and `journal`.

The batch log comes first: `put` commits bodies and the high-water marks of their streams in one transaction, and only
then may anybody be told that they are held. Everything else (inventory, flows, events) is derived from the log by the
projections, which the store runs between its commits.

One thread with one connection does all writes; readers open short read-only connections of their own.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Protocol, TypeVar

from fieldwatch_proto.schema import ClockQuality

T = TypeVar("T")
MAX_SPARSE_RANGES = 1_024  # a stream; beyond that no credit for what comes out of order
MAX_SEQ = (1 << 63) - 1


class StoreError(Exception):
    """The store cannot do its work now (disk full, read-only, damaged): one line with what mends it."""


class Outcome(Enum):
    """What became of an item of `Store.put`. STORED and DUPLICATE are held for ever and may be acked."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    CONFLICT = "conflict"  # the same id with another digest: not stored
    LATER = "later"  # too many holes below it, or too much to count in its range: not stored, send it again


@dataclass(frozen=True, slots=True)
class BatchItem:
    """A sealed batch; the body is kept untouched. `epoch` is a u64, `seq` counts from 1."""

    epoch: int
    seq: int
    kind: int
    schema: int
    codec: int
    records: int
    raw_bytes: int
    t_min: int
    t_max: int
    digest: bytes
    body: bytes

    @property
    def cost_bytes(self) -> int:
        return len(self.body) + 256

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last number that the item takes."""
        return self.seq, self.seq


@dataclass(frozen=True, slots=True)
class GapItem:
    """What an agent declares lost: the numbers from_seq..to_seq, and what they held. `records`: kind -> records.

    `ts_ns`: when it was declared, by our clock as far as `clock` says; see `clocks`.
    """

    epoch: int
    from_seq: int
    to_seq: int
    records: Mapping[int, int]
    frames: int
    reason: int
    count_known: bool
    ts_ns: int
    detail: str
    clock: ClockQuality = ClockQuality.UNKNOWN

    @property
    def cost_bytes(self) -> int:
        return 256 + len(self.detail)

    @property
    def span(self) -> tuple[int, int]:
        return self.from_seq, self.to_seq


Item = BatchItem | GapItem


@dataclass(frozen=True, slots=True)
class Held:
    """The numbers of a stream that are held: every one up to `high_water`, and the ranges of `also` above it."""

    high_water: int = 0
    also: tuple[tuple[int, int], ...] = ()

    @property
    def highest(self) -> int:
        return self.also[-1][1] if self.also else self.high_water


@dataclass(frozen=True, slots=True)
class PutResult:
    """One outcome per item, in their order; what is held now of each epoch that the items named; events to publish."""

    outcomes: Sequence[Outcome]
    held: Mapping[int, Held]
    events: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """`problem` is empty when all is well, else one line. Depth and octets of what waits for a commit."""

    problem: str
    queued_items: int
    queued_bytes: int
    pending_batches: int  # committed, not yet projected
    counters: Mapping[str, int] = field(default_factory=dict)


class Background(Protocol):
    """Work that the writer does between its commits, a slice at a time: the projections."""

    def step(self, connection: sqlite3.Connection) -> bool:
        """One slice of some 20 ms inside a transaction; True = there is more to do."""

    def committed(self) -> None:
        """The slice is durable: tell whom it concerns."""

    def rolled_back(self) -> None:
        """The slice was undone: forget what was remembered from it."""


class Store(Protocol):
    """The contract that every store keeps; `tests/unit/collector/test_store.py` is its text."""

    def migrate(self) -> int:
        """Bring the tables to this program's version; the number of migrations applied."""

    async def put(self, agent: str, items: Sequence[Item]) -> PutResult:
        """Durable when it returns. Raises StoreError, and then nothing of it is held."""

    def submit(self, agent: str, items: Sequence[Item]) -> asyncio.Future[PutResult]:
        """`put`, handed in before this returns: what is submitted first is stored first. From an event loop.

        Raises StoreError where the store is closed; the future gives what `put` would.
        """

    async def held(self, agent: str, epochs: Sequence[int]) -> dict[int, Held]:
        """What is held of each epoch; an unknown one holds nothing."""

    def reader(self) -> AbstractContextManager[sqlite3.Connection]:
        """A short-lived connection that can only read; rows by name. It sees what was committed when it first reads."""

    async def transact(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in the writer, alone and in a transaction of its own; durable when it returns.

        An exception from `work` undoes what it did and is raised here.
        """

    def transact_sync(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The same for threads; never from the event loop."""

    def attach(self, background: Background) -> None:
        """Give the writer what it does between commits."""

    def wake(self) -> None:
        """There may be work for the background."""

    @property
    def problem(self) -> str:
        """Empty where batches are taken, else one line with what mends it. Cheap."""

    @property
    def is_short_of_space(self) -> bool:
        """Whether batches are not taken because the rest of the disk is kept for other things."""

    @property
    def committing_s(self) -> float:
        """For how long the transaction under way has lasted, or the one before it where that took longer."""

    def health(self) -> Health: ...

    def checkpoint(self) -> None:
        """Fold the log of changes into the database file."""

    def close(self) -> None:
        """Finish what was handed in, checkpoint, and let go of the files."""
