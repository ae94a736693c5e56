"""Parts of the audit log as files: checked without the log, and each harm to them found."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_collector import admin, audit
from fieldwatch_collector.audit.archive import ArchiveError, Part, check, lines_of
from fieldwatch_collector.services import Services
from support.collector import audit_large, offline
from support.stack import Collector

ZEROS = "0" * 64


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """A log of six rows."""
    with offline(tmp_path) as opened:
        for number in range(6):
            opened.store.transact_sync(
                lambda connection, number=number: audit.append(
                    connection, actor="user:chief", action="agent.tag", subject="zoë", data={"n": number}
                )
            )
        yield opened


def rows(services: Services, after: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = admin.run(services, "audit.list", {"after": after})
    return found


def test_a_part_is_checked_by_itself_and_joins_the_one_before(services: Services) -> None:
    """Its head is what the log says of that row; the next part tells it as what comes before."""
    every = rows(services)
    whole = check(lines_of(every))
    first = check(lines_of(every[:4]))
    second = check(lines_of(every[4:], 4, first.head))

    assert whole == Part(1, 6, ZEROS, admin.run(services, "audit.verify", {})["head"])
    assert (first.last, second.first, second.before, second.head) == (4, 5, first.head, whole.head)
    assert check(lines_of(every[4:], 4, first.head), first.head.upper()) == second
    assert admin.run(services, "audit.verify", {"head": first.head})["problem"] == ""
    assert check(lines_of([], 6, whole.head)) == Part(7, 6, whole.head, whole.head)


@pytest.mark.parametrize(
    ("harm", "problem"),
    [
        (lambda lines: [], "line 1: is not how an archive begins"),
        (lambda lines: lines[1:], "line 1: is not how an archive begins"),
        (lambda lines: [lines[0].replace("-1", "-9"), *lines[1:]], "line 1: is not how an archive begins"),
        (lambda lines: [lines[0].replace("0000", "abc"), *lines[1:]], "line 1: is not how an archive begins"),
        (lambda lines: [lines[0].replace("0000", "1111", 1), *lines[1:]], "line 2: row 1 is not what was written"),
        (lambda lines: [lines[0], *lines[2:]], "line 2: row 1 is missing"),
        (lambda lines: [*lines[:3], *lines[4:]], "line 4: row 3 is missing"),
        (lambda lines: [*lines[:3], lines[4], lines[3]], "line 4: row 3 is missing"),
        (lambda lines: [*lines[:4], lines[4][:40]], "line 5: is no row of an audit log; was the file cut off"),
        (lambda lines: [*lines[:4], "[]\n"], "line 5: is no row of an audit log"),
        (lambda lines: [line.replace("chief", "guest") for line in lines], "line 2: row 1 is not what was written"),
        (lambda lines: [*lines[:6], lines[6].replace('"n":5', '"n":NaN')], "line 7: row 6 is not what was written"),
    ],
)
def test_a_harmed_part_says_where(services: Services, harm: Any, problem: str) -> None:
    with pytest.raises(ArchiveError) as raised:
        check(harm(list(lines_of(rows(services)))))

    assert str(raised.value).startswith(problem)


def test_rows_cut_off_at_the_end_are_found_by_a_head(services: Services) -> None:
    """As with the log itself: the chain alone cannot tell."""
    head = rows(services)[-1]["hash"]

    with pytest.raises(ArchiveError, match="no row has the head"):
        check(list(lines_of(rows(services)))[:-1], head)


def test_the_commands(tmp_path: Path) -> None:
    """Beside a running server: a part, the next one, and each checked where no collector is."""
    collector = Collector(tmp_path / "data")
    place = ("--data", str(collector.data))
    audit_large(collector.data)
    first, second = tmp_path / "first.ndjson", tmp_path / "second.ndjson"
    collector.start()
    try:
        said = collector.call("audit", "export", str(first), *place)
        collector.call("token", "create", *place)
        rest = collector.call("audit", "export", str(second), "--after", "3", *place)
        head = collector.call("audit", "verify", *place).split()[0]
        refused = {}
        for name, words in {
            "there": ("export", str(first), *place),
            "no row": ("export", str(tmp_path / "x"), "--after", "9", *place),
            "negative": ("export", str(tmp_path / "x"), "--after", "-1", *place),
            "no folder": ("export", str(tmp_path / "none" / "x"), *place),
            "no file": ("verify", "--file", str(tmp_path / "x")),
        }.items():
            with pytest.raises(AssertionError) as raised:
                collector.call("audit", *words)
            refused[name] = str(raised.value)
        full = subprocess.run(
            [
                "sh",
                "-c",
                'ulimit -f 100; exec "$@"',
                "sh",
                *collector.command("audit", "export", str(tmp_path / "x"), *place),
            ],
            capture_output=True,
            text=True,
            env=collector.environ,
            timeout=60,
        )
    finally:
        collector.stop()
    checked = collector.call("audit", "verify", "--file", str(second), "--head", said.split()[0])
    first.write_text(first.read_text().replace("user:chief", "user:guest"))
    with pytest.raises(AssertionError, match=r"first.ndjson: line 2: row 1 is not what was written"):
        collector.call("audit", "verify", "--file", str(first))

    assert said.endswith("  rows 1 to 3\n")
    assert rest == f"{head}  rows 4 to 4\n" == checked
    assert stat.S_IMODE(second.stat().st_mode) == 0o600
    assert json.loads(second.read_text().splitlines()[0])["before"] == said.split()[0]
    assert "is there already, and an archive is not written over" in refused["there"]
    assert "there is no such row" in refused["no row"]
    assert "accepted is the number of a row" in refused["negative"]
    assert "cannot be written: No such file or directory" in refused["no folder"]
    assert "cannot be read: No such file or directory" in refused["no file"]
    assert (full.returncode, "x: cannot be written: File too large" in full.stderr) == (1, True)
    assert not (tmp_path / "x").exists()
