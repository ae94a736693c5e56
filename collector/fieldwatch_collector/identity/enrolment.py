"""Decides on a device that asks for an identity with a join token. Works inside a transaction of its caller.

A request is known by its key: the same key again gives the same agent, whether or not the token has uses left, as long
as no later key of that agent was used. The use of the token is taken in the transaction that makes the agent, or that
makes the device wait for a person (`approval`).
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
import uuid
from dataclasses import dataclass
from typing import Any

from fieldwatch_collector import audit
from fieldwatch_collector.identity import approval, certificates, tokens
from fieldwatch_collector.identity.agents import RefusedError, clean_name
from fieldwatch_collector.identity.authority import Authority, Issued, key_octets, request_key
from fieldwatch_collector.journal import record

NOT_OURS = "the join token is not one of this collector's"
CREATE = "fieldwatch-collector token create"
_STANDING = {"used": "was used already", "expired": "has expired", "revoked": "was revoked"}


@dataclass(frozen=True)
class Request:
    """What a device says. `address` is the peer's, for the audit log; the rest are words of a stranger."""

    token_id: str
    csr_der: bytes
    signature: bytes
    hostname: str
    version: str
    address: str
    replace_agent: str = ""


@dataclass(frozen=True)
class Enrolled:
    """`events` is empty where the agent was enrolled before; `replaced`: another device had this identity."""

    agent_id: str
    site: str
    issued: Issued
    events: list[dict[str, Any]]
    replaced: bool = False


@dataclass(frozen=True)
class Waiting:
    """A person has to approve it first, by this id."""

    id: str
    events: list[dict[str, Any]]


def check_token(connection: sqlite3.Connection, authority: Authority, request: Request) -> sqlite3.Row:
    """The token whose seed signed this request. Raises RefusedError."""
    token: sqlite3.Row | None
    token = connection.execute("SELECT * FROM join_token WHERE id = ?", (request.token_id,)).fetchone()
    if token is None or not any(
        tokens.signature_holds(token["public_key"], ca_der, request.token_id, request.csr_der, request.signature)
        for ca_der in authority.known_der()  # a token may be older than the CA that signs now
    ):
        raise RefusedError(NOT_OURS)
    return token


def enrol(
    connection: sqlite3.Connection, authority: Authority, request: Request, *, approve: bool
) -> Enrolled | Waiting:
    """Let the device in, or let it wait where a person is to `approve`. Raises RefusedError, RequestError."""
    token = check_token(connection, authority, request)
    key = key_octets(request_key(request.csr_der))
    digest = hashlib.sha256(key).digest()
    known = connection.execute("SELECT * FROM agent WHERE csr_digest = ?", (digest,)).fetchone()
    if known is not None and token["revoked_ns"] is None:
        if known["revoked_ns"] is not None:
            raise RefusedError("this agent was revoked")
        if key not in certificates.registered_keys(connection, known["id"]):
            raise RefusedError("this agent has had a later key than this one since it enrolled")
        return Enrolled(known["id"], known["site"], _issue(connection, authority, known["id"], request), [])
    asked = approval.find(connection, digest)
    if asked is not None and asked["token"] != token["id"]:
        approval.forget(connection, digest)  # what was decided on another token is not decided on this one
        asked = None
    if asked is None:
        _take_use(connection, token, request.replace_agent)
    elif token["revoked_ns"] is not None:
        raise RefusedError("the join token was revoked")
    if asked is not None and asked["state"] == approval.REJECTED:
        raise RefusedError(approval.TURNED_AWAY)
    if approve and (asked is None or asked["state"] != approval.APPROVED):
        return Waiting(*approval.wait(connection, digest, token, clean_name(request.hostname), request.address))
    return _admit(connection, authority, request, token, digest, asked["decided_by"] if asked else "")


def _take_use(connection: sqlite3.Connection, token: sqlite3.Row, replace_agent: str) -> None:
    standing = tokens.state(token, time.time_ns())
    if standing != "usable":
        raise RefusedError(f"the join token {_STANDING[standing]}; make a new one: {CREATE}")
    if (token["replace_agent"] or "") != replace_agent:
        meant = token["replace_agent"]
        raise RefusedError(
            f"the join token was made to replace agent {meant}; give it with: --replace {meant}"
            if meant
            else f"the join token replaces no agent; make one that does: {CREATE} --replace AGENT_ID"
        )
    connection.execute("UPDATE join_token SET uses_left = uses_left - 1 WHERE id = ?", (token["id"],))


def _admit(
    connection: sqlite3.Connection,
    authority: Authority,
    request: Request,
    token: sqlite3.Row,
    digest: bytes,
    approved_by: str,
) -> Enrolled:
    replaces = token["replace_agent"]
    if replaces:
        agent_id, site, name = _replace(connection, replaces, digest)
    else:
        agent_id, site = str(uuid.uuid4()), token["site"]
        name = _free_name(connection, site, clean_name(request.hostname) or "agent")
        connection.execute(
            "INSERT INTO agent(id, name, site, enrolled_ns, serial, csr_digest, version, tags)"
            " VALUES(?, ?, ?, ?, '', ?, ?, ?)",
            (agent_id, name, site, time.time_ns(), digest, clean_name(request.version), token["tags"]),
        )
    approval.forget(connection, digest)
    issued = _issue(connection, authority, agent_id, request)
    data = {"token": token["id"], "serial": issued.serial}
    event = record(
        connection,
        "agent.replaced" if replaces else "agent.enrolled",
        site=site,
        agent=agent_id,
        subject=("agent", agent_id, name),
        data=data,
    )
    audit.append(
        connection,
        actor=f"address:{request.address}",
        action="agent.replace" if replaces else "agent.enrol",
        subject=agent_id,
        data={
            **data,
            "name": name,
            "site": site,
            "tags": json.loads(token["tags"]),
            **({"approved_by": approved_by} if approved_by else {}),
        },
    )
    return Enrolled(agent_id, site, issued, [event], replaced=bool(replaces))


def _replace(connection: sqlite3.Connection, agent_id: str, digest: bytes) -> tuple[str, str, str]:
    row = connection.execute("SELECT name, site, revoked_ns FROM agent WHERE id = ?", (agent_id,)).fetchone()
    if row is None:
        raise RefusedError(f"there is no agent {agent_id} to replace")
    if row["revoked_ns"] is not None:
        raise RefusedError(f"agent {agent_id} was revoked, which is for good: enrol with --anew instead of --replace")
    certificates.revoke_all(connection, agent_id)
    connection.execute("UPDATE agent SET csr_digest = ? WHERE id = ?", (digest, agent_id))
    return agent_id, row["site"], row["name"]


def _issue(connection: sqlite3.Connection, authority: Authority, agent_id: str, request: Request) -> Issued:
    return certificates.issue(connection, authority, agent_id, request.csr_der)


def _free_name(connection: sqlite3.Connection, site: str, name: str) -> str:
    taken = {row[0] for row in connection.execute("SELECT name FROM agent WHERE site = ?", (site,))}
    if name not in taken:
        return name
    return next(f"{name}-{n}" for n in range(2, len(taken) + 3) if f"{name}-{n}" not in taken)
