"""What goes when the spool is full or old: by class, the oldest first, each declared as a gap in the same transaction.

Classes are `fieldwatch_proto.schema.Class`: flow records go before metrics, sightings, facts and events last. Age is
the time that the agent ran since the batch was sealed, kept as marks (agent's clock, number that comes next): a clock
that starts in 1970 or jumps never ages anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fieldwatch_proto.schema import Class, Kind
from fieldwatch_proto.v1.agent_pb2 import GapReason

from fieldwatch_agent.spool.items import Gap
from fieldwatch_agent.spool.rows import GAP_COLUMNS, HEAD_COLUMNS, ROW_BYTES, Head, added, gap_of

if TYPE_CHECKING:
    from fieldwatch_agent.spool.store import Store

MARKS = 64  # over the age limit: so fine is its grain
MOST_ROWS = 256  # in one transaction: the WAL is bounded
GAPS_SHARE = 2  # gaps count for half of the bound at most: else those of many small batches drive out all others


class Eviction:
    """Works inside the store's transaction."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def fit(self, allowed_bytes: int) -> None:
        """Evict until the bound holds, or so many rows that the next transaction has to go on."""
        store, evicted = self.store, 0
        for eviction_class in sorted(Class):
            while self._is_over(allowed_bytes) and evicted < MOST_ROWS:
                row = store.db.execute(
                    f"SELECT {HEAD_COLUMNS} FROM batch WHERE class=? ORDER BY rowid LIMIT 1",  # noqa: S608
                    (int(eviction_class),),
                ).fetchone()
                if row is None:
                    break
                self._evict(Head(*row), GapReason.QUOTA, "the spool is full")
                evicted += 1
        store.crowded = evicted == MOST_ROWS

    def _is_over(self, allowed_bytes: int) -> bool:
        """Gaps take at most a share of the bound from what waits: they are small, and cannot be evicted themselves."""
        state = self.store.state
        gaps_bytes = ROW_BYTES * state.gaps
        return state.used_bytes - gaps_bytes + min(gaps_bytes, allowed_bytes // GAPS_SHARE) > allowed_bytes

    def expire(self, max_age_s: float) -> None:
        """Evict what was sealed more than `max_age_s` ago, and remember where the numbers stand now."""
        store, state = self.store, self.store.state
        while state.marks and state.clock_s - state.marks[0][0] > max_age_s:
            _, epoch, next_seq = state.marks.pop(0)
            ordinal = next((stream.ordinal for stream in state.streams if stream.epoch == epoch), 0)
            rows = store.db.execute(
                f"SELECT {HEAD_COLUMNS} FROM batch WHERE (epoch=? AND seq<?) OR epoch IN"  # noqa: S608
                " (SELECT epoch FROM stream WHERE ordinal<?)",
                (epoch, next_seq, ordinal),
            ).fetchall()
            for row in rows:
                self._evict(Head(*row), GapReason.EXPIRED, "older than the spool keeps")
        if not state.marks or state.clock_s - state.marks[-1][0] >= max_age_s / MARKS:
            state.marks.append([state.clock_s, store.current.epoch, store.current.next_seq])

    def _evict(self, head: Head, reason: int, detail: str) -> None:
        gap = self.store.sending.give_up(head, reason, detail)
        if self.store.is_fresh(gap.epoch, gap.from_seq):
            gap = self._joined(gap, "to_seq", gap.from_seq - 1)
            self._joined(gap, "from_seq", gap.to_seq + 1)

    def _joined(self, gap: Gap, column: str, number: int) -> Gap:
        """The gap grown together with its fresh neighbour of the same reason, if there is one."""
        store = self.store
        row = store.db.execute(
            f"SELECT {GAP_COLUMNS}, crc FROM gap WHERE epoch=? AND {column}=?",  # noqa: S608
            (gap.epoch, number),
        ).fetchone()
        other = gap_of(row) if row else None
        if other is None or (other.reason, other.detail) != (gap.reason, gap.detail):
            return gap
        if not store.is_fresh(other.epoch, other.from_seq):
            return gap
        store.db.execute(
            "DELETE FROM gap WHERE epoch=? AND from_seq IN (?, ?)", (gap.epoch, gap.from_seq, other.from_seq)
        )
        both = gap._replace(
            from_seq=min(gap.from_seq, other.from_seq),
            to_seq=max(gap.to_seq, other.to_seq),
            frames=gap.frames + other.frames,
            records=added(gap.records, other.records),
            count_known=gap.count_known and other.count_known,
            ts_ns=min(gap.ts_ns, other.ts_ns),
        )
        store.write_gap(both)
        store.state.gaps -= 1
        return both


def delete_flows(store: Store, before_ns: int) -> int:
    """Give up flow records that ended before a time; the number of records, each declared."""
    records = 0
    with store.transaction():
        rows = store.db.execute(
            f"SELECT {HEAD_COLUMNS} FROM batch WHERE kind=? AND t_max<?",  # noqa: S608
            (int(Kind.FLOW), before_ns),
        ).fetchall()
        for row in rows:
            gap = store.sending.give_up(Head(*row), GapReason.EXPIRED, "deleted by hand")
            records += sum(gap.records.values())
    return records
