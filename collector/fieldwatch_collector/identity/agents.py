"""The agents that have enrolled, in the store. Every function works inside a transaction of its caller."""

from __future__ import annotations

import hashlib
import sqlite3
import time
import uuid
from typing import Any

from fieldwatch_collector.identity import tokens
from fieldwatch_collector.identity.authority import Authority, Issued
from fieldwatch_collector.journal import record

MAX_NAME = 64


class RefusedError(Exception):
    """An enrolment, renewal or call that is not allowed; the text is for the peer."""


def clean_name(text: str) -> str:
    """What a stranger calls itself, fit for a table: printable, one line, at most MAX_NAME characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: 4 * MAX_NAME]).split())[:MAX_NAME]


def enrol(
    connection: sqlite3.Connection,
    authority: Authority,
    *,
    token_id: str,
    csr_der: bytes,
    signature: bytes,
    hostname: str,
    version: str,
    replace_agent: str = "",
) -> tuple[str, str, Issued, list[dict[str, Any]]]:
    """(agent id, site, certificate, events) for the holder of a join token. Raises RefusedError, RequestError.

    The same request again gives the same agent, whether or not the token has uses left.
    """
    now = time.time_ns()
    token = connection.execute("SELECT * FROM join_token WHERE id = ?", (token_id,)).fetchone()
    if token is None or not tokens.signature_holds(token["public_key"], authority.ca_der, token_id, csr_der, signature):
        raise RefusedError("the join token is not one of this collector's")
    csr_digest = hashlib.sha256(csr_der).digest()
    known = connection.execute("SELECT * FROM agent WHERE csr_digest = ?", (csr_digest,)).fetchone()
    if known is not None and token["revoked_ns"] is None:
        if known["revoked_ns"] is not None:
            raise RefusedError("this agent was revoked")
        issued = _issue(connection, authority, known["id"], csr_der)
        return known["id"], known["site"], issued, []
    standing = tokens.state(token, now)
    if standing != "usable":
        raise RefusedError(f"the join token {_STANDING[standing]}; make a new one: fieldwatch-collector token create")
    if (token["replace_agent"] or "") != replace_agent:
        raise RefusedError(
            f"the join token was made to replace agent {token['replace_agent']}"
            if token["replace_agent"]
            else "to take over an agent's identity needs a token made with: token create --replace AGENT_ID"
        )
    connection.execute("UPDATE join_token SET uses_left = uses_left - 1 WHERE id = ?", (token_id,))
    if replace_agent:
        agent_id, site, name, event = _replace(connection, replace_agent, csr_digest, now)
    else:
        agent_id, site = str(uuid.uuid4()), token["site"]
        name, event = _free_name(connection, site, clean_name(hostname) or "agent"), "agent.enrolled"
        connection.execute(
            "INSERT INTO agent(id, name, site, enrolled_ns, serial, csr_digest, version) VALUES(?, ?, ?, ?, '', ?, ?)",
            (agent_id, name, site, now, csr_digest, clean_name(version)),
        )
    issued = _issue(connection, authority, agent_id, csr_der)
    told = record(
        connection,
        event,
        site=site,
        agent=agent_id,
        subject=("agent", agent_id, name),
        data={"token": token_id, "serial": issued.serial},
    )
    return agent_id, site, issued, [told]


_STANDING = {"used": "was used already", "expired": "has expired", "revoked": "was revoked"}


def _replace(connection: sqlite3.Connection, agent_id: str, csr_digest: bytes, now: int) -> tuple[str, str, str, str]:
    row = connection.execute("SELECT name, site, revoked_ns FROM agent WHERE id = ?", (agent_id,)).fetchone()
    if row is None or row["revoked_ns"] is not None:
        raise RefusedError(f"there is no agent {agent_id} to replace")
    connection.execute(
        "UPDATE agent_certificate SET revoked_ns = ? WHERE agent = ? AND revoked_ns IS NULL", (now, agent_id)
    )
    connection.execute("UPDATE agent SET csr_digest = ? WHERE id = ?", (csr_digest, agent_id))
    return agent_id, row["site"], row["name"], "agent.replaced"


def renew(connection: sqlite3.Connection, authority: Authority, agent_id: str, csr_der: bytes) -> tuple[str, Issued]:
    """(site, certificate) for an agent that showed a valid one. Raises RefusedError, RequestError."""
    row = connection.execute("SELECT site, revoked_ns FROM agent WHERE id = ?", (agent_id,)).fetchone()
    if row is None or row["revoked_ns"] is not None:
        raise RefusedError("this agent was revoked")
    return row["site"], _issue(connection, authority, agent_id, csr_der)


def revoke(connection: sqlite3.Connection, agent_id: str) -> dict[str, Any] | None:
    """The event, or None where there is no such agent in force."""
    now = time.time_ns()
    row = connection.execute("SELECT name, site FROM agent WHERE id = ? AND revoked_ns IS NULL", (agent_id,)).fetchone()
    if row is None:
        return None
    connection.execute("UPDATE agent SET revoked_ns = ? WHERE id = ?", (now, agent_id))
    return record(
        connection, "agent.revoked", site=row["site"], agent=agent_id, subject=("agent", agent_id, row["name"])
    )


def rename(connection: sqlite3.Connection, agent_id: str, name: str) -> dict[str, Any] | None:
    """The event, or None where there is no such agent."""
    row = connection.execute("SELECT name, site FROM agent WHERE id = ?", (agent_id,)).fetchone()
    if row is None:
        return None
    connection.execute("UPDATE agent SET name = ? WHERE id = ?", (name, agent_id))
    return record(
        connection,
        "agent.renamed",
        site=row["site"],
        agent=agent_id,
        subject=("agent", agent_id, name),
        data={"before": row["name"]},
    )


def is_admitted(connection: sqlite3.Connection, agent_id: str, serial: str) -> bool:
    """Whether a certificate that our CA signed is still good: the agent is known, neither it nor the serial revoked."""
    return (
        connection.execute(
            "SELECT 1 FROM agent JOIN agent_certificate AS certificate ON certificate.agent = agent.id"
            " WHERE agent.id = ? AND certificate.serial = ?"
            " AND agent.revoked_ns IS NULL AND certificate.revoked_ns IS NULL",
            (agent_id, serial),
        ).fetchone()
        is not None
    )


def _issue(connection: sqlite3.Connection, authority: Authority, agent_id: str, csr_der: bytes) -> Issued:
    issued = authority.sign_agent(csr_der, agent_id)
    now = time.time_ns()
    connection.execute("DELETE FROM agent_certificate WHERE agent = ? AND expires_ns < ?", (agent_id, now))
    connection.execute(
        "INSERT INTO agent_certificate(serial, agent, issued_ns, expires_ns) VALUES(?, ?, ?, ?)",
        (issued.serial, agent_id, now, issued.expires_ns),
    )
    connection.execute("UPDATE agent SET serial = ? WHERE id = ?", (issued.serial, agent_id))
    return issued


def _free_name(connection: sqlite3.Connection, site: str, name: str) -> str:
    taken = {row[0] for row in connection.execute("SELECT name FROM agent WHERE site = ?", (site,))}
    if name not in taken:
        return name
    return next(f"{name}-{n}" for n in range(2, len(taken) + 3) if f"{name}-{n}" not in taken)
