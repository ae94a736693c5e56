"""Runs the projections over the batch log, a slice at a time, in the store's writer thread."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from fieldwatch_proto.columns import CODEC_MSGPACK_ZSTD, DecodeError, open_body
from fieldwatch_proto.identity import Prefix
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.schema import Kind

from fieldwatch_collector.clocks import correction
from fieldwatch_collector.frequent import Frequent, counted
from fieldwatch_collector.journal import record
from fieldwatch_collector.projections.batch import OpenBatch
from fieldwatch_collector.projections.events import EventProjection, MetricProjection
from fieldwatch_collector.projections.flows import FlowProjection
from fieldwatch_collector.projections.inventory import InventoryProjection
from fieldwatch_collector.store import tally

SLICE_SECONDS = 0.02
SLICE_BATCHES = 16
DEAD_LETTER = "agent.dead_letter"
TALLY = "tally"  # its place among the projections; a rebuild leaves it where it is
NEXT_BATCH = (
    "SELECT position, agent, epoch, seq, kind, codec, records, raw_bytes, received_ns, body FROM batch"
    " WHERE position > ? ORDER BY position LIMIT 1"
)

log = get_logger(__name__)
Event = dict[str, Any]


class Projection(Protocol):
    """One reader of the log. All methods run in the writer thread, inside its transaction."""

    name: str
    kinds: frozenset[Kind]
    part: int  # records that `apply` takes at a time
    rebuilt: bool  # whether `reset` drops what it wrote

    def apply(self, connection: sqlite3.Connection, batch: OpenBatch) -> list[Event]:
        """Write what comes of one batch, or of the next part of it; the events that it gives, recorded."""

    def clear(self, connection: sqlite3.Connection) -> None:
        """Drop what was derived."""

    def forget(self) -> None:
        """What was remembered in memory may be ahead of the tables: load it anew when needed."""


@dataclass(slots=True)
class _Place:
    """How far a projection is: all batches up to `position`, and so many records of the one behind it."""

    position: int
    records: int


class Projector:
    """See `store.Background`. `publish` and `publish_transient` are the hub's; they are called after the commit."""

    def __init__(
        self,
        publish: Callable[[Sequence[Event]], None],
        publish_transient: Callable[[Event], None],
        prefixes: Sequence[Prefix] = (),
    ) -> None:
        self._publish = publish
        self._publish_transient = publish_transient
        self._inventory = InventoryProjection(prefixes)
        self._projections: tuple[Projection, ...] = (
            self._inventory,
            FlowProjection(self._inventory),
            MetricProjection(),
            EventProjection(),
        )
        self._places: dict[str, _Place] | None = None
        self._half_done: OpenBatch | None = None  # the next step goes on with it
        self._quiet_until = 0
        self._sites: dict[str, str] = {}
        self._frequent = Frequent()
        self._events: list[Event] = []
        self.position = 0  # of the last batch that all projections have committed
        self.dead_letters = 0  # since the start

    def step(self, connection: sqlite3.Connection) -> bool:
        """Project some batches, or a part of a large one; whether more wait."""
        places = self._load_places(connection)
        after = min(place.position for place in places.values())
        deadline = time.monotonic() + SLICE_SECONDS
        tallied: list[tally.Row] = []
        changed, more = False, True
        for _ in range(SLICE_BATCHES):
            row = connection.execute(NEXT_BATCH, (after,)).fetchone()
            if row is None:
                more = False
                break
            changed = True
            if not self._project(connection, row, places, tallied, deadline):
                break
            after = row["position"]
            if time.monotonic() >= deadline:
                break
        if changed:
            tally.write(connection, tallied)
            connection.executemany(
                "UPDATE projection SET position = ?, records = ? WHERE name = ?",
                [(place.position, place.records, name) for name, place in places.items()],
            )
        return more

    def committed(self) -> None:
        events, self._events = self._events, []
        if events:
            self._publish(events)
        for message in self._inventory.take_updates():
            self._publish_transient(message)
        if self._places is not None:
            self.position = min(place.position for place in self._places.values())

    def rolled_back(self) -> None:
        self._events = []
        self._places = None
        self._half_done = None
        self._sites.clear()
        for projection in self._projections:
            projection.forget()

    def reset(self, connection: sqlite3.Connection) -> int:
        """Drop what was derived and start again from the first batch; the position of the newest one.

        The journal of events is history itself and stays; what the replay finds again is not told again.
        """
        newest = int(connection.execute("SELECT coalesce(max(position), 0) FROM batch").fetchone()[0])
        self._load_places(connection)
        for projection in self._projections:
            projection.forget()
            if projection.rebuilt:
                projection.clear(connection)
                connection.execute(
                    "UPDATE projection SET quiet_until = max(quiet_until, position), position = 0, records = 0"
                    " WHERE name = ?",
                    (projection.name,),
                )
        connection.execute("DELETE FROM dead_letter")
        self._places = None
        self._half_done = None
        self.position = 0
        return newest

    def _load_places(self, connection: sqlite3.Connection) -> dict[str, _Place]:
        if self._places is None:
            names = [*(projection.name for projection in self._projections), TALLY]
            connection.executemany(
                "INSERT INTO projection(name, position) VALUES(?, 0) ON CONFLICT(name) DO NOTHING",
                [(name,) for name in names],
            )
            stored = {
                name: (_Place(position, records), quiet_until)
                for name, position, records, quiet_until in connection.execute(
                    "SELECT name, position, records, quiet_until FROM projection"
                )
            }
            self._places = {name: stored[name][0] for name in names}
            self._quiet_until = max(stored[name][1] for name in names)
        return self._places

    def _project(
        self,
        connection: sqlite3.Connection,
        row: sqlite3.Row,
        places: dict[str, _Place],
        tallied: list[tally.Row],
        deadline: float,
    ) -> bool:
        """What comes of one batch; False where a part of it is left for the next step."""
        position = row["position"]
        waiting = [p for p in self._projections if places[p.name].position < position]
        wanted = [p for p in waiting if row["kind"] in p.kinds]
        opened: OpenBatch | None = None
        if wanted and row["body"]:  # an expired body is projected no more
            opened = self._opened(connection, row)
        if opened is not None:
            for projection in wanted:
                if not self._apply(connection, row, opened, projection, places[projection.name], deadline):
                    self._half_done = opened
                    return False
        self._half_done = None
        if places[TALLY].position < position:
            tallied.append(_tally(row, opened))
            places[TALLY].position = position
        for projection in waiting:
            places[projection.name].position = position
        return True

    def _opened(self, connection: sqlite3.Connection, row: sqlite3.Row) -> OpenBatch | None:
        """The batch; None where it cannot be opened, and is buried."""
        if self._half_done is not None and self._half_done.position == row["position"]:
            return self._half_done
        try:
            return self._open(connection, row)
        except sqlite3.OperationalError:
            raise  # the machine, not the batch
        except Exception as problem:
            self._bury(connection, row, problem)
            return None

    def _apply(
        self,
        connection: sqlite3.Connection,
        row: sqlite3.Row,
        batch: OpenBatch,
        projection: Projection,
        place: _Place,
        deadline: float,
    ) -> bool:
        """One batch, part by part until the deadline; whether it is done with.

        A part that fails buries the batch. What came of those before it stays: they may be committed.
        """
        count = batch.records.count
        while place.records < count:
            until = min(count, place.records + projection.part)
            connection.execute("SAVEPOINT part")
            before = len(self._events)
            try:
                self._events += projection.apply(connection, batch.part(place.records, until))
            except sqlite3.OperationalError:
                raise  # the machine, not the batch
            except Exception as problem:
                connection.execute("ROLLBACK TO part")
                del self._events[before:]
                projection.forget()
                self._bury(connection, row, problem)
                until = count
            connection.execute("RELEASE part")
            place.records = until
            if until < count and time.monotonic() >= deadline:
                return False
        place.records = 0
        return True

    def _open(self, connection: sqlite3.Connection, row: sqlite3.Row) -> OpenBatch:
        if row["codec"] != CODEC_MSGPACK_ZSTD:
            raise DecodeError(f"codec {row['codec']} is not known")
        records = open_body(Kind(row["kind"]), row["records"], row["raw_bytes"], row["body"])
        shift_ns, clock = correction(connection, row["agent"], row["position"], row["received_ns"], records)
        return OpenBatch(
            position=row["position"],
            agent=row["agent"],
            site=self._site(connection, row["agent"]),
            records=records,
            quiet=row["position"] <= self._quiet_until,
            shift_ns=shift_ns,
            clock=clock,
        )

    def _site(self, connection: sqlite3.Connection, agent: str) -> str:
        site = self._sites.get(agent)
        if site is None:
            row = connection.execute("SELECT site FROM agent WHERE id = ?", (agent,)).fetchone()
            site = self._sites[agent] = row[0] if row else ""
        return site

    def _bury(self, connection: sqlite3.Connection, row: sqlite3.Row, problem: Exception) -> None:
        """Into the dead letter table: kept raw, looked at by people."""
        self.dead_letters += 1
        text = str(problem) if isinstance(problem, DecodeError) else f"{problem.__class__.__name__}: {problem}"
        new = connection.execute(
            "INSERT OR IGNORE INTO dead_letter(position, problem, noticed_ns) VALUES(?, ?, ?)",
            (row["position"], text[:500], time.time_ns()),
        ).rowcount
        times = self._frequent.due(row["agent"], DEAD_LETTER)
        if not times:
            return
        log.warning("a batch cannot be projected", position=row["position"], agent=row["agent"], problem=text)
        if new and row["position"] > self._quiet_until:
            self._events.append(
                record(
                    connection,
                    DEAD_LETTER,
                    site=self._site(connection, row["agent"]),
                    agent=row["agent"],
                    subject=("agent", row["agent"], ""),
                    data={"position": row["position"], "problem": text[:500], **counted(times)},
                )
            )


def _tally(row: sqlite3.Row, opened: OpenBatch | None) -> tally.Row:
    """What the batch accounts for."""
    if opened is not None:
        frames = tally.frames_of(opened.records)
    else:
        frames = tally.frames_in(row["kind"], row["records"], row["codec"], row["raw_bytes"], row["body"])
    return tally.Row(row["agent"], row["epoch"], row["seq"], row["kind"], row["records"], frames)
