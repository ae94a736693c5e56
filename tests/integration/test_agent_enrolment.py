"""Joining a real collector by the real command, renewing by the real child; each refusal is one line."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fieldwatch_agent.enrolment.enrol import split_address
from fieldwatch_agent.enrolment.identity import (
    FILES,
    load_credentials,
    load_identity,
    store_identity,
)
from fieldwatch_agent.enrolment.keys import key_pem, make_key
from fieldwatch_agent.spool.file import SOCKET_NAME
from fieldwatch_collector import admin
from support.capture_files import pcap
from support.sender import FRAMES_A_FLOW, frame
from support.stack import Agent, Collector, wait_for


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    made = Collector(tmp_path_factory.mktemp("site") / "collector")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Agent]:
    made = Agent(tmp_path / "agent")
    yield made
    if made.running:
        made.kill()


def enrol(agent: Agent, address: str, token: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = agent.command("enrol", "--token-file", "-", "--collector", address, "--data", str(agent.data), *more)
    return subprocess.run(command, input=token, capture_output=True, text=True, timeout=60)


def public(collector: Collector) -> str:
    return f"127.0.0.1:{collector.ports['public_grpc']}"


def test_nobody_there_is_said_in_a_line(agent: Agent, collector: Collector) -> None:
    """The address, the cause, what to look at: not what gRPC tried on its way; also at the port of another service."""
    token = collector.token()

    nobody = enrol(agent, "127.0.0.1:1", token).stderr
    unknown = enrol(agent, "no-such-host.invalid", token).stderr

    assert "127.0.0.1:1: no collector answers (Connection refused); check the address" in nobody
    assert "no-such-host.invalid:7444: no collector answers (" in unknown
    assert "lookup" not in unknown
    assert "devices enrol at 7444" in unknown


def test_a_shelf_of_devices_enrols_at_once(collector: Collector, tmp_path: Path) -> None:
    """More than an address may: each waits for its turn, and nobody is told to come back."""
    agents = [Agent(tmp_path / f"agent-{number}") for number in range(8)]
    token = collector.token("--uses", "8")

    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda one: enrol(one, public(collector), token), agents))

    assert [one.returncode for one in done] == [0] * 8, [one.stderr for one in done]
    assert len({one.stdout for one in done}) == 8


def test_enrolment_from_a_file(agent: Agent, collector: Collector, tmp_path: Path) -> None:
    """One identity, with the port that was told, for its owner alone; the token file is gone; again changes nothing."""
    token_file = tmp_path / "join.token"
    token_file.write_text(collector.token() + "\n")
    arguments = ("--collector", public(collector), "--data", str(agent.data))

    said = agent.call("enrol", "--token-file", str(token_file), *arguments)

    identity = load_identity(agent.data)
    assert identity is not None
    assert said.startswith(f"enrolled as {identity.agent_id}")
    assert identity.address == f"127.0.0.1:{collector.ports['grpc']}"  # told by the collector
    assert identity.not_before < time.time() < identity.not_after
    modes = {name: (agent.data / "identity" / name).stat().st_mode & 0o777 for name in FILES}
    assert modes == dict.fromkeys(FILES, 0o600)
    assert not token_file.exists()
    without_file = agent.call("enrol", "--token-file", str(token_file), *arguments)
    token_file.write_text(collector.token())
    again = agent.call("enrol", "--token-file", str(token_file), *arguments)
    assert again.startswith(f"already enrolled as {identity.agent_id}")
    assert without_file == again
    assert load_identity(agent.data) == identity


def at_a_terminal(agent: Agent, typed: str, *arguments: str) -> tuple[str, int]:
    """What the program wrote to its terminal, where `typed` was answered to its question; and its exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(sys.executable, agent.command(*arguments), agent.environ)
    screen, answered = b"", False
    with open(terminal, "r+b", buffering=0) as keyboard:
        while select.select([keyboard], [], [], 60)[0]:
            try:
                screen += keyboard.read(4096)
            except OSError:  # EIO: the program has ended
                break
            if not answered and screen.endswith(b": "):
                keyboard.write(typed.encode())
                answered = True
    return screen.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_enrolment_by_pasting_the_token(agent: Agent, collector: Collector) -> None:
    """Without a file the terminal asks, and does not show what is pasted; Ctrl-D is an empty token."""
    token = collector.token()
    arguments = ("enrol", "--collector", public(collector), "--data", str(agent.data))

    nothing, refused = at_a_terminal(agent, "\x04", *arguments)
    screen, code = at_a_terminal(agent, token + "\n", *arguments)

    assert refused == 1
    assert "the join token is empty" in nothing
    assert code == 0, screen
    assert screen.startswith("Join token: ")
    assert token not in screen
    identity = load_identity(agent.data)
    assert identity is not None
    assert f"enrolled as {identity.agent_id}" in screen


def test_no_token_where_nobody_can_paste_one(agent: Agent, collector: Collector) -> None:
    """A script that forgot the file is told so, and does not wait."""
    command = agent.command("enrol", "--collector", public(collector), "--data", str(agent.data))

    refused = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--token-file FILE is missing" in refused.stderr


def test_a_revoked_device_comes_back_as_another_agent(agent: Agent, collector: Collector) -> None:
    """While it runs: with --anew it ships again, under a new id; without, nothing is changed, and that is said."""
    assert enrol(agent, public(collector), collector.token()).returncode == 0
    before = load_identity(agent.data)
    assert before is not None
    agent.start(collector, "-i", "fw-absent0")
    wait_for(lambda: "connected to the collector" in agent.tail(), "it ships")
    admin.call(collector.data, "agents.revoke", {"id": before.agent_id})
    wait_for(lambda: "not shipping" in agent.tail(), "it is refused")
    told = agent.tail()

    kept = enrol(agent, public(collector), collector.token())
    unchanged = load_identity(agent.data)
    both = enrol(agent, public(collector), collector.token(), "--anew", "--replace", before.agent_id)
    anew = enrol(agent, public(collector), collector.token(), "--anew")
    after = load_identity(agent.data)
    wait_for(lambda: agent.log.read_text().count("connected to the collector") == 2, "it ships again", 60)
    assert agent.stop() == 0, agent.tail()

    assert "fieldwatch-agent enrol --token-file FILE --collector HOST --anew" in told
    assert unchanged == before
    assert "nothing was changed (--anew makes it a new agent)" in kept.stdout
    assert (both.returncode, anew.returncode) == (2, 0), anew.stderr
    assert after is not None
    assert after.agent_id != before.agent_id


def test_a_used_token_is_refused(agent: Agent, collector: Collector, tmp_path: Path) -> None:
    """The second device gets one line, and has no identity."""
    token = collector.token()
    other = Agent(tmp_path / "other")
    assert enrol(other, public(collector), token).returncode == 0

    refused = enrol(agent, public(collector), token)

    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert "the join token was refused" in refused.stderr
    assert "fieldwatch-collector token create" in refused.stderr
    assert load_identity(agent.data) is None


def test_a_token_says_what_it_is_for(agent: Agent, collector: Collector, tmp_path: Path) -> None:
    """One that was made to replace an agent is to be given with --replace, and one that was not cannot be: each refusal
    says what mends it, and that alone.
    """
    assert enrol(agent, public(collector), collector.token()).returncode == 0
    known = load_identity(agent.data)
    assert known is not None
    place = ("--data", str(collector.data))
    token = collector.call("token", "create", *place, "--replace", known.agent_id).strip()
    other = Agent(tmp_path / "other")

    without = enrol(other, public(collector), token)
    plain = enrol(other, public(collector), collector.token(), "--replace", known.agent_id)
    replaced = enrol(other, public(collector), token, "--replace", known.agent_id)

    remedy = f"the join token was made to replace agent {known.agent_id}; give it with: --replace {known.agent_id}\n"
    assert without.stderr.endswith(f"the join token was refused: {remedy}")
    assert plain.stderr.endswith("; make one that does: fieldwatch-collector token create --replace AGENT_ID\n")
    assert (without.returncode, plain.returncode, replaced.returncode) == (1, 1, 0)


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("", "the join token is empty"),
        ("hello", "this is no join token"),
        ("fwj1.abc.AAAA", "the join token was cut or changed on the way"),
    ],
)
def test_a_text_that_is_no_token(agent: Agent, token: str, said: str) -> None:
    """Nothing is dialled for it."""
    refused = enrol(agent, "127.0.0.1:9", token)

    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert said in refused.stderr


def test_nobody_at_the_address(agent: Agent, collector: Collector) -> None:
    """The token stays good: the same request goes again later."""
    token = collector.token()

    refused = enrol(agent, "127.0.0.1:9", token)
    joined = enrol(agent, public(collector), token)

    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert "127.0.0.1:9: no collector answers" in refused.stderr
    assert joined.returncode == 0, joined.stderr


def test_a_stranger_is_not_trusted(agent: Agent, collector: Collector, tmp_path: Path) -> None:
    """A token of one collector and the address of another: the CA in the token decides."""
    other = Collector(tmp_path / "stranger")
    other.start()
    try:
        refused = enrol(agent, public(other), collector.token())
    finally:
        other.kill()

    assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 1)
    assert "its certificate is not of the join token's collector" in refused.stderr


def test_another_collector_needs_a_decision(agent: Agent, collector: Collector) -> None:
    """An enrolled agent does not change sides by accident."""
    assert enrol(agent, public(collector), collector.token()).returncode == 0

    refused = enrol(agent, "localhost:1", collector.token())

    assert refused.returncode == 1
    assert "this agent is enrolled at 127.0.0.1" in refused.stderr


def test_renewal_by_the_child(agent: Agent, collector: Collector) -> None:
    """A new key and certificate for the same agent, in force together; the CA stays."""
    assert enrol(agent, public(collector), collector.token()).returncode == 0
    before, old = load_credentials(agent.data), load_identity(agent.data)
    command = [sys.executable, "-m", "fieldwatch_agent.enrolment.renew", "--data", str(agent.data)]

    done = subprocess.run(
        [*command, "--address", f"127.0.0.1:{collector.ports['grpc']}"], capture_output=True, text=True, timeout=60
    )

    assert done.returncode == 0, done.stderr
    after, new = load_credentials(agent.data), load_identity(agent.data)
    assert old is not None
    assert new is not None
    assert new.agent_id == old.agent_id
    assert (after.key != before.key, after.certificate != before.certificate, after.ca) == (True, True, before.ca)
    assert len(list(agent.data.glob("identity.[0-9]*"))) == 1


def test_the_daemon_renews_at_half_life(agent: Agent, collector: Collector, tmp_path: Path) -> None:
    """A certificate past its half is renewed while the agent runs, and an expired one is said in one line."""
    assert enrol(agent, public(collector), collector.token()).returncode == 0
    identity = load_identity(agent.data)
    assert identity is not None
    old = load_credentials(agent.data)
    now = int(time.time())
    aged = type(identity)(**{**identity.__dict__, "not_before": now - 1000, "not_after": now - 1})
    store_identity(agent.data, aged, old)

    agent.start(collector, "-i", "fw-absent0")

    wait_for(lambda: load_credentials(agent.data).certificate != old.certificate, "the certificate is renewed")
    assert agent.stop() == 0, agent.tail()
    events = [json.loads(line) for line in agent.log.read_text().splitlines()]
    said = [event["event"] for event in events]
    asking = "the certificate has expired; asking for another with its key, records are kept in the spool"
    assert said.count(asking) == 1
    assert said.count("waiting for an interface") == 1


def test_a_damaged_identity_does_not_stop_capture(agent: Agent, collector: Collector) -> None:
    """One error that says what to do; the agent stays, and ships when it has been enrolled again."""
    assert enrol(agent, public(collector), collector.token()).returncode == 0
    (agent.data / "identity" / "identity.json").write_text("")

    agent.start(collector, "-i", "fw-absent0")
    wait_for(lambda: "not shipping" in agent.tail(), "it is noticed")
    wait_for(lambda: (agent.data / SOCKET_NAME).exists(), "it is asked")
    state = agent.spool()["collector"]
    mended = enrol(agent, public(collector), collector.token())
    wait_for(lambda: "connected to the collector" in agent.tail(), "it ships")
    assert agent.stop() == 0, agent.tail()

    assert mended.returncode == 0, mended.stderr
    events = [json.loads(line) for line in agent.log.read_text().splitlines()]
    errors = [event["problem"] for event in events if event["level"] == "error"]
    assert len(errors) == 1
    assert errors[0].startswith(f"{agent.data}/identity/identity.json: cannot be used (")
    assert "enrol again: fieldwatch-agent enrol --token-file FILE --collector HOST" in errors[0]
    assert state == f"not connected: {errors[0]}"


def test_a_key_of_another_certificate(agent: Agent, collector: Collector) -> None:
    """gRPC cannot make a handshake of it: said as what it is, not as a clock that is wrong."""
    assert enrol(agent, public(collector), collector.token()).returncode == 0
    (agent.data / "identity" / "agent.key").write_bytes(key_pem(make_key()))

    agent.start(collector, "-i", "fw-absent0")
    wait_for(lambda: "not shipping" in agent.tail(), "it is noticed")
    assert agent.stop() == 0, agent.tail()

    assert "the key or certificate of this agent cannot be used" in agent.tail()


def test_what_is_kept_is_shipped_after_enrolment(agent: Agent, collector: Collector, tmp_path: Path) -> None:
    """Capture first, enrol later: the backlog arrives, each batch once, and the spool is empty."""
    capture = tmp_path / "x.pcap"
    later = tmp_path / "y.pcap"
    for path, start_ns in ((capture, 1_700_000_000_000_000_000), (later, 1_700_000_900_000_000_000)):
        path.write_bytes(pcap([(start_ns + n * 1000, frame(n)) for n in range(200)]))
    agent.call("run", "--replay", str(capture), "--local-only", "--data", str(agent.data))
    waited = agent.spool()
    assert enrol(agent, public(collector), collector.token()).returncode == 0

    address = f"127.0.0.1:{collector.ports['grpc']}"
    agent.call("run", "--replay", str(later), "--collector", address, "--data", str(agent.data))

    identity = load_identity(agent.data)
    assert identity is not None
    ask = "SELECT count(*), count(DISTINCT digest) FROM batch WHERE agent=?"
    batches, different = collector.ask(ask, identity.agent_id)[0]
    flows = collector.ask("SELECT sum(records) FROM batch WHERE agent=? AND kind=1", identity.agent_id)[0][0]
    assert (agent.spool()["batches"], batches - different) == (0, 0)
    assert batches >= 2 * waited["batches"]
    assert flows == 2 * (200 // FRAMES_A_FLOW)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("collector.example", ("collector.example", 7444)),
        ("192.0.2.1:9000", ("192.0.2.1", 9000)),
        ("[2001:db8::1]", ("2001:db8::1", 7444)),
        ("[2001:db8::1]:1", ("2001:db8::1", 1)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    """The port may be left out; an IPv6 address stands in brackets."""
    assert split_address(text) == address


@pytest.mark.parametrize("text", ["", "a b", "host:0", "host:70000", "http://host"])
def test_addresses_that_are_none(agent: Agent, text: str) -> None:
    """Wrong usage, said with what is accepted."""
    refused = enrol(agent, text, "")

    assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
    assert "accepted is" in refused.stderr
