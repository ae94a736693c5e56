"""Run by test_spool_failing: an agent's spool and its books on a disk that fails, told what to do by lines.

Each line in is a JSON array, a command and its arguments; each line out is what it gave. Time stands still for the
spool: what was put off for a while is done at "turn", so that the same lines always do the same.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from fieldwatch_agent.accounts import InterfaceAccount, interface_accounts, reconcile
from fieldwatch_agent.ledger import Ledger, boot_id, read_ledger
from fieldwatch_agent.spool import recovery, thread
from fieldwatch_agent.spool.items import Batch, Loss, Place
from fieldwatch_agent.spool.store import Store
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1.agent_pb2 import GapReason
from support.spooling import WIDE, put

INTERFACE = "eth0"
NEVER_S = 1e9


class Agent:
    """What of an agent keeps the books."""

    def __init__(self, folder: Path) -> None:
        left = read_ledger(folder)
        self.spool = thread.SpoolThread(folder, WIDE, mark=left.mark if left else None)
        self.spool.start()
        run = int.from_bytes(os.urandom(8)) >> 1
        self.spool.call(lambda store: reconcile(store, run, left, boot_id()))
        self.ledger = Ledger(folder, run)
        self.spool.remember = self.ledger.remember
        self.slot = self.ledger.slot(INTERFACE)
        before = self.spool.call(interface_accounts).get(INTERFACE)
        self.account = InterfaceAccount(boot_id().hex(), 1, None, 1, before.drops if before else 0)
        self.spool.call(lambda store: store.commit([], [], self.account.meta(INTERFACE)))

    def _observe(self, frames: int, records: int) -> None:
        self.slot.observed[:] = (int.from_bytes(self.slot.observed, "little") + frames).to_bytes(8, "little")
        self.ledger.observe(Kind.FLOW, records)

    def _passed(self) -> None:
        """What is queued was tried: a commit follows on the calls of its turn."""
        for _ in range(2):
            self.spool.call(lambda store: None)

    def saver(self) -> None:
        self.spool.spare_disk()
        self._passed()

    def seal(self, number: int) -> None:
        item = put(number)
        self._observe(item.frames, item.sealed.records)
        self.spool.put(item)
        self._passed()

    def lose(self, frames: int) -> None:
        """Records that found no room: taken from the wire, and declared."""
        self._observe(frames, 1)
        self.spool.declare(_lost(frames))
        self._passed()

    def drop(self, frames: int) -> None:
        """Frames that the kernel had no room for."""
        loss = self._dropped(frames)
        self.spool.declare(loss, self.account.meta(INTERFACE))
        self._passed()

    def _dropped(self, frames: int) -> Loss:
        self.slot.drops += frames
        self.account = InterfaceAccount(boot_id().hex(), 1, None, 1, self.account.drops + frames)
        return Loss(GapReason.KERNEL_DROP, frames, detail=INTERFACE)

    def lose_and_die(self, frames: int) -> None:
        """Killed when the loss has been committed, and nobody was told of it yet."""
        self._observe(frames, 1)
        drop = self._dropped(frames)
        meta = self.account.meta(INTERFACE)

        def commit(store: Store) -> None:
            store.commit([], [_lost(frames), drop], meta)
            os.kill(os.getpid(), signal.SIGKILL)

        self.spool.call(commit)

    def turn(self, spills: bool) -> None:
        """What waits for a time is due; `spills`: in saver mode no ack has come for long."""

        def due(store: Store) -> None:
            care = self.spool.recovery
            care.retry_at = care._moving_at = 0.0
            care._flowing_at = -NEVER_S if spills else time.monotonic()

        self.spool.call(due)
        self._passed()

    def lease(self, ordinal: int, seq: int, items: int) -> list[Any]:
        found = self.spool.call(lambda store: store.lease(Place(ordinal, seq), items))
        return [
            [*place, "batch" if isinstance(item, Batch) else "gap", item.epoch]
            + ([item.seq, item.seq, item.body.hex()] if isinstance(item, Batch) else [item.from_seq, item.to_seq, ""])
            + [item.frames, sum(item.records.values()) if not isinstance(item, Batch) else item.records]
            for place, item in found
        ]

    def ack(self, epoch: int, upto: int, also: list[list[int]]) -> None:
        self.spool.ack(epoch, [(1, upto), *((low, high) for low, high in also)])
        self._passed()

    def memory(self) -> str:
        """Why it is in memory."""
        return self.spool.call(Store.status).memory_only

    def stop(self) -> None:
        self.spool.flush(1.0)
        self.spool.close(clean=True)


def _lost(frames: int) -> Loss:
    return Loss(GapReason.BACKPRESSURE, frames, {int(Kind.FLOW): 1}, detail="no room", accounted=True)


def main(folder: Path) -> None:
    recovery.RETRY_S = thread.RETRY_S = NEVER_S
    recovery.SAVER_S = NEVER_S / 2
    agent = Agent(folder)
    print("null", flush=True)
    for line in sys.stdin:
        command, *arguments = json.loads(line)
        print(json.dumps(getattr(agent, command)(*arguments)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
