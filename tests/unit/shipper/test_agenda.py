"""What goes next: news first after an outage, the backlog on half of the window, fresh data all the while."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_agent.shipper.agenda import MAX_HOLES, MAX_NEWS
from fieldwatch_agent.spool.items import Loss, Place
from fieldwatch_agent.spool.leases import lease_at, outlook, waits_after
from fieldwatch_agent.spool.store import Store
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.model_collector import Line, ModelCollector
from support.spooling import WIDE, body, put

KINDS = (Kind.FLOW, Kind.FLOW, Kind.FACT, Kind.METRIC)  # of batch n: KINDS[n % 4]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(tmp_path, WIDE)
    yield made
    made.close(clean=True)


def seal(store: Store, *numbers: int, kind: Kind | None = None, octets: int = 200) -> None:
    """Batches whose bodies name their numbers."""
    for number in numbers:
        store.commit([put(number, kind or KINDS[number % 4], octets=octets)])


def waiting(store: Store) -> int:
    status = store.status()
    return status.batches + status.gaps


def test_after_an_outage_the_newest_news_come_first_and_then_the_backlog(store: Store) -> None:
    """Facts, newest first; then everything else, oldest first, on half of the window; nothing twice."""
    seal(store, *range(1, 41))
    line = Line(store, ModelCollector())
    line.connect(messages=8)

    line.run()

    facts = [number for number in range(40, 0, -1) if number % 4 == 2]
    others = [number for number in range(1, 41) if number % 4 != 2]
    ahead = line.sent[: len(facts)]
    assert [message.seq for message in ahead] == facts
    assert [message.seq for message in line.sent[len(facts) :]] == others
    assert sorted(line.collector.bodies()) == sorted(body(number) for number in range(1, 41))
    assert waiting(store) == 0


def test_a_few_batches_are_no_backlog(store: Store) -> None:
    """What one window carries goes in the order of its numbers, on the whole of it."""
    seal(store, *range(1, 9))
    line = Line(store, ModelCollector())
    line.connect(messages=8)

    assert [message.seq for message in line.say()] == list(range(1, 9))
    assert line.agenda.level


def test_the_backlog_has_half_of_the_window(store: Store) -> None:
    """Half of the messages and half of the octets; the other half is there for what is sealed meanwhile."""
    seal(store, *range(1, 41), kind=Kind.FLOW, octets=1_000)
    line = Line(store, ModelCollector())

    line.connect(messages=8, octets=1 << 20)
    assert [message.seq for message in line.say()] == [1, 2, 3, 4]
    line.connect(messages=8, octets=4_500)
    assert [message.seq for message in line.say()] == [1, 2]
    line.connect(messages=1)
    assert [message.seq for message in line.say()] == [1]


def test_fresh_data_goes_before_the_backlog(store: Store) -> None:
    """What is sealed while the backlog is shipped is acked long before the backlog is."""
    seal(store, *range(1, 101), kind=Kind.FLOW)
    line = Line(store, ModelCollector())
    line.connect(messages=8)
    line.say()

    seal(store, 101, 102, kind=Kind.FLOW)
    line.agenda.wake()

    assert [message.seq for message in line.say()] == [101, 102]
    for _ in range(6):
        line.answer()
    line.run()
    order = [message.seq for message in line.collector.stored if isinstance(message, pb.Batch)]
    assert order == [1, 2, 3, 4, 101, 102, *range(5, 101)]


@pytest.mark.parametrize("messages", [1, 2, 8])
def test_neither_fresh_data_nor_the_backlog_starves(store: Store, messages: int) -> None:
    """More is sealed than the window carries: they take turns, so that half of what goes is backlog."""
    seal(store, *range(1, 101), kind=Kind.FLOW)
    line = Line(store, ModelCollector())
    line.connect(messages=messages)
    number = 100
    for _ in range(100):
        number += 1
        seal(store, number, kind=Kind.FLOW)
        line.agenda.wake()
        line.say()
        line.answer()

    fresh = sum(1 for message in line.collector.stored if isinstance(message, pb.Batch) and message.seq > 100)
    assert 48 <= fresh <= 52
    line.run()
    assert waiting(store) == 0


def test_what_the_collector_cannot_take_yet_waits_for_the_backlog(store: Store) -> None:
    """More ranges than it remembers: what was sent ahead goes back to its lane, holes are filled, nothing is lost."""
    seal(store, *range(1, 81))
    collector = ModelCollector(max_ranges=5)
    line = Line(store, collector)
    line.connect(messages=8)

    line.run()

    facts = [number for number in range(80, 0, -1) if number % 4 == 2]
    assert [message.seq for message in collector.stored[:5]] == facts[:5]  # type: ignore[union-attr]
    assert sorted(collector.bodies()) == sorted(body(number) for number in range(1, 81))
    assert (waiting(store), collector.conflicts) == (0, 0)


def test_a_collector_that_is_full_of_ranges_is_not_asked_all_the_time(store: Store) -> None:
    """After "later" nothing is sent ahead until its time; the backlog goes on meanwhile."""
    seal(store, *range(1, 401), kind=Kind.FLOW)
    line = Line(store, ModelCollector(max_ranges=0))
    line.connect(messages=8)
    for _ in range(40):
        seal(store, 500 + len(line.sent), kind=Kind.FLOW)
        line.agenda.wake()
        line.say()
        line.answer()

    ahead = [message.seq for message in line.sent if message.seq > 400]
    assert len(ahead) <= 4  # a window's, once; the clock stands still
    assert [message.seq for message in line.collector.stored] == list(range(1, len(line.collector.stored) + 1))  # type: ignore[union-attr]
    line.run()
    assert (waiting(store), line.collector.conflicts) == (0, 0)


def test_the_holes_are_bounded_whatever_happens(store: Store) -> None:
    """Streams that break again and again while news go ahead never take all the ranges that a collector remembers."""
    store.commit([put(number, Kind.FLOW) for number in range(1, 1_001)])
    store.commit([put(number, Kind.FACT if number % 2 else Kind.FLOW) for number in range(1_001, 3_001)])
    collector = ModelCollector()
    line = Line(store, collector)
    for _ in range(12):
        line.connect(messages=8)
        while any(message.seq > 1_000 for message in line.say()):
            while line.up:
                line.answer()
        store.commit([])

    assert MAX_NEWS < collector.ranges(store.current.epoch) <= MAX_HOLES
    line.connect()
    line.run()
    assert waiting(store) == 0
    assert len(collector.bodies()) == 3_000


def test_a_lane_that_cannot_keep_pace_begins_anew(store: Store) -> None:
    """For a minute more is sealed than goes: what waits becomes backlog, and the newest news go first again."""
    seal(store, 1, kind=Kind.FLOW)
    line = Line(store, ModelCollector())
    line.connect(messages=4)
    line.say()
    seal(store, *range(2, 42))
    line.agenda.wake()
    line.say()
    line.answer()
    line.now += 61

    assert [message.seq for message in line.say()] == [38]
    assert not line.agenda.level
    line.run()
    assert sorted(line.collector.bodies()) == sorted(body(number) for number in range(1, 42))
    assert line.agenda.level


def test_a_pause_of_the_collector_is_no_lag(store: Store) -> None:
    """While nothing may be sent no new beginning is made, however often the spool wakes us."""
    seal(store, 1, kind=Kind.FLOW)
    line = Line(store, ModelCollector())
    line.connect(messages=0)
    for number in range(2, 20):
        seal(store, number, kind=Kind.FLOW)
        line.agenda.wake()
        assert line.say() == []
        line.now += 30

    assert line.agenda.level
    assert line.talk.pause() is None


def test_gaps_of_a_backlog_keep_their_place(store: Store) -> None:
    """A declared loss in the middle is shipped with the backlog, one that is declared now with the fresh data."""
    seal(store, *range(1, 11), kind=Kind.FLOW)
    store.commit([], [Loss(pb.KERNEL_DROP, 7)])
    seal(store, *range(12, 31), kind=Kind.FLOW)
    line = Line(store, ModelCollector())
    line.connect(messages=8)
    line.say()
    store.commit([], [Loss(pb.BACKPRESSURE, 9)])
    line.agenda.wake()

    line.run()

    gaps = [place for place, item in enumerate(line.collector.stored) if isinstance(item, pb.Gap)]
    frames = [item.frames for item in line.collector.stored if isinstance(item, pb.Gap)]
    assert (gaps, frames) == ([4, 11], [9, 7])


def test_the_outlook_is_bounded_and_knows_acks(store: Store) -> None:
    """No more places than asked for, none that is acked, those of older epochs too."""
    seal(store, 1, 2, kind=Kind.EVENT)
    old = store.current
    store.leave_epoch(old.epoch)
    seal(store, 3, 4, 5, kind=Kind.SIGHTING)
    store.ack(store.current.epoch, 1)

    seen = outlook(store, 4)

    assert seen == (Place(2, 3), 5, [Place(2, 3), Place(2, 2), Place(1, 2)])
    assert waits_after(store, Place(1, 1), 99) == 4
    assert waits_after(store, Place(1, 1), 2) == 2
    found = lease_at(store, Place(2, 2))
    assert found is not None
    assert found.body == body(4)  # type: ignore[union-attr]
    assert lease_at(store, Place(2, 1)) is None
