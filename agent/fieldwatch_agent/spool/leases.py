"""What the shipper asks of the store to send out of the order of the numbers: where they stand, and what is newest.

Functions on the store, for `SpoolThread.call`. Bounded: none reads more rows than it is told to.
"""

from __future__ import annotations

from typing import NamedTuple

from fieldwatch_proto.schema import Class

from fieldwatch_agent.spool.items import Batch, Gap, Place
from fieldwatch_agent.spool.store import Store


class Outlook(NamedTuple):
    """`mark`: the place of the newest number given; `waiting`: items on disk; `news`: see `outlook`."""

    mark: Place
    waiting: int
    news: list[Place]


def outlook(store: Store, most_news: int) -> Outlook:
    """Where the numbers stand, and the places of the newest batches of knowledge (events, facts, sightings) that are
    not acked, the newest first, at most `most_news`.
    """
    ordinals = {stream.epoch: stream.ordinal for stream in store.state.streams}
    rows = store.db.execute(
        "SELECT epoch, seq FROM batch WHERE class=? ORDER BY rowid DESC LIMIT ?", (int(Class.KNOWLEDGE), most_news)
    ).fetchall()
    news = [
        Place(ordinals[epoch], seq)
        for epoch, seq in rows
        if epoch in ordinals and not store.acks.covers(epoch, seq, seq)
    ]
    mark = Place(store.current.ordinal, store.current.next_seq - 1)
    return Outlook(mark, store.state.batches + store.state.gaps, news)


def lease_at(store: Store, place: Place) -> Batch | Gap | None:
    """Lease the batch of this number, or the gap that took it; None where it is acked or in a larger gap."""
    found = store.lease(place._replace(seq=place.seq - 1), 1)
    return found[0][1] if found and found[0][0] == place else None


def waits_after(store: Store, place: Place, most: int) -> int:
    """How many batches wait behind `place` in its epoch or in later ones; counted no further than `most`."""
    epochs = [stream.epoch for stream in store.state.streams if stream.ordinal > place.ordinal]
    behind = [(stream.epoch, place.seq) for stream in store.state.streams if stream.ordinal == place.ordinal]
    count = 0
    for epoch, seq in [*behind, *((epoch, 0) for epoch in epochs)]:
        count += store.db.execute(
            "SELECT count(*) FROM (SELECT 1 FROM batch WHERE epoch=? AND seq>? LIMIT ?)", (epoch, seq, most - count)
        ).fetchone()[0]
    return count
