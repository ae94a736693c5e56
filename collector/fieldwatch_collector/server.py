"""The running collector: what is started in which order, and stopped in the reverse.

Start: `make_data_folder` -> `admin.lock` -> `open_services` (CA, store, migrations) -> `start_projections` ->
`start_grpc` (7443 for agents, 7444 for enrolment and queries) -> `start_http` -> the admin socket -> `write_ports`.
Stop (SIGTERM, SIGINT): readiness goes, agents are told (GoAway) and their last batches acked, listeners close, the
store finishes, is checkpointed and closed. What was acked is on disk at any moment; a kill loses nothing.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import time
from collections.abc import Callable

import grpc
import grpc.aio
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1 import agent_pb2, agent_pb2_grpc, query_pb2, query_pb2_grpc
from fieldwatch_proto.version import VERSION
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fieldwatch_collector import admin, descriptors, keepalive
from fieldwatch_collector.callers import Callers
from fieldwatch_collector.config import CollectorConfig, is_loopback, join_address, split_address
from fieldwatch_collector.connections import Connections
from fieldwatch_collector.http_server import HttpServer
from fieldwatch_collector.identity.authority import server_names
from fieldwatch_collector.ingest.control import ControlService
from fieldwatch_collector.ingest.enrolment import EnrolmentService
from fieldwatch_collector.ingest.gate import Gate
from fieldwatch_collector.ingest.messages import BoundedMessages
from fieldwatch_collector.ingest.service import IngestService
from fieldwatch_collector.ingest.throttle import EnrolmentThrottle
from fieldwatch_collector.listening import ServeError, cannot_listen, listening_socket, reachable
from fieldwatch_collector.query.service import QueryService
from fieldwatch_collector.server_certificates import Certificates
from fieldwatch_collector.services import Services, make_data_folder, open_services

__all__ = ["ServeError", "Server", "serve", "show_line"]

GRACE_S = 5.0  # for the last acks of open streams at a stop

log = get_logger(__name__)


def serve(config: CollectorConfig, show: Callable[[str], None] | None) -> None:
    """Run until SIGTERM or SIGINT. `show` prints a line for people (addresses, the set-up link); None = nobody looks.

    Raises ServeError, AdminError, StoreError.
    """
    data = config.data_dir
    make_data_folder(data)
    with admin.lock(data), open_services(data, config) as services:
        asyncio.run(Server(services, show).run())


class Server:
    """One run. `ports` is complete when `ready` is set."""

    def __init__(self, services: Services, show: Callable[[str], None] | None) -> None:
        self._services = services
        self._show = show
        self._config = services.config
        self._stop = asyncio.Event()
        self.ready = asyncio.Event()
        self.ports: dict[str, int] = {}
        self.throttle = EnrolmentThrottle()
        self._tls = Certificates(services)
        self._connections = Connections()
        self._shares = descriptors.shares(descriptors.raise_limit())
        self._health = health.aio.HealthServicer()  # type: ignore[attr-defined]
        self._admin = admin.AdminServer(services)
        self._http: HttpServer | None = None
        self._grpc: list[grpc.aio.Server] = []
        self._watching: asyncio.Task[None] | None = None
        self._silence: asyncio.Task[None] | None = None

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.request_stop)
        renewing = asyncio.create_task(self._tls.keep_fresh())
        keeping = asyncio.create_task(self._services.commands.upkeep.keep())
        try:
            self.start_projections()
            await self.start_grpc()
            await self.start_http()
            await self._admin.start()
            self.write_ports()
            await asyncio.to_thread(self.announce)
            self.ready.set()
            await self._wait()
        finally:
            renewing.cancel()
            keeping.cancel()
            await self.stop()

    async def _wait(self) -> None:
        """Until a signal; or until the HTTP server ends, which it should not."""
        assert self._http is not None
        stopping = asyncio.create_task(self._stop.wait())
        await asyncio.wait({stopping, self._http.task}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not self._stop.is_set():
            self._http.task.result()
            raise ServeError("the HTTP server ended by itself; see the log")

    # Start ------------------------------------------------------------------------------------------------------

    def start_projections(self) -> None:
        """The writer projects what the last run left, and from now on what comes."""
        self._services.store.attach(self._services.projector)

    async def start_grpc(self) -> None:
        """Both ports; they answer when this returns."""
        services = self._services
        gate = Gate(services.store, self._connections.calls)
        agents = grpc.aio.server(
            interceptors=[BoundedMessages()],
            options=(*keepalive.AGENT_OPTIONS, (keepalive.MOST_CONNECTIONS, self._shares.agents)),
        )
        ingest = IngestService(
            services.store, services.hub, services.fleet, gate, self._config.limits, self._connections.cut
        )
        agent_pb2_grpc.add_IngestServicer_to_server(ingest, agents)  # type: ignore[no-untyped-call]
        self._watching = asyncio.create_task(ingest.watch())
        agent_pb2_grpc.add_ControlServicer_to_server(  # type: ignore[no-untyped-call]
            ControlService(services.store, services.hub, services.fleet, gate, services.authority, services.commands),
            agents,
        )
        self._bind(agents, "grpc", self._config.listen.grpc, clients_need_certificates=True)
        self._connections.port = self.ports["grpc"]
        self._silence = asyncio.create_task(self._connections.watch())

        public = grpc.aio.server(
            interceptors=[Callers()],
            options=(*keepalive.PUBLIC_OPTIONS, (keepalive.MOST_CONNECTIONS, self._shares.anybody)),
        )
        agent_pb2_grpc.add_EnrolmentServicer_to_server(  # type: ignore[no-untyped-call]
            EnrolmentService(
                services.store,
                services.hub,
                services.fleet,
                services.authority,
                self.throttle,
                ingest_port=self.ports["grpc"],
                approve=self._config.enrolment.approve,
            ),
            public,
        )
        query_pb2_grpc.add_QueryServicer_to_server(QueryService(services), public)  # type: ignore[no-untyped-call]
        health_pb2_grpc.add_HealthServicer_to_server(self._health, public)
        names = [
            agent_pb2.DESCRIPTOR.services_by_name["Enrolment"].full_name,
            query_pb2.DESCRIPTOR.services_by_name["Query"].full_name,
        ]
        reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], public)
        self._bind(public, "public_grpc", self._config.listen.public_grpc, clients_need_certificates=False)
        for server in self._grpc:
            await server.start()
        for name in ["", *names]:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    def _bind(self, server: grpc.aio.Server, name: str, address: str, *, clients_need_certificates: bool) -> None:
        credentials = self._tls.credentials(clients_need_certificates)
        try:
            port = server.add_secure_port(address, credentials)
        except RuntimeError:
            port = 0
        if port == 0:
            raise ServeError(cannot_listen(name, address))
        self.ports[name] = port
        self._grpc.append(server)

    async def start_http(self) -> None:
        host, port = split_address(self._config.listen.http)
        try:
            listener = listening_socket(host, port)
        except OSError as problem:
            raise ServeError(cannot_listen("http", self._config.listen.http, problem)) from None
        listener.bound(self._shares.anybody)
        self.ports["http"] = listener.getsockname()[1]
        certificate = None if is_loopback(host) else self._tls.http_files()
        self._http = HttpServer(self._services, listener, certificate)
        self._tls.on_renewal = self._http.load_certificate
        await self._http.start()

    def write_ports(self) -> None:
        """``DATA/ports.json``: the ports in use; it appears when all of them answer."""
        path = self._services.data / "ports.json"
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(self.ports) + "\n")
        draft.replace(path)

    def announce(self) -> None:
        """Say where everything is; and, as long as there is no administrator, the link that makes one."""
        listen = self._config.listen
        places = {
            name: join_address(split_address(text)[0], self.ports[name])
            for name, text in (("grpc", listen.grpc), ("public_grpc", listen.public_grpc), ("http", listen.http))
        }
        host = split_address(listen.http)[0]
        scheme = "http" if is_loopback(host) else "https"
        page = f"{scheme}://{reachable(places['http'])}"
        log.info("collector runs", version=VERSION, data=str(self._services.data), page=page, **places)
        needs_setup = self._services.accounts.needs_setup()
        if self._show is None:
            if needs_setup:
                remedy = "fieldwatch-collector user add NAME --role admin"
                log.warning("nobody can log in to the page yet", remedy=remedy)
            return
        self._show(f"page      {page}/")
        self._show(f"agents    {places['grpc']}")
        self._show(f"clients   {places['public_grpc']}")
        if not all(is_loopback(split_address(text)[0]) for text in (listen.grpc, listen.public_grpc, listen.http)):
            self._show(f"names     {' '.join(server_names(self._tls.bound))}")
        if needs_setup:
            secret = self._services.accounts.make_setup_link()
            self._show(f"set-up    {page}/#/setup/{secret}    (once, within 30 minutes)")

    # Stop -------------------------------------------------------------------------------------------------------

    def request_stop(self) -> None:
        """What the signals do."""
        self._stop.set()

    async def stop(self) -> None:
        """See the module; every step is tried whatever the one before did."""
        started = time.monotonic()
        (self._services.data / "ports.json").unlink(missing_ok=True)
        await self._health.enter_graceful_shutdown()
        self._services.fleet.close_all()
        self._services.hub.close()
        await self._admin.stop()
        if self._http is not None:
            await self._http.stop()
        await asyncio.gather(*(server.stop(GRACE_S) for server in self._grpc))
        for task in (self._watching, self._silence):
            if task is not None:
                task.cancel()
        await asyncio.to_thread(self._services.store.close)
        log.info("collector stopped", seconds=round(time.monotonic() - started, 2))


def show_line(text: str) -> None:
    """On standard output."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
