"""A batch of the log, opened: what every projection is given."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from fieldwatch_proto.records import ColumnData, Records, Texts
from fieldwatch_proto.schema import CLOCK_COLUMNS, COLUMNS, WIDTHS, ClockQuality

PART = 4_096  # records that a projection takes at a time: more than an agent seals in one batch
MAX_COUNT = 1 << 48  # a count above is not of this world
MAX_TIME_NS = (1 << 63) - 1
MAX_TOTAL = 1 << 62  # sums of counts end here: with one count more they are still inside SQLite's integers

_EMPTY = {"str": "", "mac": bytes(6), "ip": bytes(16), "f64": 0.0}


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """`site` is that of the agent; `quiet`: it was told of before (a rebuild), so no events come of it.

    `shift_ns` is added to every time, which then is as good as `clock` says; see `clocks`.
    """

    position: int
    agent: str
    site: str
    records: Records
    quiet: bool = False
    shift_ns: int = 0
    clock: ClockQuality = ClockQuality.UNKNOWN

    def part(self, start: int, stop: int) -> OpenBatch:
        """The records from `start` to before `stop`, or to the last one. Columns that the schema does not know stay
        behind."""
        records = self.records
        columns: dict[str, ColumnData] = {}
        for column in (*COLUMNS[records.kind], *CLOCK_COLUMNS):
            data = records.columns.get(column.name)
            if isinstance(data, Texts):
                columns[column.name] = Texts(data.values, data.indices[start:stop])
            elif data is not None:
                width = WIDTHS[column.type]
                columns[column.name] = data[start * width : stop * width]
        return replace(self, records=Records(records.kind, min(stop, records.count) - start, columns))

    def column(self, name: str) -> list[Any]:
        """Values of a column; empty ones where an older agent did not know it."""
        if name in self.records.columns:
            return self.records.values(name)
        kind = next(column.type for column in COLUMNS[self.records.kind] if column.name == name)
        return [_EMPTY.get(kind, 0)] * self.records.count

    def counts(self, name: str) -> list[int]:
        """A column of counts, bounded."""
        return [min(value, MAX_COUNT) for value in self.column(name)]

    def times(self, name: str) -> list[int]:
        """A column of times by our clock, none before the epoch or beyond 64 bits."""
        shift_ns = self.shift_ns
        if not shift_ns:
            return [max(value, 0) for value in self.column(name)]
        return [min(max(value + shift_ns, 0), MAX_TIME_NS) for value in self.column(name)]

    def addresses(self, name: str) -> list[bytes]:
        """A column of addresses as 4 or 16 octets, or none."""
        return trimmed(self.column("ip_version"), self.column(name))


def trimmed(versions: Iterable[int], values: Iterable[bytes]) -> list[bytes]:
    """See `schema.ip_octets`, for columns."""
    return [
        value[:4] if version == 4 else value if version == 6 else b""
        for version, value in zip(versions, values, strict=True)
    ]
