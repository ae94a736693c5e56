"""Records of one kind as columns in memory: fixed-width octets as the kernel writes them, texts by index."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fieldwatch_proto.schema import CLOCK_COLUMNS, COLUMNS, WIDTHS, Kind

_CODES = {"u8": "B", "u16": "H", "u32": "I", "u64": "Q", "i64": "q", "f64": "d"}

if sys.byteorder != "little":  # pragma: no cover
    raise ImportError("fieldwatch_proto.records needs a little-endian machine")


@dataclass(frozen=True)
class Texts:
    """A ``str`` column in its own form: the distinct texts and one index (u32) per row."""

    values: Sequence[str]
    indices: array[int]

    def __len__(self) -> int:
        return len(self.indices)

    def rows(self) -> list[str]:
        values = self.values
        return [values[i] for i in self.indices]

    @classmethod
    def of(cls, rows: Sequence[str]) -> Texts:
        places: dict[str, int] = {}
        indices = array("I", [places.setdefault(row, len(places)) for row in rows])
        return cls(list(places), indices)

    def used(self) -> Texts:
        """Without the texts that no row has: a part of many records still holds those of all."""
        wanted = set(self.indices)
        if len(wanted) == len(self.values):
            return self
        places = {place: new for new, place in enumerate(sorted(wanted))}
        return Texts([self.values[place] for place in places], array("I", [places[i] for i in self.indices]))

    @classmethod
    def repeat(cls, text: str, records: int) -> Texts:
        return cls([text], array("I", bytes(4 * records)))


# A column in memory: fixed-width octets (as the kernel writes them), or Texts.
ColumnData = bytes | Texts


@dataclass(frozen=True)
class Records:
    """Columns of one kind, all with the same number of rows. Unknown columns ride along by name."""

    kind: Kind
    count: int
    columns: Mapping[str, ColumnData]

    def values(self, name: str) -> list[Any]:
        """One column as Python values (int, float, bytes, str)."""
        data = self.columns[name]
        return data.rows() if isinstance(data, Texts) else column_values(_type_of(self.kind, name), data)

    def rows(self) -> list[dict[str, Any]]:
        """Every record as a dict: for tests, tools and small batches."""
        names = [column.name for column in COLUMNS[self.kind] if column.name in self.columns]
        return [dict(zip(names, row, strict=True)) for row in zip(*(self.values(n) for n in names), strict=True)]


def records_of(kind: Kind, rows: Sequence[Mapping[str, Any]]) -> Records:
    """Columns from dicts; every column of the kind must be there."""
    columns: dict[str, ColumnData] = {}
    for column in COLUMNS[kind]:
        values = [row[column.name] for row in rows]
        if column.type == "str":
            columns[column.name] = Texts.of(values)
        elif column.type in _CODES:
            columns[column.name] = array(_CODES[column.type], values).tobytes()
        else:
            columns[column.name] = b"".join(values)
    return Records(kind, len(rows), columns)


def concat(parts: Sequence[Records]) -> Records:
    """Several Records of one kind and the same columns as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    columns: dict[str, ColumnData] = {}
    for name, data in first.columns.items():
        if isinstance(data, Texts):
            places: dict[str, int] = {}
            indices = array("I")
            for part in parts:
                texts = part.columns[name]
                assert isinstance(texts, Texts)
                moved = [places.setdefault(value, len(places)) for value in texts.values]
                indices.extend([moved[i] for i in texts.indices])
            columns[name] = Texts(list(places), indices)
        else:
            columns[name] = b"".join(part.columns[name] for part in parts)  # type: ignore[misc]
    return Records(first.kind, sum(part.count for part in parts), columns)


def column_values(type_: str, data: ColumnData) -> list[Any]:
    """A column as Python values (int, float, bytes, str)."""
    if isinstance(data, Texts):
        return data.rows()
    if type_ in _CODES:
        return array(_CODES[type_], data).tolist()
    width = WIDTHS[type_]
    return [data[i : i + width] for i in range(0, len(data), width)]


def _type_of(kind: Kind, name: str) -> str:
    return next(column.type for column in (*COLUMNS[kind], *CLOCK_COLUMNS) if column.name == name)


def time_columns(kind: Kind) -> list[str]:
    """The names of the columns of a kind that hold times: the first one or two of them."""
    return [column.name for column in COLUMNS[kind] if column.name.endswith("_ns")]
