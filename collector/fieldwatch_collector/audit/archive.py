"""A part of the audit log as a file that can be checked by itself, anywhere, years later.

The first line says what comes before the part: ``{"archive": "fieldwatch-audit-1", "after": ROW, "before": HASH}``, row
0 and zeros for a part that begins with the first row. Then each row is a line: the keys of `log.FIELDS`, its time as
text, and its hash. The part after row N begins where a part that ends with row N has ended: the head of the one is
`before` of the other. The log itself keeps its rows.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fieldwatch_collector.audit.log import FIELDS, START, Chain, no_such_head

FORMAT = "fieldwatch-audit-1"


class ArchiveError(ValueError):
    """No archive, or not a whole one: one line."""


@dataclass(frozen=True)
class Part:
    """The rows first..last of a log (none: last < first), the hash before them and that of the last, hex."""

    first: int
    last: int
    before: str
    head: str


def lines_of(rows: Iterable[Mapping[str, Any]], after: int = 0, before: str = START.hex()) -> Iterator[str]:
    """The lines of a part, each with its end. Rows have their hash in hex, as `audit.list` gives them."""
    yield _line({"archive": FORMAT, "after": after, "before": before})
    for row in rows:
        yield _line(row)


def check(lines: Iterable[str], head: str = "") -> Part:
    """Follow the chain of a part. `head`: a hash that must be of one of its rows, or right before them, hex.

    Raises ArchiveError.
    """
    numbered = enumerate(lines, start=1)
    _, first_line = next(numbered, (0, ""))
    after, before = _beginning(first_line)
    chain = Chain(after, bytes.fromhex(before))
    seen = not head or head.lower() == before
    for number, line in numbered:
        if problem := chain.add(_row(number, line)):
            raise ArchiveError(f"line {number}: {problem}")
        seen = seen or chain.head == head.lower()
    if not seen:
        raise ArchiveError(no_such_head(head))
    return Part(after + 1, chain.seq, before, chain.head)


def _line(content: Mapping[str, Any]) -> str:
    return json.dumps(content, separators=(",", ":")) + "\n"


def _beginning(line: str) -> tuple[int, str]:
    try:
        found = json.loads(line)
        after, before = found["after"], found["before"]
        if found["archive"] == FORMAT and isinstance(after, int) and after >= 0 and len(bytes.fromhex(before)) == 32:
            return after, str(before).lower()
    except (ValueError, KeyError, TypeError):
        pass
    raise ArchiveError("line 1: is not how an archive begins; make one with: fieldwatch-collector audit export FILE")


def _row(number: int, line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
        return {**{name: found[name] for name in FIELDS}, "hash": bytes.fromhex(found["hash"])}
    except (ValueError, KeyError, TypeError):
        raise ArchiveError(f"line {number}: is no row of an audit log; was the file cut off or edited?") from None
