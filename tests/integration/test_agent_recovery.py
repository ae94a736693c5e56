"""The renewal child of an agent whose certificate does not open the door any more, against a real collector."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fieldwatch_agent.enrolment.identity import (
    EnrolmentError,
    Identity,
    load_credentials,
    load_identity,
    store_identity,
)
from fieldwatch_agent.enrolment.keys import make_key
from fieldwatch_agent.enrolment.recover import recover
from fieldwatch_collector import admin
from support.collector import offline
from support.identities import expire
from support.stack import Agent, Collector

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    made = Collector(tmp_path_factory.mktemp("site") / "collector")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def asleep(tmp_path: Path, collector: Collector) -> Agent:
    """An enrolled agent whose certificate has expired."""
    agent = Agent(tmp_path / "agent")
    agent.enrol(collector)
    collector.kill()
    with offline(collector.data) as services:
        expire(services, agent.data)
    collector.start()
    return agent


def renew(agent: Agent, collector: Collector) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fieldwatch_agent.enrolment.renew", "--data", str(agent.data)]
    address = f"127.0.0.1:{collector.ports['grpc']}"
    return subprocess.run([*command, "--address", address], capture_output=True, text=True, timeout=60)


def believe(agent: Agent, not_after: int) -> Identity:
    """As an agent whose clock stands still would take its certificate: valid until then."""
    identity = load_identity(agent.data)
    assert identity is not None
    believed = replace(identity, not_after=not_after)
    store_identity(agent.data, believed, load_credentials(agent.data))
    return believed


@pytest.mark.parametrize("knows", [True, False], ids=["by its own clock", "only by the collector's"])
def test_an_expired_certificate_is_replaced(asleep: Agent, collector: Collector, knows: bool) -> None:
    """Also where the agent takes it for good and the collector breaks the handshake off."""
    before = load_identity(asleep.data) if knows else believe(asleep, int(time.time()) + 86_400)
    old = load_credentials(asleep.data)

    done = renew(asleep, collector)

    assert done.returncode == 0, done.stderr
    after, new = load_identity(asleep.data), load_credentials(asleep.data)
    assert before is not None
    assert after is not None
    assert after.agent_id == before.agent_id
    assert after.not_after > time.time() + 6 * 86_400
    assert (new.key != old.key, new.ca) == (True, old.ca)


def test_a_collector_that_is_not_there_is_said_as_that(asleep: Agent, collector: Collector) -> None:
    """One line, by either way; the identity stays as it was."""
    before = load_credentials(asleep.data)
    collector.kill()
    try:
        expired = renew(asleep, collector)
        believe(asleep, int(time.time()) + 86_400)
        valid = renew(asleep, collector)
    finally:
        collector.start()

    recovering = f"127.0.0.1:{collector.ports['public_grpc']}: no collector answers ("
    renewing = f"127.0.0.1:{collector.ports['grpc']}: UNAVAILABLE: "
    assert (expired.returncode, valid.returncode) == (1, 1)
    assert [line for line in expired.stderr.splitlines() if recovering in line]
    assert [line for line in valid.stderr.splitlines() if renewing in line]
    assert load_credentials(asleep.data) == before


def test_a_revoked_agent_is_told_what_is_left(asleep: Agent, collector: Collector) -> None:
    identity = load_identity(asleep.data)
    assert identity is not None
    admin.call(collector.data, "agents.revoke", {"id": identity.agent_id})

    with pytest.raises(EnrolmentError) as refused:
        recover(identity, load_credentials(asleep.data), "127.0.0.1", make_key())

    said = str(refused.value)
    assert "the collector does not give this agent its identity back: this agent was revoked; enrol again: " in said
