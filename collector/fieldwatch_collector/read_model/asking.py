"""What a question is made of: times, limits, orderings, cursors and conditions. A bad one raises BadRequest."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import ipaddress
import json
import re
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

DEFAULT_LIMIT = 100
MAX_LIMIT = 1_000
MAX_TEXT = 500  # characters of a search
MAX_CURSOR = 2_000

_AGO = re.compile(r"([0-9]{1,9})(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


class BadRequest(ValueError):  # noqa: N818 - the name of what the user did, as HTTP has it
    """A question that cannot be answered: one line with what was seen and what is accepted."""


class NotFound(LookupError):  # noqa: N818 - as HTTP has it
    """A site or a device that there is not: one line that names what there is."""


def when(text: str, now_ns: int, name: str = "since") -> int:
    """Nanoseconds of an RFC 3339 time, or of 90s, 30m, 1h, 2d before `now_ns`."""
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return max(0, now_ns - int(ago[1]) * _SECONDS[ago[2]] * 1_000_000_000)
    match = _RFC3339.fullmatch(text.strip())
    if match:
        zone = "+00:00" if match[4] in "Zz" else match[4]
        try:
            moment = dt.datetime.fromisoformat(f"{match[1]}T{match[2]}{zone}")
            past = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        except (ValueError, OverflowError):
            past = None
        if past is not None:
            seconds = past.days * 86_400 + past.seconds
            ns = seconds * 1_000_000_000 + int((match[3] or "0").ljust(9, "0"))
            if -(1 << 63) <= ns < 1 << 63:
                return ns
    raise BadRequest(f"{name}: {text!r:.60} is no time; give 90s, 30m, 1h, 2d or RFC 3339 such as 2026-01-31T12:00:00Z")


def limit_of(limit: int, default: int = DEFAULT_LIMIT) -> int:
    """Rows of a page; 0 = the default."""
    if not 0 <= limit <= MAX_LIMIT:
        raise BadRequest(f"limit: {limit} is outside 1 to {MAX_LIMIT}")
    return limit or default


def text_of(name: str, text: str) -> str:
    """A text from outside that may be bound: bounded, and valid Unicode."""
    if len(text) > MAX_TEXT:
        raise BadRequest(f"{name}: {len(text)} characters, the limit is {MAX_TEXT}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadRequest(f"{name}: the text is not valid Unicode") from None
    return text


def sum_of(expression: str) -> str:
    """SQL that adds up what agents say, 0 where there is nothing: exact up to 2^53, and never an error. SQLite's sum()
    fails beyond 63 bits, and one agent that declares nonsense would close the list of all.
    """
    return f"CAST(total({expression}) AS INTEGER)"


def ip_of(text: str, name: str = "ip") -> bytes:
    """The octets of an address."""
    try:
        return ipaddress.ip_address(text.strip()).packed
    except ValueError:
        raise BadRequest(f"{name}: {text!r:.60} is no IP address") from None


@dataclass
class Where:
    """Conditions joined by AND, and the values that are bound to them."""

    conditions: list[str] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)

    def add(self, condition: str, *values: Any) -> None:
        self.conditions.append(condition)
        self.values.extend(values)

    def copy(self) -> Where:
        return Where(list(self.conditions), list(self.values))

    @property
    def text(self) -> str:
        return "WHERE " + " AND ".join(f"({c})" for c in self.conditions) if self.conditions else ""


@dataclass(frozen=True)
class Ordering:
    """Keyset order: an SQL expression, the id that breaks ties, and the direction of both."""

    name: str
    expression: str
    descending: bool

    @classmethod
    def parse(cls, text: str, default: str, expressions: Mapping[str, str | tuple[str, str]]) -> Ordering:
        """`text` is a name, "-" in front = descending. A pair of expressions is (ascending, descending)."""
        wanted = text or default
        name = wanted.removeprefix("-")
        if name not in expressions:
            raise BadRequest(f"ordering: {wanted!r:.60} is none of {', '.join(expressions)} (- in front = descending)")
        descending = wanted.startswith("-")
        found = expressions[name]
        return cls(wanted, found if isinstance(found, str) else found[descending], descending)

    def clause(self, tie: str) -> str:
        direction = "DESC" if self.descending else "ASC"
        return f"ORDER BY {self.expression} {direction}, {tie} {direction}"

    def after(self, cursor: str, tie: str, where: Where) -> None:
        """Only rows beyond the last one of the page before; it need not exist any more."""
        if not cursor:
            return
        value, last = _open_cursor(cursor, self.name)
        where.add(f"({self.expression}, {tie}) {'<' if self.descending else '>'} (?, ?)", value, last)


def page(
    connection: sqlite3.Connection,
    query: str,
    values: list[Any],
    ordering: Ordering,
    limit: int,
    convert: Callable[[sqlite3.Row], dict[str, Any]],
) -> tuple[list[dict[str, Any]], str]:
    """(rows, cursor of the next page). `query` ends before LIMIT and gives the columns cursor_value and cursor_id."""
    rows = connection.execute(f"{query} LIMIT ?", [*values, limit + 1]).fetchall()
    following = ""
    if len(rows) > limit:
        rows.pop()
        following = _cursor(ordering.name, rows[-1]["cursor_value"], rows[-1]["cursor_id"])
    return [convert(row) for row in rows], following


def _cursor(name: str, value: Any, last: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps([name, value, last]).encode()).rstrip(b"=").decode("ascii")


def _open_cursor(text: str, name: str) -> tuple[Any, Any]:
    try:
        if len(text) > MAX_CURSOR:
            raise ValueError
        parts = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
        ordering, value, last = parts
        if not all(type(part) in (str, int) for part in parts):
            raise ValueError
        for part in parts:
            if isinstance(part, int) and not -(1 << 63) <= part < 1 << 63:
                raise ValueError
            str(part).encode()
    except (binascii.Error, ValueError, TypeError):
        raise BadRequest("cursor: not one that this collector gave; start again without it") from None
    if ordering != name:
        raise BadRequest(f"cursor: it belongs to the ordering {ordering!r:.40}; start again without it")
    return value, last
