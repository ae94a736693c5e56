"""Who is calling: the id of an agent comes from its client certificate alone, and is checked at every call."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator
from typing import Any, NoReturn
from uuid import UUID

import grpc
from cryptography import x509

from fieldwatch_collector.identity import SPIFFE_PREFIX, agents
from fieldwatch_collector.identity.authority import serial_text
from fieldwatch_collector.store import Store

REFUSED = "this agent is not known here, or was revoked"
HEAR_OUT_S = 5.0  # the most that a stream may take to say its first word before it is refused


class Gate:
    """Admits agents whose certificate our CA signed (TLS has checked that) and nobody has revoked."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def admit(
        self, context: grpc.aio.ServicerContext[Any, Any], messages: AsyncIterator[Any] | None = None
    ) -> str:
        """The agent's id; ends the call with PERMISSION_DENIED otherwise.

        Of a call that streams, `messages` is what the agent sends: its first one is heard, and thrown away, before the
        call is refused. A client of gRPC whose write meets the end of the call reports INTERNAL, not the refusal.
        """
        identity = peer_identity(context.auth_context())
        try:
            admitted = identity is not None and await asyncio.to_thread(self._is_admitted, *identity)
        except sqlite3.Error:
            await _hear_out(messages)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the store cannot be read now")
        if identity is None or not admitted:
            await _hear_out(messages)
            await refuse(context)
        return identity[0]

    def _is_admitted(self, agent_id: str, serial: str) -> bool:
        with self._store.reader() as connection:
            return agents.is_admitted(connection, agent_id, serial)


async def refuse(context: grpc.aio.ServicerContext[Any, Any], text: str = REFUSED) -> NoReturn:
    """End the call."""
    await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)


async def _hear_out(messages: AsyncIterator[Any] | None) -> None:
    """Until the first message was read, or the time for it is over."""
    if messages is not None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(HEAR_OUT_S):
                await anext(messages, None)


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
