"""The server's certificates, fresh at every handshake."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path

import grpc
from fieldwatch_proto.logs import get_logger

from fieldwatch_collector.config import split_address
from fieldwatch_collector.listening import ServeError
from fieldwatch_collector.services import Services

CHECK_S = 6 * 3_600.0

log = get_logger(__name__)


class Certificates:
    """One for both gRPC ports and one for HTTPS. `on_renewal` is called, in any thread, when they are others."""

    def __init__(self, services: Services) -> None:
        self._authority = services.authority
        self._config = services.config
        self._lock = threading.Lock()
        listen = services.config.listen
        self.bound = [split_address(text)[0] for text in (listen.grpc, listen.public_grpc, listen.http)]
        self.bound += services.config.tls.names
        self.on_renewal: Callable[[], None] = lambda: None
        self._files = self._authority.server_files(self.bound)
        self._page_files = self._authority.page_files(self.bound)
        self._shown = self._read()
        self._authority.on_change = self._refresh

    def _read(self) -> tuple[bytes, bytes, bytes, bytes]:
        """(key, certificate chain, roots of clients) as the next handshake takes them; and the page's chain."""
        certificate, key = self._files
        page = self._page_files[0].read_bytes()
        return key.read_bytes(), certificate.read_bytes(), self._authority.client_roots_pem(), page

    def credentials(self, clients_need_certificates: bool) -> grpc.ServerCredentials:
        """P-256, by our CA; a renewed certificate or another CA is used from the next handshake on."""
        used = self._shown

        def load() -> grpc.ServerCertificateConfiguration:
            nonlocal used
            used = self._shown
            key, chain, roots, _ = used
            return grpc.ssl_server_certificate_configuration(
                [(key, chain)], roots if clients_need_certificates else None
            )

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            return load() if used is not self._shown else None

        return grpc.dynamic_ssl_server_credentials(load(), fetch, clients_need_certificates)  # type: ignore[arg-type]

    def http_files(self) -> tuple[Path, Path]:
        """(certificate, key) for HTTPS: the user's own, or ours. Raises ServeError."""
        tls = self._config.tls
        if not tls.certificate:
            return self._page_files
        for name, path in (("tls.certificate", tls.certificate), ("tls.key", tls.key)):
            if not os.access(path, os.R_OK):
                raise ServeError(f"{name} = {path}: cannot be read; check the path and its owner")
        return Path(tls.certificate), Path(tls.key)

    async def keep_fresh(self) -> None:
        """Renew past half of the certificate's life; drop the roots of clients whose time is over."""
        while True:
            await asyncio.sleep(CHECK_S)
            await asyncio.to_thread(self._refresh)

    def _refresh(self) -> None:
        """In a worker thread."""
        with self._lock:
            self._files = self._authority.server_files(self.bound)
            self._page_files = self._authority.page_files(self.bound)
            fresh = self._read()
            if fresh != self._shown:
                self._shown = fresh
                log.info("certificates of the server renewed")
                self.on_renewal()
