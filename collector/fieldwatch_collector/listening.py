"""Listening sockets, and what is said where there can be none."""

from __future__ import annotations

import errno
import socket
from typing import Any

from fieldwatch_collector.config import join_address, split_address


class ServeError(Exception):
    """The server cannot run: one line with what mends it."""


class Listener(socket.socket):
    """Accepts so many connections at one time, half of them from one address; closes others at once."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._most = 0  # 0 = no limit
        self._open: list[tuple[socket.socket, str]] = []  # with the address of each

    def accept(self) -> tuple[socket.socket, Any]:
        """Raises ConnectionAbortedError where there are too many: an event loop goes on with the next one."""
        connection, address = super().accept()
        if not self._most:
            return connection, address
        self._open = [(one, host) for one, host in self._open if one.fileno() >= 0]
        of_one = sum(host == address[0] for _, host in self._open)
        if len(self._open) >= self._most or of_one >= max(1, self._most // 2):
            connection.close()
            raise ConnectionAbortedError
        self._open.append((connection, address[0]))
        return connection, address

    def bound(self, most: int) -> None:
        """Accept so many from now on."""
        self._most = most


def listening_socket(host: str, port: int) -> Listener:
    """A listening socket; raises OSError."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = Listener(family, kind, protocol)
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
