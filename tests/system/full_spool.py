"""Run by test_matrix_spool inside a mount namespace: a spool on a filesystem of 8 MiB that it, or others, fill."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from fieldwatch_agent.spool import ballast
from fieldwatch_agent.spool.items import Batch, Gap
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.recovery import Recovery
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_proto.schema import Kind
from support.spooling import put
from support.stack import wait_for


def fill(folder: Path) -> Path:
    """Take every octet that is left."""
    path = folder / "others"
    with path.open("wb", buffering=0) as stream:
        size = 1 << 16
        while size:
            try:
                stream.write(bytes(size))
            except OSError:
                size //= 2
    return path


def fill_up(folder: Path, more: int) -> tuple[SpoolThread, Path, int]:
    """Batches until the disk, which others filled, takes no more; then `more`.

    The thread, the others' file, and the number of batches put.
    """
    thread = SpoolThread(folder, Limits(64 << 20, 0, 1e9), queue_bytes=1 << 20)
    thread.start()
    for number in range(1, 60):
        thread.put(put(number, octets=40_000))
        assert thread.flush()
    others = fill(folder)
    number = 59
    while not thread.failed_commits:
        number += 1
        assert number < 200, "the disk is never full"
        thread.put(put(number, octets=40_000))
        wait_for(lambda: thread.failed_commits > 0 or thread.flush(0), "written or not")
    for following in range(number + 1, number + more + 1):
        thread.put(put(following, octets=40_000))
    return thread, others, number + more


def waiting(thread: SpoolThread) -> list[Batch | Gap]:
    return thread.call(lambda store: [item for _, item in store.peek(max_items=1000, max_bytes=1 << 30)])


def a_few_wait(folder: Path) -> None:
    """They wait in memory, nothing is given up, and with room for them and the ballast they are written."""
    thread, others, count = fill_up(folder, 7)
    others.unlink()
    assert thread.flush(20), "not written though there is room"
    numbers = [item.seq for item in waiting(thread) if isinstance(item, Batch)]
    assert numbers == list(range(1, count + 1)), numbers
    assert (folder / ballast.FILE_NAME).exists(), "the room in reserve was not made again"
    thread.close(clean=True)


def many_come(folder: Path) -> None:
    """More than the memory may hold: acks free rows, and what goes is declared."""
    thread, others, count = fill_up(folder, 100)
    first = thread.call(lambda store: store.streams()[0].first_unacked)
    thread.ack(thread.call(lambda store: store.current.epoch), [(1, first + 9)])
    others.unlink()
    assert thread.flush(20), "not written though there is room"
    status = thread.call(Store.status)
    acked = 5 * count - status.frames - status.declared_frames
    assert 0 <= acked <= 50, status
    assert all(len(item.body) == 40_000 for item in waiting(thread) if isinstance(item, Batch))
    thread.close(clean=True)


def acks_come(folder: Path) -> None:
    """The others stay, and no octet becomes free: what is acked is deleted, and its room takes what waits."""
    thread, others, count = fill_up(folder, 10)
    before = others.stat().st_size
    first = thread.call(lambda store: store.streams()[0].first_unacked)
    thread.ack(thread.call(lambda store: store.current.epoch), [(1, first + 24)])
    assert thread.flush(20), "acks gave room, and nothing was written into it"
    numbers = [item.seq for item in waiting(thread) if isinstance(item, Batch)]
    assert numbers == list(range(first + 25, count + 1)), numbers
    rows = thread.call(lambda store: store.db.execute("SELECT min(seq), count(*) FROM batch").fetchone())
    assert rows == (first + 25, len(numbers)), rows
    assert thread.call(Store.status).gaps == 0, "nothing was given up for it"
    assert others.stat().st_size == before
    thread.close(clean=True)


def we_fill_it(folder: Path) -> None:
    """Twice as much as the disk holds, under a bound that it does not: the least worthy go, declared to the frame."""
    thread = SpoolThread(folder, Limits(64 << 20, 0, 1e9), queue_bytes=1 << 20)
    thread.start()
    for number in range(1, 401):
        thread.put(put(number, (Kind.FLOW, Kind.FACT)[number % 8 == 0], octets=40_000))
        wait_for(lambda: thread.queued_bytes <= 1 << 19, "it is written, or room is made")
    assert thread.failed_commits > 0, "the disk was never full"
    thread.close(clean=True)
    store = Store(folder, Limits(64 << 20, 0, 1e9))
    status = store.status()
    assert status.frames + status.declared_frames == 5 * 400, status
    kept = [item.kind for _, item in store.peek(max_items=1000, max_bytes=1 << 30) if isinstance(item, Batch)]
    assert kept.count(Kind.FACT) == 50, "facts outlive flow records"
    assert 0 < kept.count(Kind.FLOW) < 350
    store.close(clean=True)


def no_inodes(folder: Path) -> None:
    """Nothing new can be made in the folder: the running spool does not need to; nothing is lost or damaged."""
    thread = SpoolThread(folder, Limits(64 << 20, 0, 1e9))
    thread.start()
    thread.put(put(1))
    assert thread.flush()
    made = 0
    with contextlib.suppress(OSError):
        while made < 10_000:
            (folder / f"empty{made}").touch()
            made += 1
    assert 0 < made < 10_000
    for number in range(2, 40):
        thread.put(put(number, octets=20_000))
        assert thread.flush()
    assert thread.failed_commits == 0
    thread.close(clean=True)
    store = Recovery(folder, lambda kind, data: None).open(Limits(64 << 20, 0, 1e9), None)
    assert store.status().batches == 39
    store.commit([put(40)])
    store.close(clean=True)


if __name__ == "__main__":
    scenes = {"few": a_few_wait, "many": many_come, "acks": acks_come, "ours": we_fill_it, "inodes": no_inodes}
    scenes[sys.argv[1]](Path(sys.argv[2]))
    print("conserved")
