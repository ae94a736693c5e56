"""Run by test_a_disk_that_others_fill inside a mount namespace: a spool on a filesystem of 8 MiB that others fill."""

from __future__ import annotations

import sys
from pathlib import Path

from fieldwatch_agent.spool import ballast
from fieldwatch_agent.spool.items import Batch, Gap
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
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
    thread.ack(thread.call(lambda store: store.current.epoch), first + 9, [])
    others.unlink()
    assert thread.flush(20), "not written though there is room"
    status = thread.call(Store.status)
    acked = 5 * count - status.frames - status.declared_frames
    assert 0 <= acked <= 50, status
    assert all(len(item.body) == 40_000 for item in waiting(thread) if isinstance(item, Batch))
    thread.close(clean=True)


if __name__ == "__main__":
    {"few": a_few_wait, "many": many_come}[sys.argv[1]](Path(sys.argv[2]))
    print("conserved")
