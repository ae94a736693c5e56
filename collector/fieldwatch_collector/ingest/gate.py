"""Who is calling: the id of an agent comes from its client certificate alone, and is checked at every call."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn
from uuid import UUID

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from google.protobuf.message import DecodeError

from fieldwatch_collector.identity import SPIFFE_PREFIX, certificates
from fieldwatch_collector.identity.authority import serial_text
from fieldwatch_collector.identity.certificates import Peer, Standing
from fieldwatch_collector.ingest.refusals import Refusals
from fieldwatch_collector.ingest.throttle import peer_address
from fieldwatch_collector.store import Store, StoreError

REFUSED = "this agent is not known here, or was revoked"
MOST_HEARD_OUT = 4  # of one agent
HEAR_OUT_S = 5.0  # the most that a stream may take to say its first word before it is refused


class Gate:
    """Admits agents whose certificate our CA signed (TLS has checked that) and nobody has revoked."""

    def __init__(self, store: Store, calls: Callable[[str, str], None] = lambda agent_id, peer: None) -> None:
        """`calls` is told of each agent that calls, let in or not, and of its peer, as gRPC names it."""
        self._store = store
        self._calls = calls
        self._hearing_out: Counter[str] = Counter()
        self._refusals = Refusals(store)

    async def admit(
        self, context: grpc.aio.ServicerContext[Any, Any], messages: AsyncIterator[Any] | None = None
    ) -> str:
        """The agent's id; ends the call with PERMISSION_DENIED otherwise, and audits that.

        Of a call that streams, `messages` is what the agent sends: its first one is heard, and thrown away, before the
        call is refused. A client of gRPC whose write meets the end of the call reports INTERNAL, not the refusal.
        """
        peer = peer_identity(context.auth_context())
        if peer is not None:
            self._calls(peer.agent_id, context.peer())
        try:
            admitted = peer is not None and await self._is_admitted(peer)
        except sqlite3.Error:
            await self._hear_out(peer, messages)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the store cannot be read now")
        if peer is None or not admitted:
            await self._note(peer, peer_address(context.peer()))
            await self._hear_out(peer, messages)
            await refuse(context)
        return peer.agent_id

    async def _hear_out(self, peer: Peer | None, messages: AsyncIterator[Any] | None) -> None:
        """Until the first message was read, or the time for it is over; of few calls at one time: it may be large."""
        agent_id = peer.agent_id if peer is not None else ""
        if messages is None or self._hearing_out[agent_id] >= MOST_HEARD_OUT:
            return
        self._hearing_out[agent_id] += 1
        try:
            with contextlib.suppress(TimeoutError, DecodeError):
                async with asyncio.timeout(HEAR_OUT_S):
                    await anext(messages, None)
        finally:
            self._hearing_out[agent_id] -= 1
            if not self._hearing_out[agent_id]:
                del self._hearing_out[agent_id]

    async def _is_admitted(self, peer: Peer) -> bool:
        standing = await asyncio.to_thread(self._standing, peer)
        if standing is Standing.UNUSED:
            with contextlib.suppress(StoreError):  # a store that cannot be written to keeps nobody out
                return await self._store.transact(lambda connection: certificates.first_use(connection, peer))
        return standing is not Standing.REFUSED

    def _standing(self, peer: Peer) -> Standing:
        with self._store.reader() as connection:
            return certificates.standing(connection, peer)

    async def _note(self, peer: Peer | None, address: str) -> None:
        if peer is None:
            reason = "the certificate names no agent"
            await self._refusals.note("agent.refuse", reason, actor=f"address:{address}")
            return
        await self._refusals.note(
            "agent.refuse",
            "its certificate is not, or no longer, that of an agent in force",
            actor=f"agent:{peer.agent_id}",
            subject=peer.agent_id,
            data={"address": address, "serial": peer.serial},
        )


async def refuse(context: grpc.aio.ServicerContext[Any, Any], text: str = REFUSED) -> NoReturn:
    """End the call."""
    await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)


def peer_identity(auth: Any) -> Peer | None:
    """Who a verified peer is; None where the certificate names no agent."""
    names = auth.get("x509_subject_alternative_name", ())
    found = [name.decode("ascii", "replace") for name in names if name.startswith(SPIFFE_PREFIX.encode())]
    pems = list(auth.get("x509_pem_cert", ()))
    if len(found) != 1 or len(pems) != 1:
        return None
    try:
        agent_id = str(UUID(found[0].removeprefix(SPIFFE_PREFIX)))
        certificate = x509.load_pem_x509_certificate(pems[0])
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except ValueError:
        return None
    return Peer(agent_id, serial_text(certificate.serial_number), key)
