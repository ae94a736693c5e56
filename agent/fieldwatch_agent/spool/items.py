"""What the spool holds and tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from fieldwatch_proto.columns import Sealed


class SpoolError(Exception):
    """The machine does not let the spool work: one line, with what mends it."""


class Put(NamedTuple):
    """A sealed body on its way into the spool. `frames`: how many frames its records account for."""

    sealed: Sealed
    frames: int


class Loss(NamedTuple):
    """What was lost and is to be declared.

    `accounted`: the engine had observed these frames and records, so that they count against the ledger; frames that
    never reached the engine (kernel drops, nobody listening) do not.
    """

    reason: int  # GapReason
    frames: int = 0
    records: Mapping[int, int] = {}
    count_known: bool = True
    detail: str = ""
    accounted: bool = False


class Work(NamedTuple):
    """What one transaction is to write."""

    puts: Sequence[Put] = ()
    losses: Sequence[Loss] = ()
    meta: Mapping[str, str] = {}

    @property
    def octets(self) -> int:
        return sum(len(put.sealed.body) for put in self.puts)


class Batch(NamedTuple):
    """A row as it is sent."""

    epoch: int
    seq: int
    kind: int
    schema: int
    records: int
    frames: int
    t_min: int
    t_max: int
    raw_bytes: int
    digest: bytes
    body: bytes


class Gap(NamedTuple):
    """A declared loss as it is sent; it covers the numbers from_seq..to_seq."""

    epoch: int
    from_seq: int
    to_seq: int
    records: Mapping[int, int]
    frames: int
    reason: int
    count_known: bool
    ts_ns: int
    detail: str


class Place(NamedTuple):
    """A position in the order of sending: after this epoch's `seq`. Epochs are ordered by when they were made."""

    ordinal: int
    seq: int


START = Place(0, 0)


class StreamState(NamedTuple):
    """One epoch, for Hello."""

    epoch: int
    first_unacked: int
    next_seq: int


class Status(NamedTuple):
    """What waits: acked rows are not in it, though they may still be on disk for a moment."""

    records: int
    batches: int
    frames: int
    gaps: int
    body_bytes: int
    used_bytes: int  # against the bound
    max_bytes: int
    oldest_ns: int  # time of the oldest record that waits; 0 = empty
    epoch: int
    next_seq: int
    declared_records: int  # records in all gaps since the file was made
    declared_frames: int
    memory_only: str = ""  # why nothing is written to the disk now
    memory_records: int = 0  # what of `records` a power cut would take
