"""A fresh record got through: only an ack of something that was sealed after the mark counts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_agent.control.freshness import Freshness
from fieldwatch_agent.spool.store import Store
from support.spooling import WIDE, put


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path, WIDE)
    yield opened
    opened.close(clean=True)


def epoch(store: Store) -> int:
    return store.current.epoch


def test_acks_of_a_backlog_are_not_fresh(store: Store) -> None:
    """What was sealed before the mark may be acked as much as it likes; the first ack behind it counts."""
    store.commit([put(number) for number in range(1, 11)])
    fresh = Freshness()
    fresh.look(store, acks_came=False)
    begun_s = time.monotonic()
    store.ack(epoch(store), 10, [])
    fresh.look(store, acks_came=True)
    backlog = fresh.newest_s
    store.commit([put(11)])
    fresh.look(store, acks_came=False)
    waits = fresh.waits_since_s
    store.ack(epoch(store), 11, [])
    fresh.look(store, acks_came=True)
    age_s = fresh.age_s

    assert backlog is None
    assert waits is not None
    assert age_s is not None
    assert 0 <= age_s <= time.monotonic() - begun_s
    assert fresh.newest_s is not None
    assert fresh.newest_s >= begun_s
    assert fresh.waits_since_s is None


def test_a_sparse_ack_is_one(store: Store) -> None:
    """Fresh records are sent before the backlog: what was acked in between counts, on disk or not yet deleted."""
    fresh = Freshness()
    fresh.look(store, acks_came=False)
    store.commit([put(number) for number in range(1, 11)])
    store.ack(epoch(store), 0, [(7, 7)])
    fresh.look(store, acks_came=True)
    first = fresh.newest_s
    store.commit([put(11)])  # deletes the row of 7
    fresh.look(store, acks_came=True)
    still = fresh.newest_s
    store.ack(epoch(store), 0, [(11, 11)])
    store.commit([put(12)])
    fresh.look(store, acks_came=True)

    assert first is not None
    assert still == first
    assert fresh.newest_s is not None
    assert fresh.newest_s > first


def test_what_is_given_up_is_not_through(store: Store) -> None:
    """Evicted batches leave the spool as well; their gaps wait in their place."""
    fresh = Freshness()
    fresh.look(store, acks_came=False)
    store.commit([put(number) for number in range(1, 11)])
    store.shrink(1 << 20)
    fresh.look(store, acks_came=True)

    assert store.status().batches == 0
    assert fresh.newest_s is None


def test_a_new_epoch_is_fresh_as_a_whole(store: Store) -> None:
    """After a roll-back or a new file all numbers of the new epoch are behind the mark."""
    store.commit([put(number) for number in range(1, 4)])
    fresh = Freshness()
    fresh.look(store, acks_came=False)
    store.leave_epoch(epoch(store))
    store.commit([put(1)])
    fresh.look(store, acks_came=True)
    before = fresh.newest_s
    store.ack(epoch(store), 1, [])
    fresh.look(store, acks_came=True)

    assert before is None
    assert fresh.newest_s is not None
