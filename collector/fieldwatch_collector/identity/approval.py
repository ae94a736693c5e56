"""Devices that wait until a person lets them in. Every function works inside a transaction of its caller."""

from __future__ import annotations

import sqlite3
import time
from typing import Any

from fieldwatch_collector import audit
from fieldwatch_collector.identity.agents import RefusedError
from fieldwatch_collector.journal import record

WAITING, APPROVED, REJECTED = "waiting", "approved", "rejected"
TURNED_AWAY = "a person rejected this enrolment; ask for another join token"
ID_BYTES = 8  # of the key's digest
MAX_WAITING = 1_000
KEPT_NS = 7 * 86_400 * 1_000_000_000  # since the device asked first; then it needs another token


def find(connection: sqlite3.Connection, digest: bytes) -> sqlite3.Row | None:
    """The request of a key, whatever was decided on it."""
    found: sqlite3.Row | None = connection.execute(
        "SELECT * FROM pending_enrolment WHERE key_digest = ?", (digest,)
    ).fetchone()
    return found


def wait(
    connection: sqlite3.Connection, digest: bytes, token: sqlite3.Row, hostname: str, address: str
) -> tuple[str, list[dict[str, Any]]]:
    """(id, events) of a request that waits, entered where it is new. Raises RefusedError."""
    asked = find(connection, digest)
    if asked is not None:
        return asked["id"], []
    now = time.time_ns()
    connection.execute("DELETE FROM pending_enrolment WHERE asked_ns < ?", (now - KEPT_NS,))
    if connection.execute("SELECT count(*) FROM pending_enrolment").fetchone()[0] >= MAX_WAITING:
        raise RefusedError(f"{MAX_WAITING} devices wait for approval already; try again when they are decided on")
    request_id = digest[:ID_BYTES].hex()
    connection.execute(
        "INSERT INTO pending_enrolment(id, key_digest, token, hostname, address, asked_ns, state)"
        " VALUES(?, ?, ?, ?, ?, ?, ?)",
        (request_id, digest, token["id"], hostname, address, now, WAITING),
    )
    data = {"token": token["id"], "hostname": hostname}
    audit.append(connection, actor=f"address:{address}", action="agent.ask", subject=request_id, data=data)
    event = record(
        connection,
        "agent.waiting",
        site=token["site"],
        subject=("agent", request_id, hostname),
        data={**data, "address": address},
    )
    return request_id, [event]


def decide(connection: sqlite3.Connection, request_id: str, state: str, *, actor: str) -> bool:
    """Approve or reject; False where no such request waits."""
    changed = connection.execute(
        "UPDATE pending_enrolment SET state = ?, decided_by = ? WHERE id = ? AND state = ?",
        (state, actor, request_id, WAITING),
    )
    if changed.rowcount != 1:
        return False
    action = "agent.approve" if state == APPROVED else "agent.reject"
    audit.append(connection, actor=actor, action=action, subject=request_id)
    return True


def forget(connection: sqlite3.Connection, digest: bytes) -> None:
    """The device is an agent now."""
    connection.execute("DELETE FROM pending_enrolment WHERE key_digest = ?", (digest,))
