"""The Python client of a collector.

    from fieldwatch_proto.client import Client

    with Client.connect("collector.example:7444", token) as client:
        for device in client.devices(since="1h"):
            print(device.name, device.ips, device.vendor)
        for event in client.watch(["device."]):
            print(event.ts, event.type, event.subject.name)

Answers are the messages of query.proto; `as_dict` gives the very object that REST serves. Lists are read a page at a
time while they are iterated. The only root of trust is the CA certificate inside the token. A client may be shared
between threads.
"""

from __future__ import annotations

import json
import random
import ssl
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from fieldwatch_proto.api_token import ApiToken, ApiTokenError
from fieldwatch_proto.query_json import as_dict
from fieldwatch_proto.v1 import query_pb2, query_pb2_grpc

__all__ = ["AccessError", "Client", "ClientError", "ConnectError", "NotFoundError", "QueryError", "as_dict"]

T = TypeVar("T")

DEFAULT_PORT = 7444
SERVER_NAME = "collector.fieldwatch.internal"  # in every collector's certificate, whatever address is dialled
TIMEOUT_S = 30.0
PAGE = 1_000
MAX_MESSAGE_BYTES = 16 << 20
RECONNECT_S = (1.0, 30.0)  # first and longest pause of a watch that lost its collector


class ClientError(Exception):
    """A call that failed: one line that says what, and how to mend it."""


class ConnectError(ClientError):
    """No collector answers there, or it is another one than the token is for."""


class AccessError(ClientError):
    """The token is not valid (any more), or its role may not do this."""


class QueryError(ClientError):
    """The question has a part that the collector does not accept."""


class NotFoundError(ClientError):
    """What was asked for by its id, or the site of a question, does not exist."""


class Client:
    """A connection to one collector; made by `connect`."""

    def __init__(self, channel: grpc.Channel, address: str, bearer: str, timeout_s: float) -> None:
        self.address = address
        self._channel = channel
        self._stub: Any = query_pb2_grpc.QueryStub(channel)  # type: ignore[no-untyped-call]
        self._metadata = (("authorization", f"Bearer {bearer}"),)
        self._timeout_s = timeout_s

    @classmethod
    def connect(cls, address: str, token: str | ApiToken, timeout_s: float = TIMEOUT_S) -> Client:
        """A client for HOST, or HOST:PORT. The first call makes the connection. Raises ClientError for a bad token."""
        try:
            parsed = token if isinstance(token, ApiToken) else ApiToken.parse(token)
            root = ssl.DER_cert_to_PEM_cert(parsed.ca_der).encode("ascii")
        except ApiTokenError as problem:
            raise AccessError(str(problem)) from None
        target = with_port(address)
        channel = grpc.secure_channel(
            target,
            grpc.ssl_channel_credentials(root_certificates=root),
            options=[
                ("grpc.ssl_target_name_override", SERVER_NAME),
                ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
                ("grpc.keepalive_time_ms", 60_000),
                ("grpc.keepalive_timeout_ms", 20_000),
                # How often a lost collector is looked for is decided in `watch`; the channel must not be slower.
                ("grpc.initial_reconnect_backoff_ms", 200),
                ("grpc.min_reconnect_backoff_ms", 200),
                ("grpc.max_reconnect_backoff_ms", 1_000),
            ],
        )
        return cls(channel, target, parsed.bearer, timeout_s)

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- questions ----------------------------------------------------------------------------------------------

    def devices(
        self, *, site: str = "", q: str = "", ordering: str = "", since: str = "", limit: int = 0
    ) -> Iterator[query_pb2.Device]:
        """Devices, the last seen first. `q`: part of a name, address, MAC or vendor. `limit` 0 = all."""
        request = query_pb2.ListDevicesRequest(site=site, q=q, ordering=ordering, since=since)
        return self._pages(self._stub.ListDevices, request, limit)

    def device(self, device_id: str) -> query_pb2.DeviceDetail:
        """One device with its interfaces, addresses, claims and newest flows. Raises NotFoundError."""
        detail: query_pb2.DeviceDetail = self._call(self._stub.GetDevice, query_pb2.GetDeviceRequest(id=device_id))
        return detail

    def flows(
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
    ) -> Iterator[query_pb2.Flow]:
        """Flow records, the newest first. Orderings are those of query.proto, "-" in front = descending."""
        request = query_pb2.ListFlowsRequest(
            site=site,
            since=since,
            until=until,
            device=device,
            ip=ip,
            port=port,
            protocol=protocol,
            application=application,
            ordering=ordering,
        )
        return self._pages(self._stub.ListFlows, request, limit)

    def top(
        self, by: str = "device", *, since: str = "", until: str = "", site: str = "", limit: int = 0
    ) -> query_pb2.TopList:
        """The largest talkers by device, ip, pair, application, protocol or port, and the bytes of all together."""
        request = query_pb2.TopFlowsRequest(by=by, since=since, until=until, site=site, limit=limit)
        found: query_pb2.TopList = self._call(self._stub.TopFlows, request)
        return found

    def events(
        self, *, site: str = "", types: Sequence[str] = (), since: str = "", until: str = "", limit: int = 0
    ) -> Iterator[query_pb2.Event]:
        """Events, the newest first. A type that ends in "." = every type with that prefix."""
        request = query_pb2.ListEventsRequest(site=site, types=types, since=since, until=until)
        return self._pages(self._stub.ListEvents, request, limit)

    def watch(
        self,
        types: Sequence[str] = (),
        *,
        site: str = "",
        since_seq: int = 0,
        reconnect: bool = True,
        lost: Callable[[ClientError], None] | None = None,
    ) -> Iterator[query_pb2.Event]:
        """Events as they come, without end; from now on, or after the number `since_seq`.

        When the collector goes away the watch calls `lost` and resumes by itself where it stood, unless `reconnect` is
        False. An event of the type "gap" says that some could not be had any more.
        """
        pause_s = RECONNECT_S[0]
        while True:
            request = query_pb2.WatchEventsRequest(types=types, site=site, since_seq=since_seq)
            stream = self._stub.WatchEvents(request, metadata=self._metadata)
            try:
                for event in stream:
                    pause_s = RECONNECT_S[0]
                    since_seq = max(since_seq, event.seq)
                    yield event
            except grpc.RpcError as problem:
                error = _error(problem, self.address)
                if not (reconnect and isinstance(error, ConnectError)):
                    raise error from None
                if lost:
                    lost(error)
            finally:
                stream.cancel()
            time.sleep(random.uniform(pause_s / 2, pause_s))  # noqa: S311 - spreads clients, hides nothing
            pause_s = min(2 * pause_s, RECONNECT_S[1])

    def agents(self, *, site: str = "", select: str = "") -> list[query_pb2.Agent]:
        """Agents by name, with their counters. `select`: an agent, or terms such as "site=hq,role=edge"."""
        request = query_pb2.ListAgentsRequest(site=site, select=select)
        return list(self._call(self._stub.ListAgents, request).results)

    def agent(self, agent: str) -> query_pb2.AgentDetail:
        """One agent by id, the beginning of one, or name: its health, and its remote settings. Raises NotFoundError."""
        detail: query_pb2.AgentDetail = self._call(self._stub.GetAgent, query_pb2.GetAgentRequest(id=agent))
        return detail

    def sites(self) -> list[query_pb2.Site]:
        """Sites by name."""
        return list(self._call(self._stub.ListSites, query_pb2.ListSitesRequest()).results)

    # --- commands and settings ----------------------------------------------------------------------------------

    def command_kinds(self) -> list[query_pb2.CommandKind]:
        """The commands there are, with their arguments and the role that each needs."""
        return list(self._call(self._stub.ListCommandKinds, query_pb2.ListCommandKindsRequest()).results)

    def run(
        self,
        name: str,
        arguments: Mapping[str, Any] | None = None,
        *,
        agents: Sequence[str] = (),
        select: str = "",
        timeout_s: int = 0,
    ) -> list[query_pb2.AgentCommand]:
        """Give agents (ids or names) a command, or those that a selector means: "*", "site=hq,role=edge".

        It returns at once; an agent that is not connected gets the command when it comes, within `timeout_s` (0 = the
        command's own).
        """
        request = query_pb2.RunCommandRequest(
            name=name, arguments=json.dumps(arguments or {}), agents=agents, select=select, timeout_s=timeout_s
        )
        return list(self._call(self._stub.RunCommand, request).results)

    def commands(
        self, *, agent: str = "", state: str = "", name: str = "", limit: int = 0
    ) -> Iterator[query_pb2.AgentCommand]:
        """Commands, the newest first. `state`: one of the states, or open, or ended."""
        request = query_pb2.ListCommandsRequest(agent=agent, state=state, name=name)
        return self._pages(self._stub.ListCommands, request, limit)

    def command(self, command_id: str) -> query_pb2.AgentCommand:
        """How it stands with one command. Raises NotFoundError."""
        found: query_pb2.AgentCommand = self._call(self._stub.GetCommand, query_pb2.GetCommandRequest(id=command_id))
        return found

    def cancel(self, command_id: str) -> query_pb2.AgentCommand:
        """Have a command end; no error where it has."""
        found: query_pb2.AgentCommand = self._call(self._stub.CancelCommand, query_pb2.GetCommandRequest(id=command_id))
        return found

    def command_file(self, command_id: str) -> Iterator[bytes]:
        """What a command made, in pieces. Raises NotFoundError."""
        stream = self._stub.ReadCommandFile(query_pb2.GetCommandRequest(id=command_id), metadata=self._metadata)
        try:
            for chunk in stream:
                yield chunk.octets
        except grpc.RpcError as problem:
            raise _error(problem, self.address) from None
        finally:
            stream.cancel()

    def tag(self, agent: str, tags: Mapping[str, str | None]) -> query_pb2.Agent:
        """Give an agent tags; None takes one away."""
        request = query_pb2.SetAgentTagsRequest(
            id=agent,
            set={key: value for key, value in tags.items() if value is not None},
            remove=[key for key, value in tags.items() if value is None],
        )
        found: query_pb2.Agent = self._call(self._stub.SetAgentTags, request)
        return found

    def settings(self) -> list[query_pb2.ConfigSetting]:
        """The remote settings of every selector, the least specific one first."""
        return list(self._call(self._stub.ListConfig, query_pb2.ListConfigRequest()).results)

    def configure(
        self,
        select: str,
        settings: Mapping[str, Mapping[str, Any]],
        unset: Sequence[str] = (),
        *,
        agents: Sequence[str] = (),
    ) -> query_pb2.SetConfigReply:
        """Set (section -> key -> value) and unset ("section.key") remote settings of the agents that are meant: by a
        selector, or, where that is empty, by ids or names.
        """
        request = query_pb2.SetConfigRequest(select=select, settings=json.dumps(settings), unset=unset, agents=agents)
        reply: query_pb2.SetConfigReply = self._call(self._stub.SetConfig, request)
        return reply

    # --- how they are asked -------------------------------------------------------------------------------------

    def _call(self, method: Callable[..., T], request: Message) -> T:
        try:
            return method(request, metadata=self._metadata, timeout=self._timeout_s)
        except grpc.RpcError as problem:
            raise _error(problem, self.address) from None

    def _pages(self, method: Callable[..., Any], request: Any, limit: int) -> Iterator[Any]:
        left = limit
        while True:
            request.page.limit = min(left, PAGE) if limit else PAGE
            answer = self._call(method, request)
            yield from answer.results
            left -= len(answer.results)
            if not answer.next or (limit and left <= 0):
                return
            request.page.cursor = answer.next


def with_port(address: str) -> str:
    """HOST:PORT as gRPC takes it; the default port where none is given. Raises ConnectError."""
    text = address.strip()
    host, colon, port = text.rpartition(":")
    if text.startswith("["):
        if text.endswith("]"):
            host, port = text, str(DEFAULT_PORT)
    elif not colon or ":" in host:  # no port, or a bare IPv6 address
        host, port = (f"[{text}]" if colon else text), str(DEFAULT_PORT)
    if not host or host == "[]" or "/" in host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65_536):
        raise ConnectError(f"{address!r:.80} is no address; give HOST:{DEFAULT_PORT}")
    return f"{host}:{port}"


def _error(problem: grpc.RpcError, address: str) -> ClientError:
    code, details = problem.code(), " ".join((problem.details() or "").split())
    if code is grpc.StatusCode.UNAVAILABLE:
        if "CERTIFICATE_VERIFY_FAILED" in details:
            return ConnectError(
                f"{address} is not the collector that the token was made on (its certificate has another root);"
                " check the address, or make a token there"
            )
        return ConnectError(f"no collector answers at {address}; is it running, and is the port its 7444? ({details})")
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ConnectError(f"{address} did not answer in time; try again, or ask for less with --since or --limit")
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        return AccessError(details)
    if code is grpc.StatusCode.INVALID_ARGUMENT:
        return QueryError(details)
    if code is grpc.StatusCode.NOT_FOUND:
        return NotFoundError(details)
    return ClientError(f"{address}: {code.name.lower().replace('_', ' ')}: {details}")
