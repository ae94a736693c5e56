"""The certificates of agents in the store. Every function works inside a transaction of its caller.

Life of a row: issued -> used (by the first call that shows it) -> superseded (by the first call that shows a later one,
which revokes it). One that nobody used supersedes nothing, so that a reply that was lost locks no agent out. A row
that is not revoked stays after its certificate has expired: `recovery` asks for its key.
"""

from __future__ import annotations

import enum
import sqlite3
import time
from dataclasses import dataclass

from fieldwatch_collector.identity.authority import Authority, Issued

MAX_UNUSED = 8  # of one agent: each renewal whose reply was lost leaves one


@dataclass(frozen=True)
class Peer:
    """What a verified client certificate says: whose it is, its serial, its key (SubjectPublicKeyInfo, DER)."""

    agent_id: str
    serial: str
    public_key: bytes


class Standing(enum.Enum):
    """How a certificate that our CA signed is taken."""

    REFUSED = "refused"
    UNUSED = "unused"
    GOOD = "good"


def standing(connection: sqlite3.Connection, peer: Peer) -> Standing:
    """The agent is known, neither it nor the serial is revoked, and the key is the one that the serial was issued for.

    The last of these holds against who has the key of a CA that was replaced.
    """
    row = connection.execute(
        "SELECT certificate.public_key, certificate.used_ns"
        " FROM agent JOIN agent_certificate AS certificate ON certificate.agent = agent.id"
        " WHERE agent.id = ? AND certificate.serial = ?"
        " AND agent.revoked_ns IS NULL AND certificate.revoked_ns IS NULL",
        (peer.agent_id, peer.serial),
    ).fetchone()
    if row is None or (row[0] is not None and row[0] != peer.public_key):
        return Standing.REFUSED
    return Standing.UNUSED if row[1] is None else Standing.GOOD


def first_use(connection: sqlite3.Connection, peer: Peer) -> bool:
    """Note that the certificate is in use and revoke the agent's older ones; False where it was refused meanwhile."""
    if standing(connection, peer) is Standing.REFUSED:
        return False
    now = time.time_ns()
    connection.execute("UPDATE agent_certificate SET used_ns = ? WHERE serial = ?", (now, peer.serial))
    connection.execute(
        "UPDATE agent_certificate SET revoked_ns = ? WHERE agent = ? AND revoked_ns IS NULL"
        " AND issued_ns < (SELECT issued_ns FROM agent_certificate WHERE serial = ?)",
        (now, peer.agent_id, peer.serial),
    )
    return True


def issue(connection: sqlite3.Connection, authority: Authority, agent_id: str, csr_der: bytes) -> Issued:
    """A certificate for the key of a request. Raises RequestError."""
    issued = authority.sign_agent(csr_der, agent_id)
    now = time.time_ns()
    connection.execute(
        "DELETE FROM agent_certificate WHERE agent = ? AND revoked_ns IS NOT NULL AND expires_ns < ?", (agent_id, now)
    )
    connection.execute(
        "DELETE FROM agent_certificate WHERE serial IN (SELECT serial FROM agent_certificate"
        " WHERE agent = ? AND used_ns IS NULL AND revoked_ns IS NULL ORDER BY issued_ns DESC LIMIT -1 OFFSET ?)",
        (agent_id, MAX_UNUSED - 1),
    )
    connection.execute(
        "INSERT INTO agent_certificate(serial, agent, issued_ns, expires_ns, public_key) VALUES(?, ?, ?, ?, ?)",
        (issued.serial, agent_id, now, issued.expires_ns, issued.public_key),
    )
    connection.execute("UPDATE agent SET serial = ? WHERE id = ?", (issued.serial, agent_id))
    return issued


def registered_keys(connection: sqlite3.Connection, agent_id: str) -> list[bytes]:
    """The keys that speak for an agent, expired or not, the newest first (SubjectPublicKeyInfo)."""
    return [
        row[0]
        for row in connection.execute(
            "SELECT public_key FROM agent_certificate WHERE agent = ? AND revoked_ns IS NULL"
            " AND public_key IS NOT NULL ORDER BY issued_ns DESC",
            (agent_id,),
        )
    ]


def revoke_all(connection: sqlite3.Connection, agent_id: str) -> None:
    """Refuse every certificate that the agent has so far."""
    connection.execute(
        "UPDATE agent_certificate SET revoked_ns = ? WHERE agent = ? AND revoked_ns IS NULL", (time.time_ns(), agent_id)
    )


def behind(connection: sqlite3.Connection, since_ns: int) -> tuple[int, int]:
    """(agents in force, those among them that have not used a certificate issued since then)."""
    row = connection.execute(
        "SELECT count(*), coalesce(sum(NOT EXISTS(SELECT 1 FROM agent_certificate AS certificate"
        " WHERE certificate.agent = agent.id AND certificate.issued_ns >= ? AND certificate.used_ns IS NOT NULL)), 0)"
        " FROM agent WHERE revoked_ns IS NULL",
        (since_ns,),
    ).fetchone()
    return row[0], row[1]
