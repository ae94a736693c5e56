"""Enrolment: a device with a join token gets its identity, an agent that slept past its certificate a new one.

Anybody may call. The order of every call: the limits of the address, the size, what the caller proves (a look at the
store, a signature), the limit of all, the store's transaction.
"""

from __future__ import annotations

import asyncio
import math
import sqlite3
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
from fieldwatch_proto.join import RETRY_AFTER
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc

from fieldwatch_collector.hub import Hub
from fieldwatch_collector.identity import enrolment, recovery
from fieldwatch_collector.identity.agents import RefusedError
from fieldwatch_collector.identity.authority import Authority, Issued, RequestError
from fieldwatch_collector.ingest.fleet import Fleet
from fieldwatch_collector.ingest.gate import refuse
from fieldwatch_collector.ingest.refusals import Refusals
from fieldwatch_collector.ingest.throttle import EnrolmentThrottle, peer_address
from fieldwatch_collector.store import Store, StoreError

MAX_CSR_BYTES = 8 << 10
MAX_SIGNED_BYTES = 1 << 10  # a challenge, a signature
MAX_TEXT = 256
WAIT_S = 10  # between two looks of a device that waits for a person

T = TypeVar("T")
log = get_logger(__name__)
Context = grpc.aio.ServicerContext[Any, Any]


def enrol_reply(authority: Authority, agent_id: str, site: str, issued: Issued) -> pb.EnrolReply:
    """What an agent gets with each certificate."""
    trusted = authority.trusted_der()
    return pb.EnrolReply(
        agent_id=agent_id, certificate_der=issued.der, ca_der=issued.ca_der, site=site, trusted_ca_der=trusted
    )


class EnrolmentService(agent_pb2_grpc.EnrolmentServicer):
    """One per server. `ingest_port`: where agents connect; `approve`: a person lets each new one in."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        fleet: Fleet,
        authority: Authority,
        throttle: EnrolmentThrottle,
        *,
        ingest_port: int,
        approve: bool = False,
    ) -> None:
        self._store = store
        self._hub = hub
        self._fleet = fleet
        self._authority = authority
        self._throttle = throttle
        self._ingest_port = ingest_port
        self._approve = approve
        self._challenges = recovery.Challenges()
        self._refusals = Refusals(store)

    async def Enrol(self, request: pb.EnrolRequest, context: Context) -> pb.EnrolReply:  # noqa: N802 - gRPC's name
        address = await self._limit(context)
        texts = (request.token_id, request.hostname, request.version, request.replace_agent)
        await self._bound(context, address, request.csr_der, request.signature, texts)
        asked = enrolment.Request(
            token_id=request.token_id,
            csr_der=request.csr_der,
            signature=request.signature,
            hostname=request.hostname,
            version=request.version,
            address=address,
            replace_agent=request.replace_agent,
        )
        done = await self._decide(
            context,
            address,
            request.token_id,
            lambda connection: enrolment.check_token(connection, self._authority, asked),
            lambda connection: enrolment.enrol(connection, self._authority, asked, approve=self._approve),
        )
        self._hub.publish(done.events)
        if isinstance(done, enrolment.Waiting):
            if done.events:
                log.info("a device waits for approval", id=done.id, address=address)
            return pb.EnrolReply(pending=True, retry_s=WAIT_S)
        if done.replaced:
            self._fleet.close_agent(done.agent_id)  # streams of the device that had this identity
        if done.events:
            log.info("agent enrolled", agent=done.agent_id, site=done.site, address=address)
        reply = enrol_reply(self._authority, done.agent_id, done.site, done.issued)
        reply.ingest_port = self._ingest_port
        return reply

    async def Challenge(self, request: pb.ChallengeRequest, context: Context) -> pb.ChallengeReply:  # noqa: N802
        if len(request.agent_id) > MAX_TEXT:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the agent id is too large")
        return pb.ChallengeReply(challenge=self._challenges.make(request.agent_id))

    async def Recover(self, request: pb.RecoverRequest, context: Context) -> pb.EnrolReply:  # noqa: N802
        address = await self._limit(context)
        texts = (request.agent_id, request.version)
        await self._bound(context, address, request.csr_der, request.challenge + request.signature, texts)
        asked = recovery.Request(
            agent_id=request.agent_id,
            challenge=request.challenge,
            csr_der=request.csr_der,
            signature=request.signature,
            version=request.version,
            address=address,
        )

        def check(connection: sqlite3.Connection) -> None:
            if not self._challenges.holds(request.agent_id, request.challenge):
                raise RefusedError(recovery.STALE)
            recovery.check_signature(connection, asked)

        site, issued, events = await self._decide(
            context,
            address,
            request.agent_id,
            check,
            lambda connection: recovery.recover(connection, self._authority, asked),
        )
        self._hub.publish(events)
        log.info("agent recovered", agent=request.agent_id, address=address)
        return enrol_reply(self._authority, request.agent_id, site, issued)

    # --- the order of every call --------------------------------------------------------------------------------

    async def _limit(self, context: Context) -> str:
        """The caller's address, if it may try now."""
        address = peer_address(context.peer())
        if wait_s := self._throttle.wait_s(address):
            await self._refusals.note("agent.refuse", "too many tries", actor=f"address:{address}")
            await _exhausted(context, "too many enrolments from here", wait_s)
        return address

    async def _bound(
        self, context: Context, address: str, csr_der: bytes, signed: bytes, texts: tuple[str, ...]
    ) -> None:
        if (
            len(csr_der) > MAX_CSR_BYTES
            or len(signed) > MAX_SIGNED_BYTES
            or any(len(text) > MAX_TEXT for text in texts)
        ):
            self._throttle.failed(address)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the enrolment request is too large")

    async def _decide(
        self,
        context: Context,
        address: str,
        subject: str,
        check: Callable[[sqlite3.Connection], object],
        work: Callable[[sqlite3.Connection], T],
    ) -> T:
        """What `work` gives in its transaction, for a caller that passes `check`; a refusal is counted and audited."""
        try:
            await asyncio.to_thread(self._read, check)
            if wait_s := self._throttle.turn_s():
                await _exhausted(context, "too many enrolments at once", wait_s)
            done = await self._store.transact(work)
        except RefusedError as problem:
            self._throttle.failed(address)
            await self._refuse(address, subject, str(problem))
            await refuse(context, str(problem))
        except RequestError as problem:
            self._throttle.failed(address)
            await self._refuse(address, subject, str(problem))
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(problem))
        except (StoreError, sqlite3.Error) as problem:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"the store cannot do its work now: {problem}")
        self._throttle.succeeded(address)
        return done

    async def _refuse(self, address: str, subject: str, reason: str) -> None:
        """Into the audit log; the log has a line for each of its rows, and no more."""
        actor = f"address:{address}"
        if await self._refusals.note("agent.refuse", reason, actor=actor, subject=subject[:64]):
            log.warning("enrolment refused", address=address, reason=reason)

    def _read(self, check: Callable[[sqlite3.Connection], object]) -> None:
        with self._store.reader() as connection:
            check(connection)


async def _exhausted(context: Context, text: str, wait_s: float) -> None:
    seconds = math.ceil(wait_s)
    trailing = ((RETRY_AFTER, str(seconds)),)
    await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{text}; try again in {seconds} s", trailing)
