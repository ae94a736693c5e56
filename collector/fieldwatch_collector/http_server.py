"""The HTTP server: REST, WebSocket and the page, by uvicorn in the loop of the other servers."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from fieldwatch_collector.api.app import create_app
from fieldwatch_collector.listening import ServeError
from fieldwatch_collector.services import Services

GRACE_S = 3  # for open requests at a stop


class HttpServer:
    """uvicorn in our loop, on a socket of ours, without its signal handlers."""

    def __init__(self, services: Services, listener: socket.socket, certificate: tuple[Path, Path] | None) -> None:
        self._listener = listener
        self._certificate = certificate
        settings = uvicorn.Config(
            create_app(services),
            log_config=None,
            log_level="warning",
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


class _Uvicorn(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are ours."""
        yield
