"""What waits for the spool's thread: sealed batches, bounded in octets, losses, and values of meta.

Whoever puts never waits. A batch that finds the queue full is declared lost instead; losses of one reason become one,
so that their list is bounded by the number of reasons and details.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping

from fieldwatch_proto.v1.agent_pb2 import GapReason

from fieldwatch_agent.spool.items import Loss, Put, Work
from fieldwatch_agent.spool.rows import added


class Queue:
    """For several threads, under the lock of `wake`, which is told of everything that comes."""

    def __init__(self, max_bytes: int, wake: threading.Condition) -> None:
        self.max_bytes = max_bytes
        self.octets = 0
        self._wake = wake
        self._puts: list[Put] = []
        self._losses: list[Loss] = []
        self._meta: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._puts or self._losses or self._meta)

    def put(self, put: Put) -> bool:
        """False where the queue was full and the batch was declared lost instead."""
        size = len(put.sealed.body)
        with self._wake:
            full = self.octets + size > self.max_bytes and bool(self._puts)
            if full:
                join_loss(self._losses, _lost(put))
            else:
                self._puts.append(put)
                self.octets += size
            self._wake.notify()
        return not full

    def declare(self, loss: Loss, meta: Mapping[str, str]) -> None:
        with self._wake:
            join_loss(self._losses, loss)
            self._meta.update(meta)
            self._wake.notify()

    def take(self, most_bytes: int, *, one_more: bool) -> Work:
        """Batches of so many octets (`one_more`: one at least, however large), which stay in the queue until they are
        dropped, and all else, which does not: what comes while losses are written must not join them.
        """
        with self._wake:
            puts: list[Put] = []
            size = 0
            for put in self._puts:
                size += len(put.sealed.body)
                if size > most_bytes and (puts or not one_more):
                    break
                puts.append(put)
            work = Work(puts, self._losses, self._meta)
            self._losses, self._meta = [], {}
        return work

    def put_back(self, work: Work) -> None:
        """It was not written."""
        with self._wake:
            newer, self._losses = self._losses, list(work.losses)
            for loss in newer:
                join_loss(self._losses, loss)
            self._meta = {**work.meta, **self._meta}

    def drop(self, work: Work) -> tuple[int, int]:
        """It is written, or held by others: the octets that still wait, and those of the next batch."""
        with self._wake:
            del self._puts[: len(work.puts)]
            self.octets -= work.octets
            return self.octets, len(self._puts[0].sealed.body) if self._puts else 0

    def clear(self) -> tuple[int, int]:
        """Give up what waits: its batches and frames."""
        with self._wake:
            given_up = len(self._puts), sum(put.frames for put in self._puts)
            self._puts, self._losses, self._meta, self.octets = [], [], {}, 0
        return given_up


def join_loss(losses: list[Loss], loss: Loss) -> None:
    """Add a loss to the one of the same reason and detail, if there is one."""
    for place, other in enumerate(losses):
        if other._replace(frames=0, records={}) == loss._replace(frames=0, records={}):
            losses[place] = other._replace(
                frames=other.frames + loss.frames, records=added(other.records, loss.records)
            )
            return
    losses.append(loss)


def _lost(put: Put) -> Loss:
    return Loss(
        GapReason.BACKPRESSURE,
        put.frames,
        {int(put.sealed.kind): put.sealed.records},
        detail="the queue to the spool was full",
        accounted=True,
    )
