"""A new key and certificate before the old one ends: ``python -m fieldwatch_agent.enrolment.renew --data DIR``.

A child of the daemon. The old certificate stays valid until the first use of the new one, so a cut at any moment is
harmless. Exit code 0, or 1 with one line on standard error.
"""

from __future__ import annotations

import argparse
import socket
import sys
from dataclasses import replace
from pathlib import Path

import grpc
from fieldwatch_proto.v1 import agent_pb2, agent_pb2_grpc

from fieldwatch_agent.enrolment import keys
from fieldwatch_agent.enrolment.enrol import TIMEOUT_S
from fieldwatch_agent.enrolment.identity import (
    TARGET_NAME,
    EnrolmentError,
    Identity,
    load_credentials,
    load_identity,
    store_identity,
)


def renew(folder: Path, address: str = "") -> Identity:
    """The identity with its new certificate, in force. `address`: the collector, where it is not the enrolled one.

    Raises EnrolmentError.
    """
    identity = load_identity(folder)
    if identity is None:
        raise EnrolmentError(f"{folder}: not enrolled; enrol first: fieldwatch-agent enrol ...")
    old = load_credentials(folder)
    key = keys.make_key()
    credentials = grpc.ssl_channel_credentials(old.ca, old.key, old.certificate)
    options = (("grpc.ssl_target_name_override", TARGET_NAME), ("grpc.enable_http_proxy", 0))
    with grpc.secure_channel(address or identity.address, credentials, options) as channel:
        request = agent_pb2.RenewRequest(csr_der=keys.request_der(key, socket.gethostname()))
        try:
            reply = agent_pb2_grpc.ControlStub(channel).Renew(request, timeout=TIMEOUT_S)  # type: ignore[no-untyped-call]
        except grpc.RpcError as problem:
            raise EnrolmentError(f"{address or identity.address}: {problem.code().name}: {problem.details()}") from None
    ca = keys.der_of(old.ca)
    if reply.ca_der and reply.ca_der != ca:
        raise EnrolmentError("the collector answered with another CA; it was not trusted")
    fresh, not_before, not_after = keys.accepted(key, reply.certificate_der, ca)
    renewed = replace(identity, not_before=not_before, not_after=not_after)
    store_identity(folder, renewed, fresh)
    return renewed


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--address", default="")
    options = parser.parse_args()
    try:
        renew(options.data, options.address)
    except EnrolmentError as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
