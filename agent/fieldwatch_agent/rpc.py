"""What gRPC says of a failed call, as a person would say it."""

from __future__ import annotations

import re

import grpc

MAX_TEXT = 200
# gRPC names each address that it tried and each step of its own on the way to the cause.
_CAUSE = re.compile(r"(?:Failed to connect to remote host|address lookup failed for \S+): ([^:\]]+)\]?$")


def cause(problem: grpc.RpcError) -> str:
    """One line: "Connection refused", "Domain name not found", or what the other side said."""
    text = " ".join((problem.details() or "").split())
    found = _CAUSE.search(text)
    return (found[1] if found else text)[:MAX_TEXT]
