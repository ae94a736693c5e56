"""A new key and certificate before the old one ends: ``python -m fieldwatch_agent.enrolment.renew --data DIR``.

A child of the daemon. The old certificate stays valid until the first use of the new one, so a cut at any moment is
harmless. One that has expired, or with which the collector cannot be reached, is replaced by recovery (`recover`): the
two ends may see its end at different times. Exit code 0, or 1 with one line on standard error.
"""

from __future__ import annotations

import argparse
import socket
import sys
import time
from dataclasses import replace
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from fieldwatch_proto.v1 import agent_pb2, agent_pb2_grpc

from fieldwatch_agent.enrolment import keys
from fieldwatch_agent.enrolment.enrol import TIMEOUT_S, split_address, trusted_of
from fieldwatch_agent.enrolment.identity import (
    TARGET_NAME,
    Credentials,
    EnrolmentError,
    Identity,
    load_credentials,
    load_identity,
    store_identity,
)
from fieldwatch_agent.enrolment.recover import recover
from fieldwatch_agent.rpc import cause

# How a collector that does not take the certificate looks like: its refusal of the handshake arrives as a broken
# connection, and so does a collector that is not there.
_MAYBE_EXPIRED = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAUTHENTICATED}


class _UnreachableError(EnrolmentError):
    """Renewal failed in a way that an expired certificate would explain."""


def renew(folder: Path, address: str = "", now_s: float | None = None) -> Identity:
    """The identity with its new certificate, in force. `address`: the collector, where it is not the enrolled one;
    `now_s`: Unix seconds, where something better is known than this machine's clock.

    Raises EnrolmentError.
    """
    identity = load_identity(folder)
    if identity is None:
        raise EnrolmentError(f"{folder}: not enrolled; enrol first: fieldwatch-agent enrol ...")
    old, key = load_credentials(folder), keys.make_key()
    address = address or identity.address
    host = split_address(address)[0]
    if (time.time() if now_s is None else now_s) > identity.not_after:
        reply = recover(identity, old, host, key)
    else:
        try:
            reply = _renew(old, address, key)
        except _UnreachableError as problem:
            try:
                reply = recover(identity, old, host, key)
            except EnrolmentError:
                raise problem from None
    fresh, not_before, not_after = keys.accepted(key, reply.certificate_der, trusted_of(reply))
    renewed = replace(identity, not_before=not_before, not_after=not_after)
    store_identity(folder, renewed, fresh)
    return renewed


def _renew(old: Credentials, address: str, key: EllipticCurvePrivateKey) -> agent_pb2.EnrolReply:
    credentials = grpc.ssl_channel_credentials(old.ca, old.key, old.certificate)
    options = (("grpc.ssl_target_name_override", TARGET_NAME), ("grpc.enable_http_proxy", 0))
    with grpc.secure_channel(address, credentials, options) as channel:
        request = agent_pb2.RenewRequest(csr_der=keys.request_der(key, socket.gethostname()))
        try:
            reply: agent_pb2.EnrolReply = agent_pb2_grpc.ControlStub(channel).Renew(request, timeout=TIMEOUT_S)  # type: ignore[no-untyped-call]
        except grpc.RpcError as problem:
            kind = _UnreachableError if problem.code() in _MAYBE_EXPIRED else EnrolmentError
            raise kind(f"{address}: {problem.code().name}: {cause(problem)}") from None
    return reply


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--address", default="")
    parser.add_argument("--now", type=float)
    options = parser.parse_args()
    try:
        renew(options.data, options.address, options.now)
    except EnrolmentError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
