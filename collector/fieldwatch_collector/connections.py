"""The connections of agents: whose each is, how many one agent may have, and the end of one that must end.

A call is over for gRPC when its last octet is written. An agent that reads nothing holds it open, with whatever it has
sent and we have not read, after we are done with it and have forgotten it. So what such an agent costs is bounded by
its connections, and those are cut: the kernel ends them, whatever the agent does.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterable, Iterator
from urllib.parse import unquote

from fieldwatch_proto.logs import get_logger

from fieldwatch_collector import keepalive
from fieldwatch_collector.frequent import Frequent, counted

MOST = 8  # of one agent: it needs one or two, and over a bad link those before may not be known to be dead
Place = tuple[str, int]  # address and port of who is at the other end

log = get_logger(__name__)


class Connections:
    """Those to the agents' port; one per server, on its event loop. `port` is known once it is bound."""

    def __init__(self) -> None:
        self.port = 0
        self._agents: dict[Place, str] = {}
        self._places: dict[str, dict[Place, None]] = {}  # of each agent, the oldest first
        self._frequent = Frequent()
        self._cutting: set[asyncio.Task[None]] = set()

    def calls(self, agent_id: str, peer: str) -> None:
        """An agent calls over this connection (gRPC's name of the peer), let in or not. Its oldest one goes where it
        has too many.
        """
        place = place_of(peer)
        if place is None or self._agents.get(place) == agent_id:
            return
        self._forget(place)
        self._agents[place] = agent_id
        places = self._places.setdefault(agent_id, {})
        places[place] = None
        if len(places) > MOST:
            oldest = next(iter(places))
            self._forget(oldest)
            self._cut(oldest, agent_id, f"the agent has more than {MOST} connections")

    def cut(self, peer: str, agent_id: str, why: str) -> None:
        """End a connection for good, soon."""
        if (place := place_of(peer)) is not None:
            self._cut(place, agent_id, why)

    async def watch(self) -> None:
        """Forget those that are gone, end those that are silent, until it is cancelled. Linux."""
        while keepalive.DESCRIPTORS.exists():
            await asyncio.sleep(keepalive.LOOK_S)
            known = list(self._agents)
            try:
                found = await asyncio.to_thread(keepalive.end_silent, self.port, keepalive.SILENT_S)
            except OSError as problem:  # no descriptor is left to look with
                log.warning("cannot look for connections that are silent; trying again", problem=str(problem))
                continue
            self._keep(known, {_place(*address[:2]) for address in found})

    def _keep(self, known: Iterable[Place], open_ones: set[Place]) -> None:
        for place in known:
            if place not in open_ones:
                self._forget(place)

    def _forget(self, place: Place) -> None:
        agent_id = self._agents.pop(place, None)
        if agent_id is not None:
            places = self._places[agent_id]
            del places[place]
            if not places:
                del self._places[agent_id]

    def _cut(self, place: Place, agent_id: str, why: str) -> None:
        if times := self._frequent.due(agent_id, "cut"):
            log.info("a connection was cut", agent=agent_id, peer=place[0], reason=why, **counted(times))
        task = asyncio.create_task(asyncio.to_thread(_shut, self.port, place))
        self._cutting.add(task)
        task.add_done_callback(self._cutting.discard)


def _shut(port: int, place: Place) -> None:
    with contextlib.suppress(OSError):  # it has just ended by itself
        for connection in _those_of(port, place):
            connection.shutdown(socket.SHUT_RDWR)


def _those_of(port: int, place: Place) -> Iterator[socket.socket]:
    return (found for found in keepalive.connections(port) if _place(*found.getpeername()[:2]) == place)


def place_of(peer: str) -> Place | None:
    """Of a peer as gRPC names it: "ipv4:192.0.2.1:5000", "ipv6:%5B2001:db8::1%5D:5000"; None where it is no such."""
    family, _, rest = peer.partition(":")
    host, _, port = unquote(rest).rpartition(":")
    if family not in ("ipv4", "ipv6") or not port.isdecimal():
        return None
    try:
        return _place(host.strip("[]"), int(port))
    except ValueError:
        return None


def _place(host: str, port: int) -> Place:
    """One form for an address, however it is written."""
    address = ipaddress.ip_address(host.partition("%")[0])
    return str(getattr(address, "ipv4_mapped", None) or address), port
