"""The HTTP server: REST, WebSocket and the page, by uvicorn in the loop of the other servers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from fieldwatch_collector.api.app import create_app
from fieldwatch_collector.listening import ServeError
from fieldwatch_collector.services import Services

GRACE_S = 3  # for open requests at a stop
READ_S = 20.0  # for a request to come, its body included
WRITE_S = 60.0  # for a client to read what waits for it


class HttpServer:
    """uvicorn in our loop, on a socket of ours, without its signal handlers."""

    def __init__(self, services: Services, listener: socket.socket, certificate: tuple[Path, Path] | None) -> None:
        self._listener = listener
        self._certificate = certificate
        settings = uvicorn.Config(
            create_app(services),
            log_config=None,
            log_level="error",  # no line for each request that a stranger spoils
            http=_Http,
            access_log=False,
            lifespan="on",
            server_header=False,
            proxy_headers=False,  # else anybody on this machine says by X-Forwarded-For whom a failed login counts for
            timeout_graceful_shutdown=GRACE_S,
            ws_max_size=64 << 10,
            ssl_certfile=certificate[0] if certificate else None,
            ssl_keyfile=certificate[1] if certificate else None,
        )
        self._uvicorn = _Uvicorn(settings)
        self.task: asyncio.Task[None]

    async def start(self) -> None:
        """Returns when it answers."""
        self.task = asyncio.create_task(self._uvicorn.serve(sockets=[self._listener]))
        while not self._uvicorn.started:
            if self.task.done():
                self.task.result()
                raise ServeError("the HTTP server did not start; see the log")
            await asyncio.sleep(0.01)

    async def stop(self) -> None:
        self._uvicorn.should_exit = True
        await asyncio.wait({self.task}, timeout=GRACE_S + 5)
        self._listener.close()

    def load_certificate(self) -> None:
        """Use the renewed files for new connections."""
        if self._certificate is not None and self._uvicorn.config.ssl is not None:
            self._uvicorn.config.ssl.load_cert_chain(*self._certificate)


class _Http(H11Protocol):
    """A connection whose client neither asks nor reads without end."""

    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._wait()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._wait()  # for the next request, of which something may be here already

    def connection_lost(self, problem: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(problem)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing = self.loop.call_later(WRITE_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._writing.cancel()

    def _wait(self) -> None:
        """A request that has begun to be waited for is waited for `READ_S` in all."""
        is_websocket = self.transport.get_protocol() is not self
        if is_websocket or self.conn.their_state not in (h11.IDLE, h11.SEND_BODY):
            self._stop_waiting()
        elif self._waiting is None:
            self._waiting = self.loop.call_later(READ_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are ours."""
        yield
