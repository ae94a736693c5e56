"""The questions of query.proto as methods, each on a read-only connection of its own."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from fieldwatch_collector.read_model import agents, devices, events, fleet, flows, traffic
from fieldwatch_collector.read_model.decisions import Decisions

Answer = dict[str, Any]


class Store(Protocol):
    """What this module needs of the collector's store."""

    def reader(self) -> AbstractContextManager[sqlite3.Connection]: ...


class ReadModel:
    """Thread-safe; every method blocks for the time of its query, so call it in a thread, not on the event loop.

    Arguments are the fields of the requests of query.proto, with a page's `limit` and `cursor` beside them; a bad one
    raises BadRequest, and a site or device that there is not NotFound. `clock` gives nanoseconds since the epoch.
    """

    def __init__(self, store: Store, clock: Callable[[], int] = time.time_ns) -> None:
        self._store = store
        self._clock = clock
        self._decisions = Decisions()

    @contextmanager
    def _reader(self, site: str) -> Iterator[sqlite3.Connection]:
        """A connection for a question about one site, or about all where it is empty."""
        with self._store.reader() as connection:
            if site:
                fleet.require_site(connection, site)
            yield connection

    def require_site(self, site: str) -> None:
        """For whoever asks the event hub: raises NotFound as the questions here do. An empty one is every site."""
        with self._reader(site):
            pass

    def list_devices(
        self,
        *,
        site: str = "",
        q: str = "",
        ordering: str = "",
        since: str = "",
        limit: int = 0,
        cursor: str = "",
    ) -> Answer:
        """``{results, next, count}``."""
        with self._reader(site) as connection:
            return devices.list_devices(
                connection,
                self._clock(),
                site=site,
                q=q,
                ordering=ordering,
                since=since,
                limit=limit,
                cursor=cursor,
            )

    def get_device(self, device_id: str) -> Answer | None:
        """``{device, interfaces, addresses, claims, recent_flows}``; None where there is no such device."""
        with self._store.reader() as connection:
            return devices.get_device(connection, device_id)

    def list_flows(
        self,
        *,
        site: str = "",
        since: str = "",
        until: str = "",
        device: str = "",
        ip: str = "",
        port: int = 0,
        protocol: str = "",
        application: str = "",
        ordering: str = "",
        limit: int = 0,
        cursor: str = "",
    ) -> Answer:
        """``{results, next}``."""
        with self._reader(site) as connection:
            found = flows.list_flows(
                connection,
                self._clock(),
                site=site,
                since=since,
                until=until,
                device=device,
                ip=ip,
                port=port,
                protocol=protocol,
                application=application,
                ordering=ordering,
                limit=limit,
                cursor=cursor,
            )
            if device and not found["results"]:
                devices.require_device(connection, self._clock(), device)
            return found

    def top_flows(self, *, by: str = "", since: str = "", until: str = "", site: str = "", limit: int = 0) -> Answer:
        """``{results, total_bytes}``; by device, ip, pair, application, protocol or port."""
        with self._reader(site) as connection:
            return traffic.top_flows(connection, self._clock(), by=by, since=since, until=until, site=site, limit=limit)

    def flow_series(
        self,
        *,
        by: str = "",
        since: str = "",
        until: str = "",
        site: str = "",
        limit: int = 0,
        step_s: int = 0,
    ) -> Answer:
        """``{step_s, start, series: [{key, label, values}]}``: bytes per bucket, for charts."""
        with self._reader(site) as connection:
            return traffic.flow_series(
                connection,
                self._clock(),
                by=by,
                since=since,
                until=until,
                site=site,
                limit=limit,
                step_s=step_s,
            )

    def list_events(
        self,
        *,
        site: str = "",
        types: Sequence[str] = (),
        since: str = "",
        until: str = "",
        limit: int = 0,
        cursor: str = "",
    ) -> Answer:
        """``{results, next}``, newest first."""
        with self._reader(site) as connection:
            return events.list_events(
                connection,
                self._clock(),
                site=site,
                types=types,
                since=since,
                until=until,
                limit=limit,
                cursor=cursor,
            )

    def events_after(self, seq: int, limit: int) -> list[Answer]:
        """The history that the event hub resumes from."""
        with self._store.reader() as connection:
            return events.events_after(connection, seq, limit)

    def list_agents(self, *, site: str = "", select: str = "") -> Answer:
        """``{results}``. `select`: "*", an agent, or terms such as "site=hq,role=edge"."""
        with self._reader(site) as connection:
            return agents.list_agents(connection, self._clock(), site=site, select=select)

    def get_agent(self, agent: str) -> Answer:
        """``{agent, health, config}`` of an agent by id, the beginning of one, or name."""
        with self._store.reader() as connection:
            return agents.get_agent(connection, self._clock(), agent)

    def list_metrics(self) -> list[Answer]:
        """``[{agent, site, name, labels, total}]``: what agents report of themselves."""
        with self._store.reader() as connection:
            return fleet.list_metrics(connection)

    def decisions(self) -> dict[str, int]:
        """How often agents were enrolled, recovered, revoked and refused: see `decisions.DECISIONS`."""
        with self._store.reader() as connection:
            return self._decisions.count(connection)

    def list_sites(self) -> Answer:
        """``{results}``."""
        with self._store.reader() as connection:
            return fleet.list_sites(connection)

    def status(self) -> Answer:
        """What is held, who reports, how far the projections are, what was lost."""
        with self._store.reader() as connection:
            return fleet.status(connection, self._clock())
