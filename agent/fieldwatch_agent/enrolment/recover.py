"""A new identity after the certificate has expired: the key that it was for signs a challenge. No person is needed."""

from __future__ import annotations

import socket

import grpc
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from fieldwatch_proto.v1 import agent_pb2, agent_pb2_grpc
from fieldwatch_proto.version import VERSION

from fieldwatch_agent.enrolment import keys
from fieldwatch_agent.enrolment.enrol import TIMEOUT_S, public_channel, target
from fieldwatch_agent.enrolment.identity import ENROL_AGAIN, Credentials, EnrolmentError, Identity
from fieldwatch_agent.rpc import cause


def recover(identity: Identity, old: Credentials, host: str, key: EllipticCurvePrivateKey) -> agent_pb2.EnrolReply:
    """The collector's answer for the new `key`, by the port of enrolment on `host`. Raises EnrolmentError."""
    csr = keys.request_der(key, socket.gethostname())
    where = target(host, identity.enrolment_port)
    with public_channel(host, identity.enrolment_port, old.ca) as channel:
        desk = agent_pb2_grpc.EnrolmentStub(channel)  # type: ignore[no-untyped-call]
        try:
            asked = desk.Challenge(agent_pb2.ChallengeRequest(agent_id=identity.agent_id), timeout=TIMEOUT_S)
            signature = keys.recovery_signature(keys.load_key(old.key), asked.challenge, csr)
            reply: agent_pb2.EnrolReply = desk.Recover(
                agent_pb2.RecoverRequest(
                    agent_id=identity.agent_id,
                    challenge=asked.challenge,
                    csr_der=csr,
                    signature=signature,
                    version=VERSION,
                ),
                timeout=TIMEOUT_S,
            )
        except grpc.RpcError as problem:
            raise EnrolmentError(_explained(where, problem)) from None
    return reply


def _explained(where: str, problem: grpc.RpcError) -> str:
    code, details = problem.code(), cause(problem)
    if code == grpc.StatusCode.PERMISSION_DENIED:
        return f"{where}: the collector does not give this agent its identity back: {details}; {ENROL_AGAIN}"
    if code == grpc.StatusCode.UNIMPLEMENTED:
        return f"{where}: the collector is older than this agent and cannot do it; update it, or {ENROL_AGAIN}"
    if code == grpc.StatusCode.UNAVAILABLE:
        return f"{where}: no collector answers ({details}); check that it runs, and the clocks of both"
    return f"{where}: {code.name}: {details}"
