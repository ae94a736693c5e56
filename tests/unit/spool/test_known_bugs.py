"""What users of comparable agents have reported, as tests of ours: see "Bugs of others" in docs/reliability.md."""

from __future__ import annotations

from pathlib import Path

from fieldwatch_agent.spool.items import START, Batch
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_proto.schema import Kind
from support.spooling import WIDE, body, put
from support.stack import wait_for

SMALL, MANY = 40, 10_000


def drained(store: Store) -> list[bytes]:
    """Every body that waits, in the order of sending."""
    place, found = START, []
    while items := store.lease(place, 64):
        place = items[-1][0]
        found += [item.body for _, item in items if isinstance(item, Batch)]
    return found


def test_b10_many_small_batches_are_bounded_by_octets_alone(tmp_path: Path) -> None:
    """However many there are, none is lost below the bound in octets: no table, window or list of ids runs full."""
    store = Store(tmp_path, Limits(8 << 20, 0, 1e9))
    for first in range(0, MANY, 500):
        store.commit([put(n, octets=SMALL) for n in range(first, first + 500)])

    status = store.status()

    assert (status.batches, status.gaps, status.declared_records) == (MANY, 0, 0)
    assert drained(store) == [body(n, SMALL) for n in range(MANY)]


def test_b10_what_waits_counts_the_same_after_a_restart(tmp_path: Path) -> None:
    """Octets and rows are not counted anew from nothing: the bound holds for the old and the new together."""
    room = 20 * (1_000 + 256)
    store = Store(tmp_path, Limits(room, 0, 1e9))
    store.commit([put(n, octets=1_000) for n in range(15)])
    before = store.status()
    store.close(clean=False)

    again = Store(tmp_path, Limits(room, 0, 1e9))
    assert again.status()[:6] == before[:6]
    again.commit([put(n, octets=1_000) for n in range(15, 30)])

    status = again.status()
    assert status.used_bytes <= room
    assert status.frames + status.declared_frames == 30 * 5


def test_b13_nothing_that_waits_is_moved_away_by_a_checkpoint(tmp_path: Path) -> None:
    """Folding the log, deleting what is acked, salvaging, restarting: all that was not acked is sent, in order."""
    store = Store(tmp_path, WIDE)
    for number in range(60):
        store.commit([put(number, (Kind.FLOW, Kind.FACT)[number % 2], octets=3_000)])
    store.ack(store.current.epoch, 20, [(31, 40)])
    wanted = [body(n, 3_000) for n in (*range(20, 30), *range(40, 60))]

    store.commit([])
    store.checkpoint()
    assert drained(store) == wanted
    store = store.salvage("a test")
    assert drained(store) == wanted
    store.close(clean=True)
    assert drained(Store(tmp_path, WIDE)) == wanted


def test_b03_the_gaps_of_a_backlog_leave_room_for_what_comes(tmp_path: Path) -> None:
    """The bound is lowered far below a backlog of many small batches: facts are kept, and so is what is sealed now."""
    count, octets, bound = 8_000, 2_000, 1_000_000
    store = Store(tmp_path, WIDE)
    for first in range(0, count, 200):
        store.commit([put(n, (Kind.FLOW, Kind.FACT)[n % 20 == 0], octets=octets) for n in range(first, first + 200)])
    store.close(clean=True)

    store = Store(tmp_path, Limits(bound, 0, 1e9))
    store.commit([put(count, Kind.FACT, octets=octets)])
    while store.crowded:
        store.commit([])

    waiting = drained(store)
    status = store.status()
    assert len(waiting) > bound // octets // 4
    assert waiting[-1] == body(count, octets)
    assert status.body_bytes <= bound
    assert status.frames + status.declared_frames == 5 * (count + 1)


def test_b03_the_bound_is_kept_before_anything_comes(tmp_path: Path) -> None:
    """An agent that starts on a wire without a frame keeps its new bound all the same."""
    store = Store(tmp_path, WIDE)
    store.commit([put(n, octets=2_000) for n in range(1_000)])
    store.close(clean=True)
    thread = SpoolThread(tmp_path, Limits(1_000_000, 0, 1e9))
    thread.start()

    wait_for(lambda: thread.call(Store.status).used_bytes <= 1_000_000, "the bound is kept", 10)

    thread.close(clean=True)
