"""`fieldwatch-collector` as a process: first start, commands beside it, what is wrong in one line, kills."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import grpc.aio
import pytest
from fieldwatch_collector import admin
from fieldwatch_proto.join import JoinToken
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1 import agent_pb2_grpc
from support.collector import (
    Identity,
    Talk,
    batch,
    enrol_request,
    private_key,
    public_channel,
    request_der,
    sealed,
    sighting,
)
from support.stack import Collector, wait_for

BATCH = sealed(Kind.SIGHTING, [sighting(1, bytes([10, 0, 0, 1]))])


def command(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fieldwatch_collector.cli.main", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **environ},
    )


@pytest.mark.parametrize(
    ("form", "warnings", "links"), [("text", 0, 1), ("json", 1, 0)], ids=["for a person", "for a journal"]
)
def test_the_first_start_tells_how_to_log_in(tmp_path: Path, form: str, warnings: int, links: int) -> None:
    """The link for who reads it; a warning with the command only where there is no link."""
    collector = Collector(tmp_path / "data", environ={"FIELDWATCH_COLLECTOR__LOG__FORMAT": form})
    collector.start()
    assert collector.stop() == 0, collector.tail()

    log = collector.log.read_text()
    assert (warnings, links) == (log.count("nobody can log in to the page yet"), log.count("#/setup/"))


def test_first_start_commands_beside_it_and_a_clean_stop(tmp_path: Path) -> None:
    """The data folder is closed, commands reach the running server, the same commands work without it."""
    data = tmp_path / ("deep" * 20) / "data"  # longer than a unix socket's name may be
    collector = Collector(data)
    collector.start()
    try:
        text = collector.token()
        listed = json.loads(collector.call("token", "list", "--data", str(data), "-o", "json"))
        with pytest.raises(admin.DataInUseError), admin.lock(data):
            pass
        second = command("serve", "--data", str(data))
        doctor = command("doctor", "--data", str(data), "--json")
        useless = command("token", "create", "--uses", "0", "--data", str(data))
        unknown = command("agents", "revoke", "nobody", "--data", str(data))
    finally:
        code = collector.stop()
    after = json.loads(collector.call("token", "list", "--data", str(data), "-o", "json"))
    log = collector.log.read_text()

    assert JoinToken.parse(text).token_id == listed[0]["id"]
    assert listed == after
    assert (0o700, 0o600) == tuple(stat.S_IMODE(path.stat().st_mode) for path in (data, data / "collector.db"))
    assert (1, f"fieldwatch-collector: {data}: in use by another collector") == (
        second.returncode,
        second.stderr.partition(";")[0],
    )
    findings = [json.loads(line) for line in doctor.stdout.splitlines()]
    assert [("people", "fieldwatch-collector user add NAME --role admin")] == [
        (finding["check"], finding["remedy"]) for finding in findings if finding["level"] != "ok"
    ]
    assert (useless.returncode, useless.stderr) == (2, "fieldwatch-collector: --uses 0: accepted is 1 or more\n")
    assert unknown.stderr == (
        "fieldwatch-collector: agent: there is no agent 'nobody'; the list of agents has the names and ids\n"
    )
    assert code == 0
    assert "collector stopped" in log
    assert "setup" not in log  # JSON logs never hold the link
    assert not (data / "admin.sock").exists()
    assert not (data / "ports.json").exists()


def test_on_a_terminal_the_set_up_link_is_shown_as_long_as_nobody_is_there(tmp_path: Path) -> None:
    collector = Collector(tmp_path / "data", environ={"FIELDWATCH_COLLECTOR__LOG__FORMAT": "text"})
    collector.start()
    try:
        shown = wait_for(lambda: _link(collector.log), "the link is shown")
    finally:
        collector.stop()

    assert shown.startswith(f"http://127.0.0.1:{collector.ports['http']}/#/setup/")
    assert len(shown.rpartition("/")[2]) == 32


def _link(log: Path) -> str | None:
    words = [word for word in log.read_text().split() if "#/setup/" in word]
    return words[0] if words else None


def test_a_port_in_use_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        free = ["--grpc", "127.0.0.1:0", "--public-grpc", "127.0.0.1:0", "--http", "127.0.0.1:0"]
        ends = {}
        for flag in ("--grpc", "--public-grpc", "--http"):
            flags = [address if free[place - 1 : place] == [flag] else text for place, text in enumerate(free)]
            ends[flag] = command("serve", "--data", str(tmp_path / flag), *flags)

    for flag, end in ends.items():
        said = [line for line in end.stderr.splitlines() if not line.startswith("{")]
        assert end.returncode == 1
        assert said == [
            f"fieldwatch-collector: cannot listen on {address}: Address already in use; "
            f"stop what uses it, or give another with {flag} HOST:PORT"
        ]


@pytest.mark.parametrize(
    ("arguments", "environ", "code", "words"),
    [
        (["serve", "--grpc", "nonsense"], {}, 2, 'accepted is "host:port"'),
        (["serve", "--store", "mysql://x"], {}, 2, 'accepted is "sqlite:PATH"'),
        (["config", "check"], {"FIELDWATCH_COLLECTOR__LISTEN__GRCP": "x"}, 2, "FIELDWATCH_COLLECTOR__LISTEN__GRPC"),
        (["config", "check", "--config", "/nonexistent.toml"], {}, 2, "no such file"),
        (["token", "create", "--data", "/nonexistent"], {}, 1, "no such data folder"),
        (["token", "create", "--ttl", "soon"], {}, 2, "--ttl soon"),
        (["token", "create", "--tag", "x"], {}, 2, "KEY=VALUE"),
        (["serve", "--data", "/proc/fieldwatch"], {}, 1, "cannot be made"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: list[str], environ: dict[str, str], code: int, words: str) -> None:
    end = command(*arguments, **environ)

    assert end.returncode == code
    assert len(end.stderr.splitlines()) == 1
    assert words in end.stderr


def test_config_show_names_origins_and_the_schema_is_json() -> None:
    shown = command("config", "show", FIELDWATCH_COLLECTOR__LISTEN__HTTP="127.0.0.1:9000")
    schema = json.loads(command("config", "schema").stdout)

    assert next(line for line in shown.stdout.splitlines() if "9000" in line).endswith(
        "environment FIELDWATCH_COLLECTOR__LISTEN__HTTP"
    )
    assert "listen" in schema["properties"]


def test_store_commands(tmp_path: Path) -> None:
    """migrate, rebuild and fsck say what they did; a body that changed on disk is found by its digest."""
    import sqlite3

    data = tmp_path / "data"
    collector = Collector(data)
    collector.start()
    try:
        asyncio.run(_push(collector, range(1, 4)))
        rebuilt = collector.call("rebuild", "--data", str(data))
    finally:
        collector.stop()
    migrated = collector.call("migrate", "--data", str(data))
    clean = command("fsck", "--data", str(data))
    connection = sqlite3.connect(data / "collector.db")
    connection.execute("UPDATE batch SET body = zeroblob(length(body)) WHERE seq = 2")
    connection.execute("DROP TABLE metric")
    connection.execute("ALTER TABLE join_token DROP COLUMN tags")
    connection.commit()
    connection.close()
    damaged = command("fsck", "--data", str(data))

    assert rebuilt == "rebuilt from 3 batches, 0 of them undecodable\n"
    assert migrated.startswith("the database has version ")
    assert (0, "3 batches") == (clean.returncode, clean.stdout.partition(",")[0])
    assert [line.split()[1:] for line in clean.stdout.splitlines() if line.split()[0] == "batch"] == [["3", "rows"]]
    assert damaged.returncode == 1
    assert "table metric is missing\n" in damaged.stdout
    assert "table join_token: column tags is missing\n" in damaged.stdout
    assert "seq 2): the body is damaged" in damaged.stdout


@pytest.mark.slow
@pytest.mark.parametrize("point", ["put-before-commit", "put-after-commit", "ack-before-send"])
def test_killed_at_a_point_of_ingest(tmp_path: Path, point: str) -> None:
    """SIGKILL there: what was acked is held, the resend stores each batch once, the projections count each once."""
    data = tmp_path / "data"
    collector = Collector(data, environ={"FIELDWATCH_FAULT": f"{point}:4"})
    collector.start()
    identity = asyncio.run(_enrol(collector))
    acked = asyncio.run(_push(collector, range(1, 21), identity))
    assert collector.process is not None
    code = collector.process.wait(20)
    collector.environ.pop("FIELDWATCH_FAULT")
    held = {row[0] for row in collector.ask("SELECT seq FROM batch")}
    collector.start()
    try:
        again = asyncio.run(_push(collector, range(1, 21), identity))
        wait_for(lambda: collector.ask("SELECT frames FROM sighting") == [(20,)], "the projections catch up")
    finally:
        collector.stop()

    assert code == -signal.SIGKILL
    assert set(range(1, acked + 1)) <= held
    assert again == 20
    assert [(20, 20)] == collector.ask("SELECT count(*), count(DISTINCT seq) FROM batch")


async def _enrol(collector: Collector) -> Identity:
    token = JoinToken.parse(collector.token())
    key = private_key()
    async with public_channel(collector.ports["public_grpc"], token.ca_der) as channel:
        request = enrol_request(token, request_der(key))
        reply = await agent_pb2_grpc.EnrolmentStub(channel).Enrol(request, timeout=10)
    return Identity(reply.agent_id, key, reply.certificate_der, reply.ca_der)


async def _push(collector: Collector, seqs: range, identity: Identity | None = None) -> int:
    """Send batches one by one; the last number that was acked before the connection broke, if it did."""
    identity = identity or await _enrol(collector)
    upto = 0
    async with identity.channel(collector.ports["grpc"]) as channel:
        stream = Talk(agent_pb2_grpc.IngestStub(channel).Push(timeout=30))
        try:
            await stream.hello((1, 1, seqs.stop))
            for seq in seqs:
                await stream.send(batch(1, seq, BATCH))
                await stream.acked(1, seq)
                upto = seq
        except (grpc.aio.AioRpcError, AssertionError, asyncio.InvalidStateError):
            return upto
    return upto
