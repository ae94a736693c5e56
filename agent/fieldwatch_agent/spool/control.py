"""What other processes may ask of the agent's folder: ``spool status`` and ``spool export``.

A running daemon answers on a unix socket (0600): one JSON object in, JSON lines out, the connection's end is the end of
the answer. Without a daemon the caller takes the folder's lock and reads the file itself (see `look`).

====================  =========================================================================================
request               answer
====================  =========================================================================================
{"ask": "status"}     one object: `store_status`, check, and running, pid, state, collector, interfaces, fresh_acked_*
{"ask": "export"}     one object for each batch and gap that waits, then {"type": "end"}
{"ask": "modules"}    one list: names of the daemon's imported top-level modules (what it costs, for tests)
====================  =========================================================================================
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from fieldwatch_proto.logs import get_logger

from fieldwatch_agent.descriptors import lacks_descriptors
from fieldwatch_agent.spool.file import SOCKET_NAME
from fieldwatch_agent.spool.items import START, Batch, Gap, SpoolError
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread

TIMEOUT_S = 10.0
MAX_REQUEST_BYTES = 1024
EXPORT_ITEMS = 64
RETRY_S = 0.2
END = {"type": "end"}
NO_SPOOL = "{folder}: no spool there; it is made by: fieldwatch-agent run --data {folder}"

log = get_logger(__name__)


def store_status(store: Store) -> dict[str, Any]:
    return dict(store.status()._asdict())


def item_object(item: Batch | Gap) -> dict[str, Any]:
    """A batch or gap as JSON; the body in base64."""
    if isinstance(item, Gap):
        return {"type": "gap", **item._asdict()}
    fields = item._asdict()
    fields["digest"] = item.digest.hex()
    fields["body"] = base64.b64encode(item.body).decode("ascii")
    return {"type": "batch", **fields}


@contextlib.contextmanager
def _address(folder: Path) -> Iterator[str]:
    """The socket's path in a form that fits sun_path (108 octets) whatever the folder's name."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{fd}/{SOCKET_NAME}"
    finally:
        os.close(fd)


class ControlServer(threading.Thread):
    """Answers one connection after the other. `describe` gives the daemon's own part of the status; `short` is told
    where nobody can be answered for want of a descriptor.
    """

    def __init__(
        self,
        folder: Path,
        spool: SpoolThread,
        describe: Callable[[], dict[str, Any]],
        short: Callable[[OSError], None] = lambda problem: None,
    ) -> None:
        super().__init__(name="control", daemon=True)
        self._folder, self._spool, self._describe, self._short = folder, spool, describe, short
        self.failures = 0
        self._closing = threading.Event()
        (folder / SOCKET_NAME).unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _address(folder) as address:
            self._socket.bind(address)
        (folder / SOCKET_NAME).chmod(0o600)
        self._socket.listen(4)

    def run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError as problem:
                if lacks_descriptors(problem):  # who asks waits until there is a descriptor
                    self._short(problem)
                    self._closing.wait(RETRY_S)
                    continue
                return  # closed
            with connection:
                connection.settimeout(TIMEOUT_S)
                try:
                    self._answer(connection)
                except (OSError, ValueError, SpoolError, TimeoutError) as problem:
                    self.failures += 1
                    log.debug("a question on the control socket was not answered", problem=str(problem))

    def _answer(self, connection: socket.socket) -> None:
        request = json.loads(connection.makefile("rb").readline(MAX_REQUEST_BYTES))
        with connection.makefile("w", encoding="ascii") as out:
            if request["ask"] == "status":
                status = self._spool.call(store_status, TIMEOUT_S)
                check = self._spool.recovery.check.describe()
                out.write(json.dumps({**status, "check": check, **self._describe()}) + "\n")
            elif request["ask"] == "export":
                place = START
                while items := self._spool.call(partial(Store.peek, after=place, max_items=EXPORT_ITEMS), TIMEOUT_S):
                    for _, item in items:
                        out.write(json.dumps(item_object(item)) + "\n")
                    place = items[-1][0]
                out.write(json.dumps(END) + "\n")
            elif request["ask"] == "modules":
                out.write(json.dumps(sorted({name.partition(".")[0] for name in sys.modules})) + "\n")

    def close(self) -> None:
        self._closing.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        (self._folder / SOCKET_NAME).unlink(missing_ok=True)


def ask_daemon(folder: Path, what: str) -> Iterator[Any]:
    """The lines of the daemon's answer. Raises SpoolError where none answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(TIMEOUT_S)
        try:
            with _address(folder) as address:
                connection.connect(address)
            connection.sendall(json.dumps({"ask": what}).encode() + b"\n")
            answered = False
            with connection.makefile("rb") as stream:
                for line in stream:
                    yield json.loads(line)
                    answered = True
            if not answered and what == "status":
                raise ValueError("it said nothing")
        except (OSError, ValueError) as problem:
            raise SpoolError(f"{folder}: the running agent does not answer ({problem}); try again") from None


def read_status(folder: Path) -> dict[str, Any]:
    """The spool's status, of the running daemon or of the file. Raises SpoolError."""
    from fieldwatch_agent.spool.look import UnreadableError, closed_store  # for commands: memory of the daemon

    silent: SpoolError | None = None
    if (folder / SOCKET_NAME).exists():
        try:
            return dict(next(ask_daemon(folder, "status")))
        except SpoolError as problem:
            silent = problem
    try:
        with closed_store(folder) as store:
            if store is None:
                raise SpoolError(NO_SPOOL.format(folder=folder))
            return {**store_status(store), "running": False}
    except UnreadableError:
        raise
    except SpoolError as problem:  # somebody has the folder: the agent that did not answer
        raise (silent or problem) from None


def export_lines(folder: Path) -> Iterator[str]:
    """What waits, one JSON object a line. Raises SpoolError, also where what came is not all."""
    from fieldwatch_agent.spool.look import UnreadableError, closed_store

    silent: SpoolError | None = None
    if (folder / SOCKET_NAME).exists():
        answered = False
        try:
            for found in ask_daemon(folder, "export"):
                if found == END:
                    return
                answered = True
                yield json.dumps(found)
            silent = SpoolError(f"{folder}: the running agent broke off; this is not all that waits; try again")
        except SpoolError as problem:
            silent = problem
        if answered:
            raise silent
    try:
        with closed_store(folder) as store:
            if store is None:
                raise SpoolError(NO_SPOOL.format(folder=folder))
            place = START
            while items := store.peek(place, EXPORT_ITEMS):
                for _, item in items:
                    yield json.dumps(item_object(item))
                place = items[-1][0]
    except UnreadableError:
        raise
    except SpoolError as problem:
        raise (silent or problem) from None
