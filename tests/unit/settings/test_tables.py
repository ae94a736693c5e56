"""What commands print: alignment, truncation, machine forms, numbers for people."""

from __future__ import annotations

import csv
import io
import json

import pytest
from fieldwatch_proto.cli.tables import (
    Column,
    ago_text,
    amount_text,
    bytes_text,
    clock_text,
    cut,
    duration_text,
    fit,
    plain,
    width_of,
    write,
)
from hypothesis import given
from hypothesis import strategies as st

COLUMNS = (Column("name"), Column("bytes", align="right", show=bytes_text), Column("vlan"))
ROWS = [
    {"name": "nas", "bytes": 1_234_567, "vlan": [10, 20], "extra": None},
    {"name": "打印机", "bytes": 12, "vlan": [], "extra": True},
]


def written(output: str, rows: list[dict[str, object]] | None = None) -> str:
    stream = io.StringIO()
    write(ROWS if rows is None else rows, COLUMNS, output, stream=stream)
    return stream.getvalue()


def test_table() -> None:
    """Columns line up, wide characters count as two, numbers stand to the right, no blanks at line ends."""
    assert written("table") == (
        "NAME      BYTES  VLAN\n"
        "nas     1.23 MB  10 20\n"
        "打印机     12 B\n"
    )  # fmt: skip


def test_machine_forms() -> None:
    """json and ndjson have every key, csv the columns, all with raw values."""
    assert json.loads(written("json")) == ROWS
    assert [json.loads(line) for line in written("ndjson").splitlines()] == ROWS
    assert written("csv") == "name,bytes,vlan\nnas,1234567,10 20\n打印机,12,\n"


def test_a_strangers_text_is_no_formula() -> None:
    """A spreadsheet must not run a name; numbers keep their sign."""
    names = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "nas"]
    rows: list[dict[str, object]] = [{"name": name, "bytes": -1, "vlan": ["-2", "3"]} for name in names]

    cells = list(csv.reader(io.StringIO(written("csv", rows))))[1:]

    assert cells == [[f"'{name}" if name != "nas" else name, "-1", "'-2 3"] for name in names]


def test_empty() -> None:
    """A table without rows says so; machine forms are empty of their kind."""
    assert [written(output, []) for output in ("table", "json", "ndjson", "csv")] == [
        "nothing to show\n",
        "[]\n",
        "",
        "name,bytes,vlan\n",
    ]


def test_a_strangers_text_cannot_drive_the_terminal() -> None:
    """Control and format characters show as escapes."""
    text = written("table", [{"name": "a\x1b[31m\nb\u202e", "bytes": 0, "vlan": []}])

    assert text.splitlines()[1].startswith("a\\x1b[31m\\x0ab\\u202e")


def test_fit_takes_from_the_widest() -> None:
    """Narrow columns keep their width as long as a wide one can give."""
    widths = [40, 10, 30]
    fit(widths, 60)

    assert widths == [23, 10, 23]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("columns", "heading", "more"), [(40, "NAME  STATE  SITE", 0), (15, "NAME  STATE", 1)])
def test_spare_columns_go_before_anything_is_cut(
    monkeypatch: pytest.MonkeyPatch, columns: int, heading: str, more: int
) -> None:
    """On a terminal alone, and it says how many there are more; what is piped to a program stays whole."""
    monkeypatch.setenv("COLUMNS", str(columns))
    table = (Column("name"), Column("state"), Column("site", spare=True))
    rows = [{"name": "pi", "state": "online", "site": "hq"}]
    screen, pipe = Terminal(), io.StringIO()

    write(rows, table, stream=screen)
    write(rows, table, stream=pipe)

    first, _, *rest = screen.getvalue().splitlines()
    assert first.replace("\x1b[1m", "").replace("\x1b[0m", "").split() == heading.split()
    assert rest == ["(1 more column: a wider terminal, or -o json)"] * more
    assert pipe.getvalue().split() == ["NAME", "STATE", "SITE", "pi", "online", "hq"]


@given(st.text(max_size=40), st.integers(1, 40))
def test_cut_never_exceeds(text: str, width: int) -> None:
    """A cut text needs at most the width given, and is untouched where it fits."""
    assert width_of(cut(text, width)) <= width
    assert width_of(text) > width or text == cut(text, width)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 B"), (999, "999 B"), (1_000, "1 kB"), (12_345, "12.3 kB"), (999_600, "1 MB"), (2.5e9, "2.5 GB")],
)
def test_bytes_text(value: float, text: str) -> None:
    """Decimal units, three digits."""
    assert text == bytes_text(value)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (0.25, "250 ms"), (9.44, "9.44 s"), (61, "1 min 1 s"), (3_600, "1 h"), (93_784, "1 d 2 h")],
)
def test_duration_text(seconds: float, text: str) -> None:
    """The two largest units."""
    assert text == duration_text(seconds)


def test_times() -> None:
    """Times to the second in UTC; zero is nothing; the future is now."""
    assert clock_text(1_700_000_000_123_456_789) == "2023-11-14 22:13:20"
    assert clock_text(0) == ""
    assert [ago_text(0, 12_000_000_000), ago_text(5, 0)] == ["12 s ago", "now"]


def test_amounts() -> None:
    """One is one."""
    assert amount_text(1, "row") == "1 row"
    assert [amount_text(number, "batch", "batches") for number in (0, 1, 1_234)] == [
        "0 batches",
        "1 batch",
        "1,234 batches",
    ]


def test_plain_cells() -> None:
    """Nothing, truth, lists."""
    assert [plain(None), plain(True), plain(False), plain([1, 2])] == ["", "yes", "no", "1 2"]
