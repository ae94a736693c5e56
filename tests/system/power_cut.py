"""What runs on the watched disk for `test_matrix_power`: the agent's spool, or the collector's store.

``python -m system.power_cut spool|store FOLDER SEED``. What is promised so far goes to the file ``promises`` beside the
data, a line of JSON each, so that it stands in the log of the disk among the operations that it is about.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
from pathlib import Path

from fieldwatch_agent.spool.items import Loss
from fieldwatch_agent.spool.store import Store
from fieldwatch_collector.store import BatchItem
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_proto.columns import digest
from fieldwatch_proto.v1.agent_pb2 import GapReason
from support.spooling import WIDE, body, put

PROMISES = "promises"
COMMITS = 24
AGENT = "00000000-0000-4000-8000-000000000001"
EPOCH = 7


class Promises:
    """Lines that stand in the log from the moment they are true."""

    def __init__(self, folder: Path) -> None:
        self._fd = os.open(folder / PROMISES, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def add(self, **values: object) -> None:
        os.write(self._fd, json.dumps(values).encode() + b"\n")


def run_spool(folder: Path, dice: random.Random) -> None:
    """Commits of some batches and losses, acks of what was committed; WAL checkpoints come by themselves."""
    promises = Promises(folder)
    store = Store(folder, WIDE)
    epoch, number, waiting = store.current.epoch, 0, []
    promises.add(epoch=epoch)
    for _ in range(COMMITS):
        numbers = [number + place for place in range(dice.randint(0, 3))]
        number += len(numbers)
        losses = [Loss(GapReason.BACKPRESSURE, 1)] if dice.random() < 0.2 else []
        first = store.current.next_seq
        store.commit([put(each, octets=dice.choice((200, 3_000, 20_000))) for each in numbers], losses)
        fresh = {first + place: each for place, each in enumerate(numbers)}
        promises.add(stored={seq: [each, len(read_body(store, epoch, seq))] for seq, each in fresh.items()})
        waiting += fresh
        if waiting and dice.random() < 0.5:
            acked = dice.sample(waiting, dice.randint(1, len(waiting)))
            promises.add(acked=acked)
            for seq in acked:
                waiting.remove(seq)
                store.ack(epoch, 0, [(seq, seq)])
    store.close(clean=True)


def read_body(store: Store, epoch: int, seq: int) -> bytes:
    """The octets of a row."""
    found: bytes = store.db.execute("SELECT body FROM batch WHERE epoch=? AND seq=?", (epoch, seq)).fetchone()[0]
    return found


def run_store(folder: Path, dice: random.Random) -> None:
    """Puts of some batches; each is promised when `put` has returned, as an ack would be."""
    promises = Promises(folder)
    store = SqliteStore(folder / "collector.db")
    store.migrate()

    async def fill() -> None:
        seq = 1
        for _ in range(COMMITS):
            items = []
            for _ in range(dice.randint(1, 4)):
                octets = body(seq, dice.choice((100, 5_000, 30_000)))
                items.append(BatchItem(EPOCH, seq, 1, 1, 1, 1, len(octets), 5, 6, digest(octets), octets))
                seq += 1
            await store.put(AGENT, items)
            promises.add(stored={item.seq: [item.seq, len(item.body)] for item in items})
            if dice.random() < 0.1:
                store.checkpoint()

    asyncio.run(fill())
    store.close()


if __name__ == "__main__":
    {"spool": run_spool, "store": run_store}[sys.argv[1]](Path(sys.argv[2]), random.Random(int(sys.argv[3])))
