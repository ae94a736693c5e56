"""A real collector as a process, asked over real TLS by the client library and by the `fieldwatch` command."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import socket
import sqlite3
import ssl
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from fieldwatch_collector.identity.authority import Authority
from fieldwatch_collector.read_model import devices, flows
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_proto.api_token import ApiToken
from fieldwatch_proto.client import SERVER_NAME, AccessError, Client, ConnectError, NotFoundError, QueryError, as_dict
from fieldwatch_proto.v1 import query_pb2, query_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from support.filled_store import agent_id, device_id, fill
from support.stack import Collector, wait_for

Command = Callable[..., subprocess.CompletedProcess[str]]

DEVICES = 1_200  # more than one page


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    """A collector on a filled database."""
    running = Collector(tmp_path_factory.mktemp("query") / "collector")
    store = SqliteStore(running.data / "collector.db")
    store.migrate()
    store.transact_sync(
        lambda connection: fill(connection, time.time_ns(), devices=DEVICES, flows=300, sites=("hq", "branch"))
    )
    store.close()
    running.start()
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def token(collector: Collector) -> ApiToken:
    line = collector.call("api-token", "create", "tests", "--data", str(collector.data))
    return ApiToken.parse(line)


@pytest.fixture
def client(collector: Collector, token: ApiToken) -> Iterator[Client]:
    with Client.connect(address_of(collector), token) as connected:
        yield connected


@pytest.fixture
def fieldwatch(
    collector: Collector, token: ApiToken, tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the command as a process whose credentials come from the environment."""
    environ = environment(collector, token, tmp_path)

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60, env=environ | variables)

    return run


def address_of(collector: Collector) -> str:
    return f"127.0.0.1:{collector.ports['public_grpc']}"


def environment(collector: Collector, token: ApiToken, folder: Path) -> dict[str, str]:
    token_file = folder / "token"
    token_file.write_text(token.text() + "\n")
    return {
        **os.environ,
        "FIELDWATCH_COLLECTOR": address_of(collector),
        "FIELDWATCH_API_TOKEN_FILE": str(token_file),
        "XDG_CONFIG_HOME": str(folder / "config"),
    }


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "fieldwatch_proto.cli.main", *arguments]


def stored(collector: Collector, ask: Callable[[sqlite3.Connection], Any]) -> Any:
    """What the read model says to the same question, straight from the file."""
    with closing(sqlite3.connect(f"file:{collector.data / 'collector.db'}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        return ask(connection)


def secure_channel(collector: Collector, token: ApiToken) -> grpc.Channel:
    root = ssl.DER_cert_to_PEM_cert(token.ca_der).encode()
    return grpc.secure_channel(
        address_of(collector),
        grpc.ssl_channel_credentials(root),
        options=[("grpc.ssl_target_name_override", SERVER_NAME)],
    )


# --- the library -----------------------------------------------------------------------------------------------------


def test_the_library_reads_every_page(collector: Collector, client: Client) -> None:
    """1,200 devices arrive once each, in order, as the very objects that the read model makes."""
    expected: list[dict[str, Any]] = []
    cursor = ""
    while True:
        answer = stored(
            collector,
            lambda connection, cursor=cursor: devices.list_devices(
                connection, time.time_ns(), ordering="name", limit=1_000, cursor=cursor
            ),
        )
        expected += answer["results"]
        cursor = answer["next"]
        if not cursor:
            break
    found = [as_dict(device) for device in client.devices(ordering="name")]

    assert len(found) == DEVICES
    assert found == expected


def test_the_library_asks_every_question(collector: Collector, client: Client) -> None:
    """Flows, one device, top, events, agents and sites: the same values over TLS as in the file."""
    detail = as_dict(client.device(device_id(2)))
    listed = [as_dict(flow) for flow in client.flows(protocol="udp", limit=20)]

    assert detail == stored(collector, lambda connection: devices.get_device(connection, device_id(2)))
    assert (
        listed
        == stored(
            collector,
            lambda connection: flows.list_flows(connection, time.time_ns(), protocol="udp", limit=20),
        )["results"]
    )
    assert client.top("protocol").total_bytes == sum(row.bytes for row in client.top("protocol").results)
    assert len(list(client.flows())) == 300
    assert {event.type for event in client.events(types=["device."], limit=1_100)} == {"device.discovered"}
    assert [agent.name for agent in client.agents()] == ["pi-branch", "pi-hq"]
    assert [(site.name, site.devices) for site in client.sites()] == [("branch", 600), ("hq", 600)]


def test_the_library_tells_what_went_wrong(
    collector: Collector, client: Client, token: ApiToken, tmp_path: Path
) -> None:
    """A class for each kind of failure, one line each."""
    stranger = replace(token, ca_der=Authority.open(tmp_path).ca_der)
    address = address_of(collector)
    hanging_up = hang_up_on_everybody()
    cases: list[tuple[type[Exception], str, Callable[[], Any]]] = [
        (QueryError, "since: 'x' is no time", lambda: list(client.devices(since="x"))),
        (NotFoundError, "no device 'nope'", lambda: client.device("nope")),
        (AccessError, "no valid API token", lambda: Client.connect(address, other(token)).sites()),
        (
            ConnectError,
            "not the collector that the token",
            lambda: Client.connect(address, stranger).sites(),
        ),
        (ConnectError, "no collector answers", lambda: Client.connect("127.0.0.1:9", token).sites()),
        (ConnectError, "no collector answers", lambda: Client.connect(hanging_up, token).sites()),
        (ConnectError, "is no address", lambda: Client.connect("https://127.0.0.1", token)),
        (AccessError, "no API token", lambda: Client.connect("127.0.0.1", "hello")),
    ]
    for kind, words, call in cases:
        with pytest.raises(kind, match=words) as raised:
            call()

        assert "\n" not in str(raised.value)


def hang_up_on_everybody() -> str:
    """The address of a port that ends each connection at once, as one does that has too many."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run() -> None:
        while True:
            listener.accept()[0].close()

    threading.Thread(target=run, daemon=True).start()
    return f"127.0.0.1:{listener.getsockname()[1]}"


def other(token: ApiToken) -> ApiToken:
    return replace(token, secret="x" * len(token.secret))


def test_a_call_without_a_token_is_refused(collector: Collector, token: ApiToken) -> None:
    """Every rpc of the service, the stream included."""
    requests = {
        "ListDevices": query_pb2.ListDevicesRequest(),
        "GetDevice": query_pb2.GetDeviceRequest(id=device_id(1)),
        "ListFlows": query_pb2.ListFlowsRequest(),
        "TopFlows": query_pb2.TopFlowsRequest(),
        "ListEvents": query_pb2.ListEventsRequest(),
        "WatchEvents": query_pb2.WatchEventsRequest(),
        "ListAgents": query_pb2.ListAgentsRequest(),
        "ListSites": query_pb2.ListSitesRequest(),
        "GetAgent": query_pb2.GetAgentRequest(id=agent_id(0)),
        "SetAgentTags": query_pb2.SetAgentTagsRequest(id=agent_id(0), remove=["role"]),
        "ListCommandKinds": query_pb2.ListCommandKindsRequest(),
        "RunCommand": query_pb2.RunCommandRequest(name="reload", select="*"),
        "ListCommands": query_pb2.ListCommandsRequest(),
        "GetCommand": query_pb2.GetCommandRequest(id="x"),
        "CancelCommand": query_pb2.GetCommandRequest(id="x"),
        "ReadCommandFile": query_pb2.GetCommandRequest(id="x"),
        "ListConfig": query_pb2.ListConfigRequest(),
        "SetConfig": query_pb2.SetConfigRequest(select="*", settings='{"a":{"b":1}}'),
    }
    codes = {}
    with secure_channel(collector, token) as channel:
        stub = query_pb2_grpc.QueryStub(channel)
        for name, request in requests.items():
            with pytest.raises(grpc.RpcError) as raised:
                list(getattr(stub, name)(request, timeout=10))
            codes[name] = raised.value.code()  # type: ignore[attr-defined]

    assert set(requests) == set(query_pb2.DESCRIPTOR.services_by_name["Query"].methods_by_name)
    assert codes == dict.fromkeys(requests, grpc.StatusCode.UNAUTHENTICATED)


def test_a_revoked_token_is_refused_at_once(collector: Collector) -> None:
    """The command that revokes it works beside the running server."""
    data = ("--data", str(collector.data))
    line = collector.call("api-token", "create", "short-lived", *data)
    token = ApiToken.parse(line)
    with Client.connect(address_of(collector), token) as client:
        assert client.sites()

        collector.call("api-token", "revoke", token.token_id, *data)

        with pytest.raises(AccessError, match="no valid API token"):
            client.sites()
    listed = json.loads(collector.call("api-token", "list", "-o", "json", *data))
    assert [bool(found["revoked"]) for found in listed if found["id"] == token.token_id] == [True]


def test_reflection_and_health_answer(collector: Collector, token: ApiToken) -> None:
    """A general gRPC tool finds the service and every method; a load balancer sees that it serves."""
    with secure_channel(collector, token) as channel:
        reflection = ProtoReflectionDescriptorDatabase(channel)
        services = set(reflection.get_services())
        described = reflection.FindFileContainingSymbol("fieldwatch.v1.Query")
        health = health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(service="fieldwatch.v1.Query"), timeout=10
        )

    assert {"fieldwatch.v1.Query", "fieldwatch.v1.Enrolment", "grpc.health.v1.Health"} <= services
    assert {method.name for service in described.service for method in service.method} == set(
        query_pb2.DESCRIPTOR.services_by_name["Query"].methods_by_name
    )
    assert health.status == health_pb2.HealthCheckResponse.SERVING


# --- watching --------------------------------------------------------------------------------------------------------


class Watcher:
    """A watch in a thread of its own; what came, and the failures that it got over."""

    def __init__(self, client: Client, **arguments: Any) -> None:
        self.seen: list[query_pb2.Event] = []
        self.lost: list[Exception] = []
        self.ended: Exception | None = None
        self._client, self._arguments = client, arguments
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for event in self._client.watch(lost=self.lost.append, **self._arguments):
                self.seen.append(event)
        except Exception as problem:
            self.ended = problem

    def names(self) -> list[str]:
        return [event.subject.name for event in self.seen]


def rename(collector: Collector, name: str) -> None:
    collector.call("agents", "rename", agent_id(0), name, "--data", str(collector.data))


def newest(client: Client) -> int:
    return next(client.events(limit=1)).seq


@pytest.mark.slow
def test_a_watch_resumes_where_it_stood_when_the_collector_comes_back(collector: Collector, client: Client) -> None:
    """Events before, during and after a restart arrive once each and in order."""
    watcher = Watcher(client, types=["agent."], since_seq=newest(client))
    rename(collector, "one")
    wait_for(lambda: watcher.names() == ["one"], "the first event")
    collector.kill()
    rename(collector, "two")  # no server runs: the command does it by itself
    collector.start()
    rename(collector, "three")
    wait_for(lambda: len(watcher.seen) >= 3, "the events of the time between")
    rename(collector, "pi-hq")
    wait_for(lambda: len(watcher.seen) >= 4, "an event after the restart")

    assert watcher.names() == ["one", "two", "three", "pi-hq"]
    assert [event.seq for event in watcher.seen] == list(range(watcher.seen[0].seq, watcher.seen[0].seq + 4))
    assert len(watcher.lost) >= 1
    assert watcher.ended is None


def test_a_watch_from_a_number_that_never_was_begins_with_a_gap(client: Client) -> None:
    """The envelope of a gap has no number, and says what it is in its data."""
    first = next(client.watch(since_seq=10_000_000))

    assert (first.type, first.seq, json.loads(first.data)["reason"]) == ("gap", 0, "unknown")


# --- the command -----------------------------------------------------------------------------------------------------


def test_login_keeps_the_token_for_this_user_alone(collector: Collector, token: ApiToken, tmp_path: Path) -> None:
    """Checked first, stored with mode 0600, used by the next command; a wrong token is not stored."""
    environ = {key: value for key, value in os.environ.items() if not key.startswith("FIELDWATCH_")}
    environ["XDG_CONFIG_HOME"] = str(tmp_path)
    credentials = tmp_path / "fieldwatch" / "credentials.json"

    def run(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(command(*arguments), capture_output=True, text=True, input=stdin, env=environ, timeout=60)

    before = run("sites", "ls")
    wrong = run("login", address_of(collector), "--token-file", "-", stdin=other(token).text())
    assert not credentials.exists()
    good = run("login", address_of(collector), "--token-file", "-", stdin=token.text() + "\n")
    after = run("sites", "ls", "-o", "json")

    assert (before.returncode, before.stderr.count("\n")) == (2, 1)
    assert "fieldwatch login HOST:7444" in before.stderr
    assert (wrong.returncode, "no valid API token" in wrong.stderr) == (1, True)
    assert (good.returncode, good.stdout) == (0, "")
    assert token.secret not in good.stderr + wrong.stderr
    assert stat.S_IMODE(credentials.stat().st_mode) == 0o600
    assert [site["name"] for site in json.loads(after.stdout)] == ["branch", "hq"]


def test_devices_are_listed_in_four_forms(client: Client, fieldwatch: Command) -> None:
    """json and ndjson are the objects of REST; csv and the table show columns; filters reach the collector."""
    expected = [as_dict(device) for device in client.devices(site="branch", q="printer-1", ordering="name")]
    asked = ("devices", "ls", "--site", "branch", "-q", "printer-1", "--ordering", "name", "-o")
    answers = {form: fieldwatch(*asked, form).stdout for form in ("json", "ndjson", "csv", "table")}
    table = answers["table"].splitlines()

    assert len(expected) > 5
    assert json.loads(answers["json"]) == expected
    assert [json.loads(line) for line in answers["ndjson"].splitlines()] == expected
    assert [row["id"] for row in csv.DictReader(io.StringIO(answers["csv"]))] == [device["id"] for device in expected]
    assert table[0].split()[:3] == ["NAME", "IP", "MAC"]
    assert [line.split()[0] for line in table[1:]] == [device["name"] for device in expected]


def test_a_device_is_shown_by_any_of_its_names(fieldwatch: Command) -> None:
    """By id, name, address or MAC in any writing; what is not there, or not one, is told."""
    shown = {
        text: json.loads(fieldwatch("devices", "show", text, "-o", "json").stdout)["device"]["id"]
        for text in (device_id(4), "nas-5", "10.10.0.5", "00-11-32-00-00-04")
    }
    people = fieldwatch("devices", "show", "NAS-5")
    nobody = fieldwatch("devices", "show", "nas-")

    assert set(shown.values()) == {device_id(4)}
    assert [word for word in ("interfaces", "addresses", "claims", "hostname") if word not in people.stdout] == []
    assert (nobody.returncode, nobody.stdout) == (1, "")
    assert "no device is called 'nas-'" in nobody.stderr


def test_flows_agents_sites_and_events_are_listed(fieldwatch: Command) -> None:
    """Every list of the command against a real collector."""
    flows = [json.loads(line) for line in fieldwatch("flows", "ls", "--port", "53", "-o", "ndjson").stdout.splitlines()]
    ssh = csv.DictReader(io.StringIO(fieldwatch("flows", "ls", "--application", "ssh", "-o", "csv").stdout))
    rtts = {(int(flow["server_rtt_us"]) > 0, flow["client_rtt_us"]) for flow in ssh}
    worst = fieldwatch("flows", "ls", "--ordering=-retransmits", "--limit", "20").stdout.splitlines()
    top = json.loads(fieldwatch("flows", "top", "--by", "application", "--limit", "3", "-o", "json").stdout)
    table = fieldwatch("flows", "top", "--by", "protocol").stdout.splitlines()
    agents = list(csv.DictReader(io.StringIO(fieldwatch("agents", "ls", "-o", "csv").stdout)))
    events = json.loads(fieldwatch("events", "ls", "--type", "device.", "--limit", "5", "-o", "json").stdout)

    assert flows
    assert {53 in (flow["src_port"], flow["dst_port"]) for flow in flows} == {True}
    assert rtts == {(True, "")}
    assert worst[0].split()[:2] == ["RETRANSMITS", "LAST"]
    assert int(worst[1].split()[0]) >= int(worst[20].split()[0]) > 0
    assert len(top) == 3
    assert table[0].split() == ["WHAT", "BYTES", "SHARE", "PACKETS", "FLOWS"]
    assert [agent["site"] for agent in agents] == ["branch", "hq"]
    assert [event["data"] for event in events] == [{}] * 5


def test_bad_arguments_end_with_exit_code_2_and_failures_with_1(fieldwatch: Command) -> None:
    """One line on standard error each, nothing on standard output."""
    cases = [
        (2, ("devices", "ls", "--since", "yesterday"), {}),
        (2, ("flows", "ls", "--ip", "10.0.0"), {}),
        (2, ("flows", "top", "--by", "mac"), {}),
        (2, ("device", "ls"), {}),
        (1, ("devices", "ls", "--site", "hqq"), {}),
        (1, ("agents", "ls", "--site", "hqq"), {}),
        (1, ("events", "watch", "--site", "hqq"), {}),
        (1, ("flows", "ls", "--device", "nas-5"), {}),
        (1, ("sites", "ls"), {"FIELDWATCH_COLLECTOR": "127.0.0.1:9"}),
        (1, ("sites", "ls"), {"FIELDWATCH_API_TOKEN_FILE": "/nonexistent"}),
    ]
    for code, arguments, environ in cases:
        done = fieldwatch(*arguments, **environ)

        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1), (arguments, done)


def test_events_are_watched_until_interrupted(collector: Collector, token: ApiToken, tmp_path: Path) -> None:
    """Each event is a line at once; Ctrl-C ends with 130."""
    first = int(collector.ask("SELECT max(seq) FROM event")[0][0])
    process = subprocess.Popen(
        command("events", "watch", "--type", "agent.", "--since-seq", str(first), "-o", "ndjson"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(collector, token, tmp_path),
    )
    assert process.stdout is not None
    try:
        rename(collector, "watched")
        event = json.loads(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        code = process.wait(20)
    finally:
        process.kill()
        process.communicate()
    rename(collector, "pi-hq")

    assert (event["seq"], event["subject"]["name"], event["site"]) == (first + 1, "watched", "hq")
    assert code == 130


def test_people_are_managed_beside_the_running_server(collector: Collector) -> None:
    """user add, passwd, role, list and login-link; the password comes from standard input."""
    data = ("--data", str(collector.data))
    collector.call("user", "add", "chief", "--role", "admin", *data, stdin="correct horse\n")
    collector.call("user", "add", "guest", *data, stdin="battery staple\n")
    collector.call("user", "passwd", "guest", *data, stdin="another secret\n")
    collector.call("user", "role", "guest", "operator", *data)
    listed = json.loads(collector.call("user", "list", "-o", "json", *data))
    link = collector.call("user", "login-link", *data).strip()
    refused = subprocess.run(
        collector.command("user", "role", "chief", "viewer", *data), capture_output=True, text=True, timeout=60
    )

    assert [(user["name"], user["role"]) for user in listed] == [("chief", "admin"), ("guest", "operator")]
    assert link.startswith(f"http://127.0.0.1:{collector.ports['http']}/#/login/")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr == "fieldwatch-collector: chief is the last administrator; make another one first\n"
