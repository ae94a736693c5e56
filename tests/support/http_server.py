"""The real HTTP application on a real socket of this process, for tests that talk to it as a client does."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator

import uvicorn
from fieldwatch_collector.api import create_app
from fieldwatch_collector.services import Services

START_TIMEOUT_S = 20.0


@contextlib.contextmanager
def running(services: Services, *, tls: bool = False) -> Iterator[str]:
    """Serve in a thread of its own; gives the address, such as ``http://127.0.0.1:40123``."""
    listener = socket.create_server(("127.0.0.1", 0))
    certificate, key = services.authority.page_files(["127.0.0.1"]) if tls else (None, None)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(services),
            log_config=None,
            access_log=False,
            server_header=False,
            ssl_certfile=certificate,
            ssl_keyfile=key,
        )
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="http-server")
    thread.start()
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not server.started:
            assert thread.is_alive(), "the server ended at its start"
            assert time.monotonic() < deadline, f"the server did not start within {START_TIMEOUT_S:g} s"
            time.sleep(0.01)
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        thread.join(START_TIMEOUT_S)
        listener.close()
