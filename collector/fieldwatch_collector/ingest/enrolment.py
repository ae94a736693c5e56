"""Enrolment.Enrol: a device with a join token gets its identity. Anybody may call; limits come before all checks."""

from __future__ import annotations

import grpc
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc

from fieldwatch_collector.hub import Hub
from fieldwatch_collector.identity import agents
from fieldwatch_collector.identity.authority import Authority, RequestError
from fieldwatch_collector.ingest.gate import refuse
from fieldwatch_collector.ingest.throttle import EnrolmentThrottle, peer_address
from fieldwatch_collector.store import Store, StoreError

MAX_CSR_BYTES = 8 << 10
MAX_TEXT = 256

log = get_logger(__name__)
Context = grpc.aio.ServicerContext[pb.EnrolRequest, pb.EnrolReply]


class EnrolmentService(agent_pb2_grpc.EnrolmentServicer):
    """One per server."""

    def __init__(self, store: Store, hub: Hub, authority: Authority, throttle: EnrolmentThrottle) -> None:
        self._store = store
        self._hub = hub
        self._authority = authority
        self._throttle = throttle

    async def Enrol(self, request: pb.EnrolRequest, context: Context) -> pb.EnrolReply:  # noqa: N802 - gRPC's name
        address = peer_address(context.peer())
        if wait_s := self._throttle.wait_s(address):
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED, f"too many enrolments from here; try again in {wait_s:.0f} s"
            )
        if len(request.csr_der) > MAX_CSR_BYTES or any(
            len(text) > MAX_TEXT
            for text in (request.token_id, request.hostname, request.version, request.replace_agent)
        ):
            self._throttle.failed(address)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the enrolment request is too large")
        try:
            agent_id, site, issued, events = await self._store.transact(
                lambda connection: agents.enrol(
                    connection,
                    self._authority,
                    token_id=request.token_id,
                    csr_der=request.csr_der,
                    signature=request.signature,
                    hostname=request.hostname,
                    version=request.version,
                    replace_agent=request.replace_agent,
                )
            )
        except agents.RefusedError as problem:
            self._throttle.failed(address)
            log.warning("enrolment refused", address=address, reason=str(problem))
            await refuse(context, str(problem))
        except RequestError as problem:
            self._throttle.failed(address)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(problem))
        except StoreError as problem:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(problem))
        self._throttle.succeeded(address)
        self._hub.publish(events)
        if events:
            log.info("agent enrolled", agent=agent_id, site=site, address=address)
        return pb.EnrolReply(agent_id=agent_id, certificate_der=issued.der, ca_der=self._authority.ca_der, site=site)
