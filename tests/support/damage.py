"""Spool files that are cut, flipped or gone, and the promise that they are held to."""

from __future__ import annotations

import shutil
from pathlib import Path

from fieldwatch_agent.spool.file import FILE_NAME
from fieldwatch_agent.spool.items import START, Batch, Gap, Place, Put
from fieldwatch_agent.spool.state import Mark
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1.agent_pb2 import GapReason

from support.spooling import WIDE, body, put

WAL_NAME = f"{FILE_NAME}-wal"


class Left:
    """A folder as a kill left it: the file and its WAL, and what they held."""

    def __init__(self, folder: Path, bodies: dict[int, bytes], epoch: int, mark: Mark) -> None:
        self.folder, self.bodies, self.epoch, self.mark = folder, bodies, epoch, mark

    def copy(self, to: Path) -> Path:
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.folder, to)
        return to


def leave(folder: Path, octets: list[int], *, checkpoint_after: int = 0) -> Left:
    """Batches of so many octets, one a commit; with a checkpoint on the way."""
    live, left = folder / "live", folder / "left"
    live.mkdir(parents=True)
    left.mkdir()
    store = Store(live, WIDE)
    store.begin_run(7, [], {"key": "kept"})
    for number, size in enumerate(octets, 1):
        store.commit([_put(number, size)])
        if number == checkpoint_after:
            store.checkpoint()
    for name in (FILE_NAME, WAL_NAME):
        (left / name).write_bytes((live / name).read_bytes())
    mark, epoch = store.mark, store.current.epoch
    store.close(clean=True)
    return Left(left, {n: body(n, size) for n, size in enumerate(octets, 1)}, epoch, mark)


def _put(number: int, octets: int) -> Put:
    return put(number, (Kind.FLOW, Kind.FACT)[number % 2], frames=number, octets=octets)


def _numbers_as_put(batch: Batch, octets: int) -> bool:
    """Whether kind, counts, times and digest are those that were put under this number."""
    sealed = _put(batch.seq, octets).sealed
    told = (batch.kind, batch.records, batch.frames, batch.t_min, batch.t_max, batch.raw_bytes, batch.digest)
    as_put = (sealed.kind, sealed.records, batch.seq, sealed.t_min, sealed.t_max, sealed.raw_bytes, sealed.digest)
    return told == as_put


def drain(folder: Path, mark: Mark | None) -> tuple[list[Batch], list[Gap], int]:
    """All that a fresh agent sends, as its spool's thread gives it; and how many files it had to salvage."""
    thread = SpoolThread(folder, WIDE, mark=mark)
    thread.start()
    place, found = _all_behind(thread, START)
    thread.put(put(1_000, octets=50))
    assert thread.flush()
    _, fresh = _all_behind(thread, place)
    assert [item.body for item in fresh if isinstance(item, Batch)] == [body(1_000, 50)]
    thread.close(clean=True)
    batches = [item for item in found if isinstance(item, Batch)]
    return batches, [item for item in found if isinstance(item, Gap)], thread.quarantines


def _all_behind(thread: SpoolThread, place: Place) -> tuple[Place, list[Batch | Gap]]:
    found: list[Batch | Gap] = []
    while items := thread.call(lambda store, place=place: store.lease(place, 8)):  # type: ignore[misc]
        place = items[-1][0]
        found += [item for _, item in items]
    return place, found


def judge(left: Left, folder: Path, most_lost: int) -> tuple[int, int]:
    """Open it and hold it to the promise; (rows that are lost, files that were salvaged)."""
    batches, gaps, salvaged = drain(folder, left.mark)
    lost = promised(left, [*batches, *gaps])
    assert len(lost) <= most_lost, f"rows {sorted(lost)} are whole in the file and were not sent"
    return len(lost), salvaged


def promised(left: Left, items: list[Batch | Gap]) -> set[int]:
    """Hold what is sent of a damaged file to the promise; the numbers that are lost, and declared."""
    last = max(left.bodies)  # what was sealed since has numbers of the same epoch, or of another
    batches = [item for item in items if isinstance(item, Batch) and item.epoch == left.epoch and item.seq <= last]
    gaps = [item for item in items if isinstance(item, Gap) and item.epoch == left.epoch and item.to_seq <= last]
    sent = {item.seq: item.body for item in batches}
    assert len(sent) == len(batches), "a row was sent twice"
    assert all(left.bodies[seq] == octets for seq, octets in sent.items()), "a damaged record was sent"
    assert all(_numbers_as_put(batch, len(left.bodies[batch.seq])) for batch in batches), "damaged numbers were sent"
    covered = {seq for gap in gaps for seq in range(gap.from_seq, gap.to_seq + 1)}
    assert not covered & sent.keys()
    missing = left.bodies.keys() - covered - sent.keys()
    if missing:  # where no state is left, what stood before the first row that was found is in a gap of the new epoch
        assert any(isinstance(item, Gap) and item.epoch != left.epoch and not item.count_known for item in items)
        assert max(missing) < min(covered | sent.keys(), default=last + 1), "a row is neither sent nor declared"
    assert all(gap.reason == GapReason.CORRUPT for gap in gaps)
    for gap in gaps:
        assert not gap.count_known or gap.frames == sum(range(gap.from_seq, gap.to_seq + 1))
    return left.bodies.keys() - sent.keys()


def flip(path: Path, bit: int) -> None:
    octets = bytearray(path.read_bytes())
    octets[bit // 8] ^= 1 << bit % 8
    path.write_bytes(octets)


def cut(path: Path, octets: int) -> None:
    with path.open("r+b") as stream:
        stream.truncate(octets)
