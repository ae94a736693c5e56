"""Operations on the audit log; see `admin`."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from fieldwatch_proto.schema import time_text

from fieldwatch_collector.admin import AdminError, ArgumentError, operation
from fieldwatch_collector.audit.log import stored, verify

if TYPE_CHECKING:
    from fieldwatch_collector.services import Services

PAGE_BYTES = 1 << 20  # of a reply, about
_HASH = re.compile(r"[0-9A-Fa-f]{64}")


@operation("audit.verify")
def verify_log(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """`log.Checked` as an object. Argument: head, a hash from an earlier check, or empty."""
    head = str(arguments.get("head") or "")
    if head and not _HASH.fullmatch(head):
        raise ArgumentError(f"--head {head!r:.80}: accepted are the 64 hex digits that audit verify printed")
    try:
        with services.store.reader() as connection:
            connection.execute("BEGIN")
            return asdict(verify(connection, head))
    except sqlite3.Error as problem:
        raise AdminError(f"the audit log cannot be read: {problem}; see: fieldwatch-collector fsck") from None


@operation("audit.list")
def list_log(services: Services, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Some rows after the number `after`; none = the end. Arguments: after, since_ns.

    What was tampered with is shown as far as it can be: `audit.verify` is the one that judges.
    """
    after, since_ns = int(arguments.get("after", 0)), int(arguments.get("since_ns", 0))
    page: list[dict[str, Any]] = []
    octets = 0
    with services.store.reader() as connection:
        for row in stored(connection, after=after, since_ns=since_ns):
            page.append(_shown(row))
            octets += len(json.dumps(page[-1]))
            if octets > PAGE_BYTES:
                break
    return page


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON can say it: octets in a column of text in hex; no hash and no time where the columns hold none."""
    values = {name: value.hex() if isinstance(value, bytes) else value for name, value in row.items()}
    try:
        moment = time_text(row["ts_ns"])
    except (TypeError, ValueError, OverflowError):
        moment = ""
    return {**values, "ts": moment, "hash": values["hash"] or ""}
