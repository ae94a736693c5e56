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
    """Some rows after the number `after`; none = the end. Arguments: after, since_ns."""
    after, since_ns = int(arguments.get("after", 0)), int(arguments.get("since_ns", 0))
    page: list[dict[str, Any]] = []
    octets = 0
    with services.store.reader() as connection:
        for row in stored(connection, after=after, since_ns=since_ns):
            page.append({**row, "ts": time_text(row["ts_ns"]), "hash": row["hash"].hex()})
            octets += len(json.dumps(page[-1]))
            if octets > PAGE_BYTES:
                break
    return page
