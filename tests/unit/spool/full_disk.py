"""Run by test_a_disk_that_others_fill inside a mount namespace: a spool on a small filesystem that others fill."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from fieldwatch_agent.spool.items import Batch
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


def main(folder: Path) -> None:
    thread = SpoolThread(folder, Limits(64 << 20, 0, 1e9), queue_bytes=1 << 20)
    thread.start()
    frames = 0
    for number in range(1, 60):
        thread.put(put(number, octets=40_000))
        frames += 5
    assert thread.flush()
    others = fill(folder)
    for number in range(60, 160):
        thread.put(put(number, octets=40_000))
        frames += 5
        time.sleep(0.01)
    wait_for(lambda: thread.failed_commits > 0, "the disk is full")
    first = thread.call(lambda store: store.streams()[0].first_unacked)
    thread.ack(thread.call(lambda store: store.current.epoch), first + 9, [])
    others.unlink()
    assert thread.flush(20), "not written though there is room"
    status = thread.call(Store.status)
    waiting = thread.call(lambda store: [item for _, item in store.peek(max_items=1000, max_bytes=1 << 30)])
    acked = frames - status.frames - status.declared_frames
    assert 0 <= acked <= 50, (frames, status)
    assert all(len(item.body) == 40_000 for item in waiting if isinstance(item, Batch))
    thread.close(clean=True)
    print("conserved")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
