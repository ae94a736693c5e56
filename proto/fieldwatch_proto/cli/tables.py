"""What commands print: tables for people, csv, json and ndjson for programs, numbers that people can read.

    COLUMNS = [Column("name"), Column("bytes", align="right", show=bytes_text)]
    add_output(parser)                                   # -o table|json|csv|ndjson
    write(rows, COLUMNS, args.output)                    # rows: mappings, may be a generator

A table shows the columns given; json and ndjson give every key of a row as it is; csv gives the columns, raw.
Texts of strangers cannot drive a terminal (what is not printable is escaped) nor a spreadsheet (no cell is a formula).
"""

from __future__ import annotations

import argparse
import csv
import datetime as dt
import json
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TextIO

from fieldwatch_proto.logs import printable

OUTPUTS = ("table", "json", "csv", "ndjson")
MIN_COLUMN = 8  # cells are not cut below this
_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how a cell begins that a spreadsheet would run

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)
_ASCII_ENCODER = json.JSONEncoder(ensure_ascii=True, separators=(",", ":"), default=str)


def plain(value: Any) -> str:
    """A cell: lists joined by spaces, nothing for None, yes and no."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set | frozenset):
        return " ".join(plain(item) for item in value)
    return str(value)


def no_formula(text: str) -> str:
    """The text for a cell of csv: it may be a stranger's, and a spreadsheet must not run it."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def csv_cell(value: Any) -> str:
    """`plain`, with texts that are no formulas; a number may begin with its sign."""
    return plain(value) if isinstance(value, int | float) else no_formula(plain(value))


@dataclass(frozen=True)
class Column:
    """One column: the row's key, its heading, and how a person sees the value. `spare`: left out of a table, the last
    one first, where the terminal has no room for the whole.
    """

    key: str
    title: str = ""
    align: Literal["left", "right"] = "left"
    show: Callable[[Any], str] = plain
    spare: bool = False

    @property
    def heading(self) -> str:
        return self.title or self.key.replace("_", " ").upper()


def add_output(parser: argparse.ArgumentParser, default: str = "table") -> None:
    """The ``-o`` argument, as ``args.output``."""
    parser.add_argument(
        "-o", "--output", choices=OUTPUTS, default=default, help=f"form of the output (default: {default})"
    )


def write(
    rows: Iterable[Mapping[str, Any]],
    columns: Sequence[Column],
    output: str = "table",
    *,
    stream: TextIO | None = None,
    empty: str = "nothing to show",
) -> None:
    """Print the rows. csv and ndjson are written as they come; `empty` stands in for a table without rows."""
    out = sys.stdout if stream is None else stream
    if output == "ndjson":
        for row in rows:
            out.write(json_line(row))
    elif output == "json":
        json.dump([dict(row) for row in rows], out, ensure_ascii=False, indent=2, default=str)
        out.write("\n")
    elif output == "csv":
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow([column.key for column in columns])
        for row in rows:
            writer.writerow([csv_cell(row.get(column.key)) for column in columns])
    else:
        write_table([[column.show(row.get(column.key)) for column in columns] for row in rows], columns, out, empty)


def json_line(row: Mapping[str, Any]) -> str:
    """One object on one line, keys in the row's order. What is not printable (also beyond ASCII) is escaped."""
    text = _ENCODER.encode(row)
    return f"{text if text.isprintable() else _ASCII_ENCODER.encode(row)}\n"


def write_table(cells: Sequence[Sequence[str]], columns: Sequence[Column], out: TextIO, empty: str) -> None:
    if not cells:
        out.write(f"{empty}\n")
        return
    shown = [[printable(cell) for cell in row] for row in cells]
    widths = [
        max(width_of(column.heading), *(width_of(row[place]) for row in shown)) for place, column in enumerate(columns)
    ]
    left_out = 0
    if out.isatty():
        room = shutil.get_terminal_size().columns
        kept = places(widths, columns, room)
        left_out = len(columns) - len(kept)
        columns, widths = [columns[place] for place in kept], [widths[place] for place in kept]
        shown = [[row[place] for place in kept] for row in shown]
        fit(widths, room)
    bold = ("\x1b[1m", "\x1b[0m") if out.isatty() else ("", "")
    heading = _line([column.heading for column in columns], widths, columns)
    out.write(f"{bold[0]}{heading}{bold[1]}\n")
    for row in shown:
        out.write(_line(row, widths, columns) + "\n")
    if left_out:
        out.write(f"({amount_text(left_out, 'more column')}: a wider terminal, or -o json)\n")


def places(widths: Sequence[int], columns: Sequence[Column], room: int) -> list[int]:
    """Which columns to show, that a line of them fits in `room`; where spare ones are too few, the rest is cut."""
    kept = list(range(len(columns)))
    for place in reversed(range(len(columns))):
        if sum(widths[one] + 2 for one in kept) - 2 <= room:
            break
        if columns[place].spare:
            kept.remove(place)
    return kept


def fit(widths: list[int], room: int) -> None:
    """Make the widest columns narrower until a line of `widths`, two blanks between, fits in `room`."""
    while sum(widths) + 2 * (len(widths) - 1) > room:
        widest = max(range(len(widths)), key=widths.__getitem__)
        if widths[widest] <= MIN_COLUMN:
            return
        widths[widest] -= 1


def _line(row: Sequence[str], widths: Sequence[int], columns: Sequence[Column]) -> str:
    parts = []
    for cell, width, column in zip(row, widths, columns, strict=True):
        text = cut(cell, width)
        blanks = " " * (width - width_of(text))
        parts.append(blanks + text if column.align == "right" else text + blanks)
    return "  ".join(parts).rstrip()


def width_of(text: str) -> int:
    """Columns that a terminal needs: wide East Asian characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def cut(text: str, width: int) -> str:
    """The text in at most `width` columns; what was cut shows as one "…"."""
    if width_of(text) <= width:
        return text
    kept, used = [], 0
    for char in text:
        used += width_of(char)
        if used > width - 1:
            break
        kept.append(char)
    return "".join(kept) + "…"


def count_text(value: float) -> str:
    """1234567 -> "1,234,567"."""
    return f"{value:,}"


def amount_text(value: int, one: str, many: str = "") -> str:
    """A number with its noun: "1 row", "2 rows", "3 batches"."""
    return f"{count_text(value)} {one if value == 1 else many or one + 's'}"


def bytes_text(value: float) -> str:
    """Decimal units, three digits: 1234567 -> "1.23 MB"."""
    amount, unit = float(value), "B"
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if abs(amount) < 999.5 or unit == "PB":
            break
        amount /= 1000
    return f"{int(amount)} B" if unit == "B" else f"{amount:.3g} {unit}" if amount < 100 else f"{amount:.0f} {unit}"


def duration_text(seconds: float) -> str:
    """The two largest units: 93784 -> "1 d 2 h", 0.25 -> "250 ms"."""
    if 0 < abs(seconds) < 1:
        return f"{seconds * 1000:.3g} ms"
    if abs(seconds) < 60:
        return f"{seconds:.3g} s"
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        amount, rest = divmod(rest, size)
        if amount or parts:
            parts.append(f"{amount} {unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0 "))


def ago_text(ns: int, now_ns: int) -> str:
    """ "12 s ago"; a time to come is "now"."""
    return f"{duration_text((now_ns - ns) // 1_000_000_000)} ago" if now_ns - ns >= 1_000_000_000 else "now"


def moment_text(text: str) -> str:
    """An RFC 3339 time (UTC) to the second, as tables have it; empty stays empty."""
    return text[:19].replace("T", " ")


def clock_text(ns: int) -> str:
    """Date and time to the second, UTC: what a table shows of a `*_ns` value; 0 is nothing."""
    if not ns:
        return ""
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=ns // 1_000_000_000)
    return f"{moment:%Y-%m-%d %H:%M:%S}"
