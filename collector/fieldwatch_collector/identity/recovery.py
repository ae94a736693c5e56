"""Recovery of agents that slept past their certificate: the registered key signs a challenge, a new one takes over.

A challenge is not remembered: it holds its own end and a MAC over that and the agent's id, under a key that lives as
long as the process. To hear one twice within its minute wins nothing: the signature binds it to one request, whose key
only the agent has.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sqlite3
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from fieldwatch_proto.recovery import signed_message

from fieldwatch_collector import audit
from fieldwatch_collector.identity import certificates
from fieldwatch_collector.identity.agents import RefusedError, clean_name
from fieldwatch_collector.identity.authority import Authority, Issued, RequestError, key_octets, request_key
from fieldwatch_collector.journal import record

CHALLENGE_S = 60.0
_BODY = struct.Struct(">Q16s")  # end of its time in milliseconds of this process's clock, random octets
STALE = "the challenge is not of this collector, or too old; ask for another"
NOT_REGISTERED = "the request is not signed by a key that is registered for this agent"


@dataclass(frozen=True)
class Request:
    """What an agent says. `address` is the peer's, for the audit log."""

    agent_id: str
    challenge: bytes
    csr_der: bytes
    signature: bytes
    version: str
    address: str


class Challenges:
    """Makes challenges, and knows its own."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._key = os.urandom(32)

    def make(self, agent_id: str) -> bytes:
        """Good for `CHALLENGE_S`, for this agent."""
        body = _BODY.pack(int((self._clock() + CHALLENGE_S) * 1000), os.urandom(16))
        return body + self._mac(body, agent_id)

    def holds(self, agent_id: str, challenge: bytes) -> bool:
        body, mac = challenge[: _BODY.size], challenge[_BODY.size :]
        if not hmac.compare_digest(mac, self._mac(body, agent_id)):
            return False
        return int(_BODY.unpack(body)[0]) >= self._clock() * 1000

    def _mac(self, body: bytes, agent_id: str) -> bytes:
        return hmac.digest(self._key, body + agent_id.encode("utf-8", "replace"), hashlib.sha256)


def check_signature(connection: sqlite3.Connection, request: Request) -> sqlite3.Row:
    """The agent whose key signed the request. Raises RefusedError, the same for an agent unknown."""
    keys = certificates.registered_keys(connection, request.agent_id)
    if not any(_signed(key, request) for key in keys):
        raise RefusedError(NOT_REGISTERED)
    agent: sqlite3.Row = connection.execute("SELECT * FROM agent WHERE id = ?", (request.agent_id,)).fetchone()
    if agent["revoked_ns"] is not None:
        raise RefusedError("this agent was revoked")
    return agent


def recover(
    connection: sqlite3.Connection, authority: Authority, request: Request
) -> tuple[str, Issued, list[dict[str, Any]]]:
    """(site, certificate, events), inside a transaction of the caller. Raises RefusedError, RequestError."""
    agent = check_signature(connection, request)
    if key_octets(request_key(request.csr_der)) in certificates.registered_keys(connection, request.agent_id):
        raise RequestError("a recovery is for a new key; this one is registered already")
    issued = certificates.issue(connection, authority, request.agent_id, request.csr_der)
    connection.execute(
        "UPDATE agent SET version = ? WHERE id = ?", (clean_name(request.version) or agent["version"], agent["id"])
    )
    data = {"serial": issued.serial, "address": request.address}
    audit.append(
        connection, actor=f"agent:{request.agent_id}", action="agent.recover", subject=request.agent_id, data=data
    )
    event = record(
        connection,
        "agent.recovered",
        site=agent["site"],
        agent=request.agent_id,
        subject=("agent", request.agent_id, agent["name"]),
        data=data,
    )
    return agent["site"], issued, [event]


def _signed(key_der: bytes, request: Request) -> bool:
    key = load_der_public_key(key_der)
    assert isinstance(key, ec.EllipticCurvePublicKey)
    try:
        message = signed_message(request.challenge, request.csr_der)
        key.verify(request.signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True
