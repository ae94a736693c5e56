"""From records to sealed batches: one open batch for each kind, closed at a size, at an age, or on demand.

- `add` only appends, under a lock: a capture worker never waits for compression or for the disk.
- Compression runs in the sealer's own thread; what is sealed goes to the spool's bounded queue.
- What waits unsealed is bounded (`max_bytes`): beyond it records are counted and declared lost (BACKPRESSURE).
- Every record carries its frames with it: those of a flow are the sum of its packets, others are told by the caller.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from fieldwatch_proto.columns import MAX_RECORDS, Sealed, seal
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.records import ColumnData, Records, Texts, concat
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1.agent_pb2 import GapReason

from fieldwatch_agent.spool.items import Loss, Put

MAX_UNSEALED_BYTES = 8 << 20  # of columns, all kinds together
MAX_BATCH_RAW_BYTES = 512 << 10  # far below the limits of a message
START_RATIO = 5.0  # columns to sealed octets, until a kind has been measured

log = get_logger(__name__)


def flow_frames(records: Records) -> int:
    """The frames that flow records stand for; 0 for other kinds."""
    if records.kind != Kind.FLOW:
        return 0
    packets, replies = records.columns["packets"], records.columns["reply_packets"]
    assert isinstance(packets, bytes)
    assert isinstance(replies, bytes)
    return sum(array("Q", packets)) + sum(array("Q", replies))


def raw_bytes(records: Records) -> int:
    """About what the columns of records take before compression."""
    total = 0
    for data in records.columns.values():
        if isinstance(data, Texts):
            total += len(data) + sum(map(len, data.values))
        else:
            total += len(data)
    return total


def slices(records: Records, most: int) -> list[Records]:
    """The records in parts of at most `most` rows."""
    if records.count <= most:
        return [records]
    parts = []
    for start in range(0, records.count, most):
        count = min(most, records.count - start)
        columns: dict[str, ColumnData] = {}
        for name, data in records.columns.items():
            if isinstance(data, Texts):
                columns[name] = Texts(data.values, data.indices[start : start + count])
            else:
                width = len(data) // records.count
                columns[name] = data[start * width : (start + count) * width]
        parts.append(Records(records.kind, count, columns))
    return parts


@dataclass
class _Open:
    """A batch that is not sealed yet."""

    parts: list[Records] = field(default_factory=list)
    records: int = 0
    frames: int = 0
    raw: int = 0
    since: float = 0.0


class Sealer(threading.Thread):
    """`put` takes a sealed batch (False = it was lost and declared), `declare` a loss, `observe` counts records;
    `stamp` gives the records of a batch what is said of their clock, the last thing before they are sealed.
    """

    def __init__(
        self,
        put: Callable[[Put], bool],
        declare: Callable[[Loss], None],
        *,
        seal_bytes: int,
        seal_age_s: float,
        observe: Callable[[Kind, int], None] = lambda kind, records: None,
        stamp: Callable[[Records], Records] = lambda records: records,
        max_bytes: int = MAX_UNSEALED_BYTES,
    ) -> None:
        super().__init__(name="sealer", daemon=True)
        self.sealed_records = 0
        self.sealed_batches = 0
        self.lost_records = 0
        self._put, self._declare, self._observe, self._stamp = put, declare, observe, stamp
        self._seal_bytes, self._seal_age_s, self._max_bytes = seal_bytes, seal_age_s, max_bytes
        self._wake = threading.Condition()
        self._sealing = threading.Lock()  # one at a time: batches of a kind keep their order
        self._open: dict[Kind, _Open] = {}
        self._unsealed_bytes = 0
        self._ratio: dict[Kind, float] = {}
        self._stopping = False

    def add(self, records: Records, frames: int | None = None) -> None:
        """Take records; `frames` they account for, by default those of flow records."""
        if not records.count:
            return
        carried = flow_frames(records) if frames is None else frames
        size = raw_bytes(records)
        with self._wake:
            self._observe(records.kind, records.count)
            if self._unsealed_bytes + size > self._max_bytes and self._unsealed_bytes:
                self.lost_records += records.count
                lost = True
            else:
                lost = False
                batch = self._open.setdefault(records.kind, _Open())
                batch.since = batch.since or time.monotonic()
                batch.parts.append(records)
                batch.records += records.count
                batch.frames += carried
                batch.raw += size
                self._unsealed_bytes += size
                if self._is_big(records.kind, batch):
                    self._wake.notify()
        if lost:
            detail = "records came faster than they could be sealed"
            counts = {int(records.kind): records.count}
            self._declare(Loss(GapReason.BACKPRESSURE, carried, counts, detail=detail, accounted=True))

    def _is_big(self, kind: Kind, batch: _Open) -> bool:
        ratio = self._ratio.get(kind, START_RATIO)
        return batch.raw >= min(self._seal_bytes * ratio, MAX_BATCH_RAW_BYTES) or batch.records >= MAX_RECORDS

    def pace(self, *, seal_bytes: int, seal_age_s: float) -> None:
        """Seal at this size and age from now on."""
        with self._wake:
            self._seal_bytes, self._seal_age_s = seal_bytes, seal_age_s
            self._wake.notify()

    def flush(self) -> None:
        """Seal everything that was added by now, in the caller's thread."""
        with self._sealing:
            for kind, batch in self._take(lambda kind, batch: True):
                self._seal(kind, batch)

    def run(self) -> None:
        while True:
            with self._wake:
                if self._stopping:
                    return
                self._wake.wait(self._pause())
            with self._sealing:
                for kind, batch in self._take(self._is_due):
                    self._seal(kind, batch)

    def stop(self) -> None:
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self.join()

    def _pause(self) -> float:
        """Seconds until the oldest open batch is due; under the lock."""
        now = time.monotonic()
        if any(self._is_due(kind, batch) for kind, batch in self._open.items()):
            return 0.0
        ages = [batch.since + self._seal_age_s - now for batch in self._open.values() if batch.records]
        return max(0.0, min([*ages, self._seal_age_s]))

    def _is_due(self, kind: Kind, batch: _Open) -> bool:
        return self._is_big(kind, batch) or time.monotonic() - batch.since >= self._seal_age_s

    def _take(self, due: Callable[[Kind, _Open], bool]) -> list[tuple[Kind, _Open]]:
        with self._wake:
            taken = [(kind, batch) for kind, batch in self._open.items() if batch.records and due(kind, batch)]
            for kind, _ in taken:
                del self._open[kind]
        return taken

    def _seal(self, kind: Kind, batch: _Open) -> None:
        """Seal an open batch, in parts where it is too large for one; the frames go with the part that holds them.

        It counts as unsealed to the end: what is being sealed takes memory like what waits for it.
        """
        try:
            self._seal_parts(kind, batch)
        finally:
            with self._wake:
                self._unsealed_bytes -= batch.raw

    def _seal_parts(self, kind: Kind, batch: _Open) -> None:
        pieces: list[list[Records]] = [[]]
        rows = size = 0
        for part in batch.parts:
            for piece in slices(part, MAX_RECORDS):
                weight = raw_bytes(piece)
                if pieces[-1] and (rows + piece.count > MAX_RECORDS or size + weight > MAX_BATCH_RAW_BYTES):
                    pieces.append([])
                    rows = size = 0
                pieces[-1].append(piece)
                rows += piece.count
                size += weight
        left = batch.frames
        for place, piece_parts in enumerate(pieces):
            whole = concat(piece_parts)
            frames = left if place == len(pieces) - 1 else min(left, flow_frames(whole))
            left -= frames
            try:
                sealed = seal(self._stamp(whole))
            except ValueError as problem:  # over a limit of the codec: the records are gone, and that is told
                log.error(
                    "records could not be sealed", kind=kind.name.lower(), records=whole.count, problem=str(problem)
                )
                counts = {int(kind): whole.count}
                detail = "over a limit of the codec"
                self._declare(Loss(GapReason.REFUSED, frames, counts, detail=detail, accounted=True))
                continue
            self._measure(kind, size=raw_bytes(whole), sealed=sealed)
            if self._put(Put(sealed, frames)):
                self.sealed_records += sealed.records
                self.sealed_batches += 1
            else:
                self.lost_records += sealed.records

    def _measure(self, kind: Kind, *, size: int, sealed: Sealed) -> None:
        """Learn how well a kind compresses: the size that is aimed at is that of the sealed batch."""
        if sealed.records < 16:
            return  # headers outweigh the records
        ratio = size / len(sealed.body)
        self._ratio[kind] = 0.7 * self._ratio.get(kind, ratio) + 0.3 * ratio
