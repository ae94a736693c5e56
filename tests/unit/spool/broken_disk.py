"""Run by test_row_12: the kernel refuses this process every write to a file (RLIMIT_FSIZE), and allows them again."""

from __future__ import annotations

import resource
import signal
import sys
from pathlib import Path

from fieldwatch_agent.spool.items import START, Batch, Gap, Place
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.memory import MEMORY_BYTES
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from support.spooling import put
from support.stack import wait_for

OCTETS = 40_000
MANY = 400  # more than the memory may hold


def writing(allowed: bool) -> None:
    most = resource.RLIM_INFINITY if allowed else 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


def send(thread: SpoolThread, place: Place, items: int) -> tuple[Place, list[Batch | Gap]]:
    found = thread.call(lambda store: store.lease(place, items, 1 << 30))
    return (found[-1][0] if found else place), [item for _, item in found]


def main(folder: Path) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    alarms: list[str] = []
    thread = SpoolThread(folder, Limits(64 << 20, 0, 1e9))
    thread.tell(lambda kind, data: alarms.append(kind))
    thread.start()
    for number in range(1, 11):
        thread.put(put(number, octets=OCTETS))
    assert thread.flush()
    place, sent = send(thread, START, 3)

    writing(False)
    for number in range(11, 15):
        thread.put(put(number, octets=OCTETS))
    wait_for(lambda: bool(thread.call(Store.status).memory_only), "the spool goes on in memory")
    assert thread.flush()
    place, found = send(thread, place, 2)
    sent += found
    assert [item.seq for item in found] == [1, 2], "what is in memory is sent"
    thread.ack(found[0].epoch, [(1, 2)])
    for number in range(15, 15 + MANY):
        thread.put(put(number, octets=OCTETS))
        assert thread.flush()
    status = thread.call(Store.status)
    assert status.memory_records * OCTETS // 3 <= MEMORY_BYTES, "the memory is bounded"
    assert status.declared_frames > 0, "and what does not fit is declared"
    assert alarms == ["agent.spool_trouble"], alarms

    writing(True)
    wait_for(lambda: not thread.call(Store.status).memory_only, "the spool is on the disk again")
    thread.put(put(15 + MANY, octets=OCTETS))
    assert thread.flush()
    while True:
        place, found = send(thread, place, 50)
        if not found:
            break
        sent += found
    bodies = [item.body for item in sent if isinstance(item, Batch)]
    twice = len(bodies) - len(set(bodies))
    assert twice == 3, f"the three that were sent before, and not acked, are sent once more; not {twice}"
    unique = {(item.epoch, item.seq if isinstance(item, Batch) else item.from_seq): item for item in sent}
    assert sum(item.frames for item in unique.values()) == 5 * (15 + MANY)
    thread.close(clean=True)
    again = Store(folder, Limits(64 << 20, 0, 1e9))
    assert again.get_meta("clean_stop") == "1"
    assert again.status().batches == len(set(bodies)) - 2, "all but the two that were acked"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
    print("conserved")
