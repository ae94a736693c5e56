"""Operations on a collector's data, with or without a running server on it.

Who may write to the store is decided by one lock:

- `serve` holds ``flock(DATA/lock)`` as long as it runs and answers on the unix socket ``DATA/admin.sock`` (0600).
- A command calls `call(data, name, arguments)`. Where a server holds the lock, the server runs the operation and
  answers over the socket; where the lock is free, the very same function runs in this process, under the lock.

An *operation* is a function ``(Services, arguments) -> JSON value``, registered by name::

    @operation("token.list")
    def list_tokens(services: Services, arguments: Mapping[str, Any]) -> list[dict[str, Any]]: ...

It runs in a worker thread (never on the server's event loop), so it may block: read with ``services.store.reader()``,
write with ``services.store.transact_sync(fn)``. It raises `AdminError` with one line for people. A module that
registers operations must be named in `OPERATION_MODULES`: that is how both sides load it. Who asked is `actor()`.

On the socket: one request and one reply a line, as JSON. ``{"operation": name, "arguments": {...}}`` is answered by
``{"result": value}`` or ``{"error": "one line"}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import importlib
import json
import os
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwatch_proto.logs import get_logger

from fieldwatch_collector.store import StoreError

if TYPE_CHECKING:
    from fieldwatch_collector.services import Services

OPERATION_MODULES = (
    "fieldwatch_collector.accounts.operations",
    "fieldwatch_collector.audit.operations",
    "fieldwatch_collector.commands.operations",
    "fieldwatch_collector.identity.ca_operations",
    "fieldwatch_collector.identity.operations",
    "fieldwatch_collector.store.operations",
)

MAX_LINE_BYTES = 4 << 20
CALL_TIMEOUT_S = 600.0  # a rebuild of a large store takes minutes
START_TIMEOUT_S = 10.0  # who holds the lock answers on the socket within this time, or is stopping

log = get_logger(__name__)


class AdminError(Exception):
    """An operation that cannot be done: one line, with what mends it."""


class ArgumentError(AdminError):
    """An argument is not what the operation accepts: the command was used wrongly."""


Operation = Callable[["Services", Mapping[str, Any]], Any]
_operations: dict[str, Operation] = {}


def operation(name: str) -> Callable[[Operation], Operation]:
    """Register a function under a name such as "token.create"."""

    def register(function: Operation) -> Operation:
        _operations[name] = function
        return function

    return register


def actor() -> str:
    """Who asked for the operation that runs here, for the audit log: ``local:UID`` of the command's user.

    Ask before the work is handed to the store: its thread knows nothing of it.
    """
    uid = _asking_uid.get()
    return f"local:{os.getuid() if uid is None else uid}"


_asking_uid: ContextVar[int | None] = ContextVar("asking_uid", default=None)


def run(services: Services, name: str, arguments: Mapping[str, Any]) -> Any:
    """Run an operation in this process. Raises AdminError, also for a store that cannot do its work now."""
    for module in OPERATION_MODULES:
        importlib.import_module(module)
    function = _operations.get(name)
    if function is None:
        raise AdminError(f"the collector knows no operation {name!r}; is it an older version than this command?")
    try:
        return function(services, arguments)
    except StoreError as problem:
        raise AdminError(str(problem)) from None


def call(data: Path, name: str, arguments: Mapping[str, Any] | None = None, *, config: Any = None) -> Any:
    """Run an operation on the data folder, in the server where one runs, else here. Raises AdminError.

    `config` is the CollectorConfig for the second case; None = the defaults.
    """
    if not data.is_dir():
        raise AdminError(f"{data}: no such data folder; start once with: fieldwatch-collector serve --data {data}")
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            with lock(data):
                return _run_here(data, name, arguments or {}, config)
        except DataInUseError:
            pass
        try:
            return _ask_server(data, name, arguments or {})
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > deadline:
                raise AdminError(f"a collector holds {data} but does not answer; wait for it, or stop it") from None
            time.sleep(0.05)


class DataInUseError(AdminError):
    """Another process holds the data folder."""


@contextlib.contextmanager
def lock(data: Path) -> Iterator[None]:
    """Hold the data folder alone. Raises DataInUseError where another process does."""
    descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DataInUseError(f"{data}: in use by another collector; stop it, or give another --data") from None
        yield
    finally:
        os.close(descriptor)


def _run_here(data: Path, name: str, arguments: Mapping[str, Any], config: Any) -> Any:
    from fieldwatch_collector.services import open_services

    with open_services(data, config) as services:
        return run(services, name, arguments)


def _ask_server(data: Path, name: str, arguments: Mapping[str, Any]) -> Any:
    request = json.dumps({"operation": name, "arguments": dict(arguments)}) + "\n"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, _address(data) as address:
        connection.settimeout(CALL_TIMEOUT_S)
        try:
            connection.connect(address)
            connection.sendall(request.encode())
            with connection.makefile("rb") as stream:
                line = stream.readline(MAX_LINE_BYTES)
        except TimeoutError:
            raise AdminError(f"the collector did not answer within {CALL_TIMEOUT_S:g} s") from None
        except (BrokenPipeError, ConnectionResetError):
            line = b""
    if not line.endswith(b"\n"):
        raise AdminError("the collector stopped before it answered; see its log")
    reply = json.loads(line)
    if "error" in reply:
        raise (ArgumentError if reply.get("usage") else AdminError)(reply["error"])
    return reply["result"]


@contextlib.contextmanager
def _address(data: Path) -> Iterator[str]:
    """A name of the socket that is short enough: sun_path holds 107 octets, a data folder may lie deeper."""
    descriptor = os.open(data, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/admin.sock"
    finally:
        os.close(descriptor)


class AdminServer:
    """The socket's side in the server; start it with the lock held."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._server: asyncio.AbstractServer | None = None

    async def start(self) -> None:
        data = self._services.data
        (data / "admin.sock").unlink(missing_ok=True)  # left by a killed server; the lock says that it is gone
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _address(data) as address:
            listener.bind(address)
        (data / "admin.sock").chmod(0o600)
        listener.listen(16)
        self._server = await asyncio.start_unix_server(self._serve, sock=listener, limit=MAX_LINE_BYTES)

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        await self._server.wait_closed()
        (self._services.data / "admin.sock").unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        _asking_uid.set(_uid_of(writer))
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(line)).encode() + b"\n")
                await writer.drain()
        except (ConnectionError, ValueError):  # ValueError: a line over the limit
            pass
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            request = json.loads(line)
            name, arguments = request["operation"], request["arguments"]
        except (ValueError, KeyError, TypeError):
            return {"error": "the request is not one JSON object with operation and arguments"}
        try:
            return {"result": await asyncio.to_thread(run, self._services, name, arguments)}
        except AdminError as problem:
            return {"error": str(problem), "usage": isinstance(problem, ArgumentError)}
        except Exception as problem:
            log.exception("an operation failed", operation=str(name))
            return {"error": f"{name} failed: {problem.__class__.__name__}: {problem}"}


def _uid_of(writer: asyncio.StreamWriter) -> int:
    """The user at the other end of a unix socket, as the kernel says (unix(7), SO_PEERCRED)."""
    credentials = struct.Struct("3i")
    peer = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    return int(credentials.unpack(peer)[1])
