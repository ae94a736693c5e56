"""The clocks of agents: what they ought to say, and by how much the times that they made are moved.

An agent's Hello tells its boot and its CLOCK_BOOTTIME, which nobody sets. Our wall clock less that is the *true anchor*
of the boot; each batch tells the anchor that its times were made with (`schema.CLOCK_COLUMNS`), and the difference is
how wrong that clock was. A Hello that was long on its way makes an anchor too large, never too small: within an hour
the smallest counts. Between measurements an agent's oscillator drifts (50 ppm are 4 s a day), so a boot is measured
again.

=====================  ============================================  ==================================================
the agent's clock      measured                                      its times
=====================  ============================================  ==================================================
UNSYNCED, UNKNOWN      within `TRUSTED_NS`                           stay; AGREES
UNSYNCED, UNKNOWN      beyond                                        are moved; CORRECTED
NTP                    within `TRUSTED_NTP_NS`                       stay; NTP (it may be better than ours)
NTP                    beyond                                        are moved; CORRECTED
any                    no Hello of that boot was ever heard          stay; as the agent says. The newest of an UNSYNCED
                                                                     batch is never later than its receipt: it is moved
                                                                     back as a whole.
=====================  ============================================  ==================================================

Every projection gets its batch corrected: the times in flow, sighting, claim, device, event and metric are by our
clock. A gap tells no anchor; its one time is taken by the wall clock of the Hello before it (`WallClock`), and the
oldest record that a heartbeat says is waiting by the offset in that heartbeat.
"""

from __future__ import annotations

import sqlite3
from typing import Any, NamedTuple

from fieldwatch_proto.records import Records, column_values, time_columns
from fieldwatch_proto.schema import CLOCK_COLUMNS, WIDTHS, ClockQuality, Column
from fieldwatch_proto.v1 import agent_pb2 as pb

TRUSTED_NS = 1_000_000_000
TRUSTED_NTP_NS = 60_000_000_000
SAME_NS = 500_000_000  # measurements that differ by less are one
DELAY_NS = 60_000_000_000  # a Hello is never so long on its way: our own clock was set
FRESH_NS = 3_600_000_000_000
MAX_MEASUREMENTS = 1_024  # of one agent
FIRST_SCHEMA = 2  # agents before it gave CLOCK_MONOTONIC
_MAX_NS = 1 << 62


class Measurement(NamedTuple):
    """The true anchor of a boot, taken at `at_ns` by our clock."""

    boot: int
    anchor_ns: int
    at_ns: int


class Correction(NamedTuple):
    """What is added to every time of a batch, and what the times are then."""

    shift_ns: int
    quality: ClockQuality


class WallClock(NamedTuple):
    """An agent's wall clock at its Hello, for what tells no anchor of its own."""

    shift_ns: int  # our clock less it
    said: ClockQuality  # see `claimed`
    boot_ns: int  # when its machine was booted, by it

    def taken(self, moment_ns: int, received_ns: int) -> tuple[int, ClockQuality]:
        """A moment that this agent told, by our clock and never later than its receipt, and how good that is.

        One of before the boot was made by a clock that nobody compared with ours: it stays.
        """
        if moment_ns < self.boot_ns:
            nobody_kept = self.said is ClockQuality.UNSYNCED
            return min(moment_ns, received_ns), self.said if nobody_kept else ClockQuality.UNKNOWN
        shift_ns, quality = judged(self.said, self.shift_ns)
        return min(max(moment_ns + shift_ns, 0), received_ns), quality


def signed(boot: int) -> int:
    """A u64 as SQLite keeps it."""
    return boot - (1 << 64) if boot >= 1 << 63 else boot


def measured(hello: pb.Hello, at_ns: int) -> Measurement | None:
    """What a Hello that came at `at_ns` tells of its agent's clock; None where it does not."""
    if hello.schema < FIRST_SCHEMA or len(hello.boot_id) < 8 or not 0 < hello.monotonic_ns < _MAX_NS:
        return None
    return Measurement(int.from_bytes(hello.boot_id[:8], "little", signed=True), at_ns - hello.monotonic_ns, at_ns)


def is_news(connection: sqlite3.Connection, agent: str, taken: Measurement) -> bool:
    """Whether it tells more than what is known of the boot."""
    known = connection.execute(
        "SELECT anchor_ns, measured_ns FROM agent_clock WHERE agent = ? AND boot = ? ORDER BY position DESC LIMIT 1",
        (agent, taken.boot),
    ).fetchone()
    if known is None:
        return True
    later_ns, age_ns = taken.anchor_ns - known[0], taken.at_ns - known[1]
    delayed = 0 < later_ns < DELAY_NS and 0 <= age_ns < FRESH_NS
    return abs(later_ns) >= SAME_NS and not delayed


def remember(connection: sqlite3.Connection, agent: str, taken: Measurement) -> None:
    """Keep a measurement for the batches that come from now on. In a transaction of the writer."""
    connection.execute(
        "INSERT OR REPLACE INTO agent_clock(agent, boot, position, anchor_ns, measured_ns)"
        " SELECT ?, ?, coalesce(max(position), 0), ?, ? FROM batch",
        (agent, *taken),
    )
    connection.execute(
        "DELETE FROM agent_clock WHERE agent = ?1 AND (boot, position) IN (SELECT boot, position FROM agent_clock"
        " WHERE agent = ?1 ORDER BY measured_ns DESC, position DESC LIMIT -1 OFFSET ?2)",
        (agent, MAX_MEASUREMENTS),
    )


def wall_clock(connection: sqlite3.Connection, agent: str, hello: pb.Hello, at_ns: int) -> WallClock | None:
    """What a Hello that came at `at_ns` and could be measured tells of the wall clock; None where it tells nothing."""
    if not 0 < hello.wall_ns < _MAX_NS:
        return None
    status = connection.execute("SELECT json_extract(status, '$.clock_quality') FROM agent WHERE id = ?", (agent,))
    (said,) = status.fetchone() or (None,)
    return WallClock(at_ns - hello.wall_ns, claimed(said), hello.wall_ns - hello.monotonic_ns)


def claimed(said: Any) -> ClockQuality:
    """What an agent may call its own clock: UNSYNCED or NTP; UNKNOWN for anything else."""
    return ClockQuality(said) if said in (ClockQuality.UNSYNCED, ClockQuality.NTP) else ClockQuality.UNKNOWN


def judged(said: ClockQuality, shift_ns: int) -> Correction:
    """How times are taken of a clock that is `claimed` to be `said`, and is wrong by `shift_ns`."""
    if abs(shift_ns) > (TRUSTED_NTP_NS if said is ClockQuality.NTP else TRUSTED_NS):
        return Correction(shift_ns, ClockQuality.CORRECTED)
    return Correction(0, said if said is ClockQuality.NTP else ClockQuality.AGREES)


def correction(
    connection: sqlite3.Connection, agent: str, position: int, received_ns: int, records: Records
) -> Correction:
    """How the times of a batch are to be taken."""
    if any(column.name not in records.columns for column in CLOCK_COLUMNS):
        return Correction(0, ClockQuality.UNKNOWN)
    anchor_ns, boot, said = (_first(records, column) for column in CLOCK_COLUMNS)
    quality = claimed(said)
    known = connection.execute(
        "SELECT anchor_ns FROM agent_clock WHERE agent = ? AND boot = ? AND position < ?"
        " ORDER BY position DESC LIMIT 1",
        (agent, signed(boot), position),
    ).fetchone()
    if known is None:
        return Correction(_from_the_future(records, received_ns) if quality is ClockQuality.UNSYNCED else 0, quality)
    return judged(quality, known[0] - anchor_ns)


def _first(records: Records, column: Column) -> int:
    """Of a column that is the same in each row."""
    data = records.columns[column.name]
    assert isinstance(data, bytes)
    return int(column_values(column.type, data[: WIDTHS[column.type]])[0])


def _from_the_future(records: Records, received_ns: int) -> int:
    """What brings the newest time back to the receipt; 0 where it was before it."""
    newest_ns = max(max(records.values(name)) for name in time_columns(records.kind))
    return int(min(0, received_ns - newest_ns))
