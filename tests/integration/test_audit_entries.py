"""Which rows the audit log gets, and what it, and every log, never holds."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import subprocess
from pathlib import Path

import pytest
from fieldwatch_agent.enrolment.identity import load_credentials
from fieldwatch_collector import admin, audit
from fieldwatch_collector.ingest.refusals import BURST, MAX_KEYS, PER_REASON_S, Refusals
from fieldwatch_proto.api_token import ApiToken
from fieldwatch_proto.join import JoinToken
from support.collector import Running, offline, running
from support.stack import Agent, Collector, wait_for

PASSWORD = "correct horse battery"


def rows(collector: Running) -> list[tuple[str, ...]]:
    return [tuple(row) for row in collector.rows("SELECT actor, action, subject, outcome FROM audit ORDER BY seq")]


def test_what_people_and_programs_are_given_is_written_down(tmp_path: Path) -> None:
    """Who did it is the user whose command it was; what fails leaves no row."""
    with offline(tmp_path) as services:
        accounts = services.accounts
        cookie = accounts.complete_setup(accounts.make_setup_link(), "chief", PASSWORD)
        admin.run(services, "user.add", {"name": "guest", "password": PASSWORD, "role": "viewer"})
        admin.run(services, "user.role", {"name": "guest", "role": "operator"})
        admin.run(services, "user.password", {"name": "guest", "password": PASSWORD + "!"})
        admin.run(services, "user.login-link", {"name": "guest"})
        token = ApiToken.parse(admin.run(services, "api-token.create", {"name": "grafana", "role": "viewer"})["token"])
        admin.run(services, "api-token.revoke", {"id": token.token_id})
        for operation, arguments in (
            ("user.add", {"name": "guest", "password": PASSWORD, "role": "viewer"}),
            ("user.role", {"name": "chief", "role": "viewer"}),
            ("api-token.revoke", {"id": token.token_id}),
        ):
            with pytest.raises(admin.AdminError):
                admin.run(services, operation, arguments)
        with services.store.reader() as connection:
            found = [tuple(row) for row in connection.execute("SELECT actor, action, subject FROM audit ORDER BY seq")]
            problem = audit.verify(connection).problem

    me = f"local:{os.getuid()}"
    assert cookie
    assert problem == ""
    assert found == [
        ("user:chief", "user.add", "user:chief"),
        (me, "user.add", "user:guest"),
        (me, "user.role", "user:guest"),
        (me, "user.password", "user:guest"),
        (me, "user.login_link", "user:guest"),
        (me, "api_token.create", token.token_id),
        (me, "api_token.revoke", token.token_id),
    ]


async def test_refusals_are_bounded_and_nothing_of_them_is_forgotten(tmp_path: Path) -> None:
    """One row a minute for an address and a reason, a bound for all; what had no row is counted in the next."""
    now = [1_000.0]
    async with running(tmp_path / "data") as collector:
        refusals = Refusals(collector.services.store, lambda: now[0])
        for _ in range(10):
            await refusals.note("agent.refuse", "x", actor="address:192.0.2.1")
        await refusals.note("agent.refuse", "y", actor="address:192.0.2.1")
        for number in range(2 * MAX_KEYS):
            await refusals.note("agent.refuse", "x", actor=f"address:{number}")
        at_once = len(rows(collector))
        now[0] += PER_REASON_S
        await refusals.note("agent.refuse", "x", actor="address:192.0.2.1")
        said = [json.loads(data) for (data,) in collector.rows("SELECT data FROM audit ORDER BY seq")]

    assert at_once == BURST
    assert said[0] == {"reason": "x", "times": 1}
    assert said[-1] == {"reason": "x", "times": 10, "others": 2 * MAX_KEYS - (BURST - 2)}
    assert sum(row["times"] + row.get("others", 0) for row in said) == 10 + 1 + 2 * MAX_KEYS + 1
    assert len(refusals._seen) <= MAX_KEYS


async def test_the_user_of_a_command_beside_the_server_is_told_by_the_kernel(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as collector:
        await asyncio.to_thread(admin.call, collector.data, "token.create", {})

        assert [row[:2] for row in rows(collector)] == [(f"local:{os.getuid()}", "token.create")]


@pytest.mark.slow
def test_no_log_and_no_table_holds_a_secret(tmp_path: Path) -> None:
    """A whole enrolment by real processes at the most talkative level, a refusal, a renewal, an API token: neither the
    seed nor a private key nor a token's secret is in a log, in the audit log, in the database or on a command line."""
    verbose = {
        "FIELDWATCH_COLLECTOR__LOG__LEVEL": "debug",
        "FIELDWATCH_AGENT__LOG__LEVEL": "debug",
        "GRPC_VERBOSITY": "DEBUG",
    }
    collector, agent = Collector(tmp_path / "collector", environ=verbose), Agent(tmp_path / "agent", environ=verbose)
    collector.start()
    try:
        place = ("--data", str(collector.data))
        text = collector.token()
        command = agent.command(
            *("enrol", "--token-file", "-", "--data", str(agent.data)),
            *("--collector", f"127.0.0.1:{collector.ports['public_grpc']}"),
        )
        environ = {**os.environ, **verbose}
        joined = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, env=environ)
        other = Agent(tmp_path / "other", environ=verbose)
        again = [*command[:-4], "--data", str(other.data), *command[-2:]]
        refused = subprocess.run(again, input=text, capture_output=True, text=True, timeout=60, env=environ)
        first_key = load_credentials(agent.data).key
        agent.start(collector, "-i", "fw-absent0")
        wait_for(lambda: "connected to the collector" in agent.log.read_text(), "it is connected")
        assert agent.stop() == 0, agent.tail()
        renewal = [*agent.command()[:1], "-m", "fieldwatch_agent.enrolment.renew", "--data", str(agent.data)]
        address = f"127.0.0.1:{collector.ports['grpc']}"
        renewed = subprocess.run(
            [*renewal, "--address", address], capture_output=True, text=True, timeout=60, env=environ
        )
        api_token = collector.call("api-token", "create", "x", *place).strip()
        audited = collector.call("audit", "list", "-o", "ndjson", *place)
    finally:
        assert collector.stop() == 0, collector.tail()

    ca_key = (collector.data / "pki" / "ca.key").read_bytes()
    token, second_key = JoinToken.parse(text), load_credentials(agent.data).key
    assert (joined.returncode, refused.returncode, renewed.returncode) == (0, 1, 0), joined.stderr + renewed.stderr
    said = [
        *(run.stdout + run.stderr for run in (joined, refused, renewed)),
        agent.log.read_text(),
        collector.log.read_text(),
        audited,
        " ".join(command),
    ]
    stored = [path.read_bytes() for path in collector.data.glob("collector.db*")]
    secrets = [
        text.rpartition(".")[2],
        token.seed.hex(),
        base64.b64encode(token.seed).decode().rstrip("="),
        base64.urlsafe_b64encode(token.seed).decode().rstrip("="),
        ApiToken.parse(api_token).secret,
        *(line for key in (first_key, second_key, ca_key) for line in key.decode().splitlines() if "-----" not in line),
    ]
    assert "agent enrolled" in said[4]
    assert "agent.enrol" in audited
    assert first_key != second_key
    found = [
        (secret[:6], place)
        for secret in secrets
        for place, octets in enumerate([*(part.encode() for part in said), *stored])
        if secret.encode() in octets or (secret == token.seed.hex() and token.seed in octets)
    ]
    assert found == []
