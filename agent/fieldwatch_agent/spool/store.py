"""The spool's transactions: seal, lease, ack, evict, declare. One object, one connection, one thread.

Constraints:

- A batch's identity (epoch, seq) is fixed when it is put and never changes, but for a conflict (`relabel`). An epoch is
  a random number made with the file; seq counts from 1.
- `commit` is one transaction: the rows of acked batches go, sealed batches and declared losses come, the bound is
  kept, the account and the caller's meta values move. Nothing of it is visible unless all of it is on disk.
- What leaves without an ack leaves a gap, in the same transaction: evicted (QUOTA), too old (EXPIRED), damaged
  (CORRUPT), refused by the collector (REFUSED). A gap covers the numbers of the batches it stands for, or has one
  of its own; it is sent and acked like a batch.
- A gap that the collector may have seen never changes. Gaps grow together only while no number of theirs was leased
  and all were given by this process ("fresh"): an outage of days makes few rows.
- An acked row is out of every count at once; it is deleted by the next commit. A lost delete only means a resend.

The life of an item: put -> leased (any number of times) -> acked -> deleted; or put -> evicted -> gap -> leased -> ...

The account is the frames and records, since the run began, that were sealed or declared: the ledger's other half.
"""

from __future__ import annotations

import contextlib
import copy
import os
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwatch_proto.v1.agent_pb2 import GapReason

from fieldwatch_agent import faults
from fieldwatch_agent.spool.acks import Acks, delete_acked, first_unacked
from fieldwatch_agent.spool.eviction import Eviction
from fieldwatch_agent.spool.file import FILE_NAME, UnusableError, is_damage, open_file
from fieldwatch_agent.spool.image import Image
from fieldwatch_agent.spool.intake import Intake
from fieldwatch_agent.spool.items import START, Batch, Gap, Loss, Place, Put, Status, StreamState
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.rows import (
    GAP_COLUMNS,
    gap_row,
)
from fieldwatch_agent.spool.sending import Sending
from fieldwatch_agent.spool.state import Damage, Mark, Stream, is_behind, load_state, save_state

if TYPE_CHECKING:
    from fieldwatch_agent.spool.salvage import Salvaged

PAGE_BYTES = 4096
REPLACED_S = 3_600.0  # for so long an epoch that took the place of another is not replaced itself
FREE_PAGES_KEPT = 16  # for indexes and overflow pages that a batch needs beside its own


class Store:
    """The spool of a folder whose lock the caller holds. Raises SpoolError, sqlite3.Error."""

    def __init__(self, folder: Path, limits: Limits, mark: Mark | None = None) -> None:
        self.folder = folder
        self.limits = limits
        self.acks = Acks()
        self.intake = Intake(self)
        self.sending = Sending(self)
        self.salvaged: Salvaged | None = None
        """What became of a file that could not be used as it was; None where it could."""
        self._held = contextlib.ExitStack()  # what is closed behind the connection
        self.crowded = False
        """Whether the bound could not be kept yet: there was too much to evict for one transaction."""
        self._started_s = time.monotonic()
        self._leased: dict[int, int] = {}  # epoch -> greatest number leased
        self._own: dict[int, int] = {}  # epoch -> first number that this process gives
        self._replaced_s: dict[int, float] = {}  # epoch that took another's place -> when
        self._open(mark)

    # --- reading the file ---------------------------------------------------------------------------------------

    def _open(self, mark: Mark | None) -> None:
        # Closing any descriptor of a file gives up every lock that the process has on it (fcntl(2)), SQLite's too: the
        # image of a file that is in use stays open as long as the connection.
        with contextlib.ExitStack() as held:
            image = held.enter_context(contextlib.closing(Image(self.folder / FILE_NAME)))
            opened: sqlite3.Connection | None = None
            try:
                opened = self.db = open_file(self.folder)
                self._load(mark)
                self._held = held.pop_all()
                return
            except UnusableError as problem:
                opened, why = problem.connection, str(problem)
            except sqlite3.DatabaseError as problem:
                why = str(problem)
                if not is_damage(problem):
                    if opened is not None:
                        opened.close()
                    raise
            from fieldwatch_agent.spool.salvage import salvage  # hardly ever: memory of the daemon

            release = opened.close if opened is not None else lambda: None
            self.salvaged = salvage(self.folder, image, why, mark=mark, release=release)
            self.db = open_file(self.folder)
            self._load(None)

    def salvage(self, why: str) -> Store:
        """Another store, on a new file with what this one's held. What is in memory goes on, acks included."""
        from fieldwatch_agent.spool.salvage import salvage

        with contextlib.closing(Image(self.folder / FILE_NAME)) as image:
            done = salvage(self.folder, image, why, state=copy.deepcopy(self.state), release=self._let_go)
        renewed = Store(self.folder, self.limits)
        renewed.salvaged = done
        renewed._replaced_s = self._replaced_s
        renewed.acks = self.acks
        return renewed

    def _load(self, mark: Mark | None) -> None:
        self.state = load_state(self.db)
        if mark is not None and is_behind(self.state, mark):
            raise Damage("the file lacks what was committed last")
        self._clock_before_s = self.state.clock_s
        if not self.state.streams:
            with self.transaction():
                self.add_stream()
        else:
            self._own[self.current.epoch] = self.current.next_seq
        self.crowded = self.state.used_bytes > self.limits.max_bytes

    def get_meta(self, key: str) -> str:
        """A caller's value, "" where there is none."""
        return self.state.meta.get(key, "")

    def meta_items(self, prefix: str) -> dict[str, str]:
        """The callers' values whose key begins with `prefix`, without it."""
        meta = self.state.meta
        return {key.removeprefix(prefix): value for key, value in meta.items() if key.startswith(prefix)}

    @property
    def current(self) -> Stream:
        return self.state.streams[-1]

    @property
    def epochs(self) -> set[int]:
        return {stream.epoch for stream in self.state.streams}

    @property
    def mark(self) -> Mark:
        """Where the file stands, for another one to remember."""
        state, newest = self.state, self.current
        return Mark(newest.epoch, newest.next_seq, state.run, state.account_frames, state.account_records)

    # --- transactions -------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        saved = copy.deepcopy(self.state)
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.state.clock_s = self._clock_before_s + int(time.monotonic() - self._started_s)
            save_state(self.db, self.state)
            self.db.execute("COMMIT")
        except BaseException:
            self.state = saved
            if self.db.in_transaction:
                self.db.execute("ROLLBACK")
            raise

    def commit(self, puts: Sequence[Put], losses: Sequence[Loss] = (), meta: Mapping[str, str] | None = None) -> None:
        """Delete what is acked, keep `puts`, declare `losses`, set `meta`, keep the bound: all or nothing."""
        eviction = Eviction(self)
        allowed = self.limits.allowed(self.folder, self.state.used_bytes)
        with self.transaction():
            delete_acked(self)
            for put in puts:
                self.intake.put(put)
            for loss in losses:
                self.intake.declare(loss)
            eviction.expire(self.limits.max_age_s)
            eviction.fit(allowed)
            self.state.meta.update(meta or {})
            if puts:
                faults.reach("seal-before-commit")
        self._forget_epochs()
        if self.acks:
            self.acks.clear()
            faults.reach("delete-after-commit")
        if puts:
            faults.reach("seal-after-commit")

    def begin_run(
        self,
        run: int,
        losses: Sequence[Loss],
        meta: Mapping[str, str],
        lost_epoch: tuple[int, int, int, Loss] | None = None,
    ) -> None:
        """Declare what the run before lost and start a new account, in one transaction.

        `lost_epoch`: an epoch that was in memory, from and to which number it was in use, and what was lost with it.
        """
        with self.transaction():
            for loss in losses:
                self.intake.declare(loss)
            if lost_epoch is not None:
                self.intake.declare_epoch(*lost_epoch)
            self.state.run = run
            self.state.account_frames = 0
            self.state.account_records = {}
            self.state.meta.update({**meta, "clean_stop": "0"})
        faults.reach("reconcile-after-commit")

    def shrink(self, octets: int) -> None:
        """Evict at least so many octets (as far as there are any): the disk is full."""
        eviction = Eviction(self)
        with self.transaction():
            delete_acked(self)
            eviction.fit(max(0, self.state.used_bytes - octets))
        self.acks.clear()

    def free_inside(self) -> int:
        """Octets of the file's own pages that hold nothing: they can be written though the disk is full."""
        pages: int = self.db.execute("PRAGMA freelist_count").fetchone()[0]
        return max(0, pages - FREE_PAGES_KEPT) * PAGE_BYTES

    def checkpoint(self) -> None:
        """Write the WAL into the file and cut it to nothing."""
        self.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def sums(self, epoch: int, low: int, high: int) -> tuple[int, int, int, int]:
        """Batches, records, frames, body octets of a span."""
        row = self.db.execute(
            "SELECT count(*), coalesce(sum(records), 0), coalesce(sum(frames), 0), coalesce(sum(length(body)), 0)"
            " FROM batch WHERE epoch=? AND seq BETWEEN ? AND ?",
            (epoch, low, high),
        ).fetchone()
        return row[0], row[1], row[2], row[3]

    def take_number(self) -> tuple[int, int]:
        stream = self.current
        number = stream.next_seq
        stream.next_seq += 1
        return stream.epoch, number

    def write_gap(self, gap: Gap) -> None:
        """Insert a gap, or put it in the place of the one that begins at the same number."""
        self.db.execute(
            f"INSERT OR REPLACE INTO gap({GAP_COLUMNS}, crc) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            gap_row(gap),
        )

    def is_fresh(self, epoch: int, seq: int) -> bool:
        """Whether the number was given by this process and nobody can have seen it."""
        own = self._own.get(epoch)
        return own is not None and seq >= own and seq > self._leased.get(epoch, 0)

    def may_grow(self, epoch: int, seq: int) -> bool:
        """Whether a gap of this number may take another loss."""
        return self.is_fresh(epoch, seq)

    # --- sending ------------------------------------------------------------------------------------------------

    def lease(
        self, after: Place = START, max_items: int = 8, max_bytes: int = 1 << 20
    ) -> list[tuple[Place, Batch | Gap]]:
        """What comes next in the order of sending, at least one item if there is any; damaged rows come as gaps."""
        found = self.peek(after, max_items, max_bytes)
        for place, item in found:
            self._leased[item.epoch] = max(self._leased.get(item.epoch, 0), place.seq)
        return found

    def peek(
        self, after: Place = START, max_items: int = 8, max_bytes: int = 1 << 20
    ) -> list[tuple[Place, Batch | Gap]]:
        """Like `lease`, for somebody who only looks."""
        return self.sending.peek(after, max_items, max_bytes)

    def ack(self, epoch: int, upto: int, also: Sequence[tuple[int, int]] = ()) -> None:
        """The collector has committed these numbers. Nothing is written now."""
        self.acks.add(epoch, upto, also)

    def refuse(self, epoch: int, seq: int, detail: str) -> Gap | None:
        """The collector will never take this batch: the gap that has its number from now on; None if it is gone."""
        head = self.sending.head(epoch, seq)
        return None if head is None else self.sending.give_up(head, GapReason.REFUSED, detail, own_transaction=True)

    # --- epochs -------------------------------------------------------------------------------------------------

    def add_stream(self, *, behind: int = 0) -> None:
        """A new epoch for new seals. Within a transaction."""
        ordinal = self.state.streams[-1].ordinal + 1 if self.state.streams else behind + 1
        epoch = 0
        while epoch == 0 or any(stream.epoch == epoch for stream in self.state.streams):
            epoch = int.from_bytes(os.urandom(8)) >> 1
        self.state.streams.append(Stream(epoch, ordinal, 1))
        self._own[epoch] = 1

    def leave_epoch(self, epoch: int) -> int:
        """Give new seals numbers of a new epoch: those of `epoch` may have been used before a roll-back.

        The new epoch; 0 where `epoch` takes no seals any more.
        """
        if self.current.epoch != epoch or not self.may_replace(epoch):
            return 0
        with self.transaction():
            self.replace_stream()
        return self.current.epoch

    def may_replace(self, epoch: int) -> bool:
        """Whether somebody's word that its numbers are used is to be believed: an epoch that has just taken the place
        of another for that reason is a random number that nobody knew.
        """
        return time.monotonic() - self._replaced_s.get(epoch, float("-inf")) >= REPLACED_S

    def replace_stream(self) -> None:
        """A new epoch because the numbers of the current one may be used. Within a transaction."""
        self.add_stream()
        self._replaced_s[self.current.epoch] = time.monotonic()

    def adopt_numbers(self, other: Store) -> None:
        """The numbers that `other` gave in this process are this store's from now on."""
        self._own.update(other._own)
        self._leased.update(other._leased)
        self._replaced_s.update(other._replaced_s)
        self._forget_epochs()

    def _forget_epochs(self) -> None:
        """Each trouble of the disk makes some; of those that are gone nothing is asked any more."""
        known = self.epochs
        for remembered in (self._own, self._leased, self._replaced_s):
            for epoch in remembered.keys() - known:
                del remembered[epoch]

    def relabel(self, epoch: int, seq: int) -> tuple[int, int] | None:
        """Give a batch a new number because the collector holds other data under its own; None if it is gone."""
        return self.sending.relabel(epoch, seq)

    def streams(self) -> list[StreamState]:
        """Every epoch, in the order of sending."""
        found = []
        for stream in self.state.streams:
            firsts = self.db.execute(
                "SELECT (SELECT min(seq) FROM batch WHERE epoch=?1), (SELECT min(from_seq) FROM gap WHERE epoch=?1)",
                (stream.epoch,),
            ).fetchone()
            first = min((number for number in firsts if number is not None), default=stream.next_seq)
            found.append(first_unacked(StreamState(stream.epoch, first, stream.next_seq), self.acks))
        return found

    # --- telling ------------------------------------------------------------------------------------------------

    def status(self) -> Status:
        state = self.state
        sums = [state.batches, state.records, state.frames, state.body_bytes]
        gaps = state.gaps
        oldest = self.db.execute("SELECT t_min FROM batch ORDER BY rowid LIMIT 1").fetchone()
        for span in self.acks.spans():
            sums = [total - part for total, part in zip(sums, self.sums(*span), strict=True)]
            query = "SELECT count(*) FROM gap WHERE epoch=? AND from_seq >= ? AND to_seq <= ?"
            gaps -= self.db.execute(query, span).fetchone()[0]
        found = Status(
            records=sums[1],
            batches=sums[0],
            frames=sums[2],
            gaps=gaps,
            body_bytes=sums[3],
            used_bytes=state.used_bytes,
            max_bytes=self.limits.max_bytes,
            oldest_ns=oldest[0] if oldest and sums[0] else 0,
            epoch=self.current.epoch,
            next_seq=self.current.next_seq,
            declared_records=state.declared_records,
            declared_frames=state.declared_frames,
        )
        return self.with_others(found)

    def with_others(self, status: Status) -> Status:
        """What the status of this store is together with that of one which waits behind it."""
        return status

    def close(self, *, clean: bool) -> None:
        """Delete what is acked, remember how it ended, close the file."""
        if clean:
            self.commit([], meta={"clean_stop": "1"})
        self._let_go()

    def _let_go(self) -> None:
        self.db.close()
        self._held.close()
