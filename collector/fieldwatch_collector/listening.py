"""Listening sockets, and what is said where there can be none."""

from __future__ import annotations

import errno
import socket

from fieldwatch_collector.config import join_address, split_address


class ServeError(Exception):
    """The server cannot run: one line with what mends it."""


def listening_socket(host: str, port: int) -> socket.socket:
    """A listening socket; raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1_024)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def cannot_listen(name: str, address: str, problem: OSError | None = None) -> str:
    """gRPC does not say why it cannot bind; a socket of ours does."""
    if problem is None:
        try:
            listening_socket(*split_address(address)).close()
        except OSError as found:
            problem = found
    why = problem.strerror if problem is not None and problem.strerror else "the address cannot be used"
    flag = f"--{name.replace('_', '-')}"
    busy = problem is not None and problem.errno == errno.EADDRINUSE
    remedy = "stop what uses it, or give another" if busy else "give an address of this machine"
    return f"cannot listen on {address}: {why}; {remedy} with {flag} HOST:PORT"


def reachable(address: str) -> str:
    """An address that a browser on this machine can open."""
    host, port = split_address(address)
    return join_address({"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host), port)  # noqa: S104 - compared
