"""Why a stream ended, and whether trying again can help."""

from __future__ import annotations

import grpc

from fieldwatch_agent.enrolment.identity import ENROL_AGAIN
from fieldwatch_agent.rpc import cause

_PERMANENT = {
    grpc.StatusCode.UNIMPLEMENTED: "the collector is of another version; update the older of the two",
    grpc.StatusCode.INVALID_ARGUMENT: "the collector does not understand this agent; update the older of the two",
    grpc.StatusCode.FAILED_PRECONDITION: "the collector does not accept this agent; see its log",
}
_IDENTITY = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED}


class ShipError(Exception):
    """The peer is to blame. `permanent`: the same try will fail again until a person or a renewal mends it;
    `identity`: it is the certificate that is not accepted; `cut`: the connection was cut by who took it, which may say
    the same.
    """

    def __init__(self, text: str, *, permanent: bool, identity: bool = False, cut: bool = False) -> None:
        super().__init__(text)
        self.permanent, self.identity, self.cut = permanent, identity, cut


def explain(problem: grpc.RpcError, address: str) -> ShipError:
    """One line for a failed call: what, and what mends it."""
    code, details = problem.code(), cause(problem)
    if code in _IDENTITY:
        return ShipError(
            f"{address}: the collector refuses this agent's certificate ({details}); {ENROL_AGAIN}",
            permanent=True,
            identity=True,
        )
    if code in _PERMANENT:
        return ShipError(f"{address}: {code.name}: {details}; {_PERMANENT[code]}", permanent=True)
    if code == grpc.StatusCode.UNAVAILABLE:
        lower = details.lower()
        if "security handshaker" in lower:  # ours was not even made: the key and the certificates are no set
            text = f"the key or certificate of this agent cannot be used; {ENROL_AGAIN}"
            return ShipError(text, permanent=True, identity=True)
        if "certificate_verify_failed" in lower or "handshake" in lower or "certificate" in lower:
            return ShipError(
                f"{address}: no TLS with this collector ({details}); check the clocks of both,"
                " and that it is the collector this agent was enrolled at",
                permanent=False,
            )
        cut = "socket closed" in lower or "connection reset" in lower
        return ShipError(f"{address}: no collector answers ({details})", permanent=False, cut=cut)
    return ShipError(f"{address}: {code.name}: {details}", permanent=False)
