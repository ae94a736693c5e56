"""Who is calling: the id of an agent comes from its client certificate alone, and is checked at every call."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any, NoReturn
from uuid import UUID

import grpc
from cryptography import x509

from fieldwatch_collector.identity import SPIFFE_PREFIX, agents
from fieldwatch_collector.identity.authority import serial_text
from fieldwatch_collector.store import Store

REFUSED = "this agent is not known here, or was revoked; enrol it again"


class Gate:
    """Admits agents whose certificate our CA signed (TLS has checked that) and nobody has revoked."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def admit(self, context: grpc.aio.ServicerContext[Any, Any]) -> str:
        """The agent's id; ends the call with PERMISSION_DENIED otherwise."""
        identity = peer_identity(context.auth_context())
        if identity is None:
            await refuse(context)
        agent_id, serial = identity
        try:
            admitted = await asyncio.to_thread(self._is_admitted, agent_id, serial)
        except sqlite3.Error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the store cannot be read now")
        if not admitted:
            await refuse(context)
        return agent_id

    def _is_admitted(self, agent_id: str, serial: str) -> bool:
        with self._store.reader() as connection:
            return agents.is_admitted(connection, agent_id, serial)


async def refuse(context: grpc.aio.ServicerContext[Any, Any], text: str = REFUSED) -> NoReturn:
    """End the call."""
    await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)


def peer_identity(auth: Any) -> tuple[str, str] | None:
    """(agent id, certificate serial) of a verified peer; None where the certificate names no agent."""
    names = auth.get("x509_subject_alternative_name", ())
    found = [name.decode("ascii", "replace") for name in names if name.startswith(SPIFFE_PREFIX.encode())]
    certificates = list(auth.get("x509_pem_cert", ()))
    if len(found) != 1 or len(certificates) != 1:
        return None
    try:
        agent_id = str(UUID(found[0].removeprefix(SPIFFE_PREFIX)))
        serial = x509.load_pem_x509_certificate(certificates[0]).serial_number
    except ValueError:
        return None
    return agent_id, serial_text(serial)
