"""What an agent says of itself, as it is stored and shown: bounded, and in the collector's words."""

from __future__ import annotations

import json
import sqlite3
import time

import pytest
from fieldwatch_collector.commands.reports import MAX_TEXT, _result, clean
from fieldwatch_collector.ingest.statuses import effective_of, stored_status
from fieldwatch_collector.read_model import ReadModel
from fieldwatch_collector.read_model.agents import version_skew, worst
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.cost import cpu_s
from support.filled_store import agent_id, fill


def test_a_status_is_stored_bounded() -> None:
    """However much a stranger says within the 8 MiB of a message, and whatever is in it."""
    loud = "x\x1b[2J\n" * 100
    status = pb.AgentStatus(
        version=loud,
        hostname=loud,
        interfaces=[pb.InterfaceStatus(name=loud)] * 1_000,
        health=[pb.Health(component=loud, level=pb.HEALTH_FAILED, reason=loud)] * 5_000,
        allowed_commands=[loud] * 1_000,
        config=pb.ConfigStatus(
            version=(1 << 64) - 1, problem=loud, effective_hash=bytes(10_000), effective=b"x" * 10_000
        ),
        card_life_years=float("nan"),
    )
    stored = stored_status(status)
    text = json.dumps(stored)

    assert len(text) < 400_000
    assert "\\u001b" not in text
    assert stored["config"]["version"] == (1 << 63) - 1
    assert len(stored["config"]["effective_hash"]) == 64
    assert effective_of(status) == ""


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b'{"a": {"b": [1, "x"]}}', '{"a":{"b":[1,"x"]}}'),
        (b"[1]", ""),
        (b'{"a": NaN}', ""),
        (b'{"a": 1e999}', ""),
        (b'{"a": "\\ud800"}', ""),
        (b'{"a": "\\ud83d\\ude00"}', '{"a":"\\ud83d\\ude00"}'),
        (b'{"a":' * 40 + b"1" + b"}" * 40, ""),
        (b"\xff", ""),
        (b"[" * 100_000, ""),
        (b'{"a":"' + b"x" * (128 << 10) + b'"}', ""),
    ],
)
def test_effective_settings_are_an_object_or_nothing(octets: bytes, text: str) -> None:
    assert effective_of(pb.AgentStatus(config=pb.ConfigStatus(effective=octets))) == text


@pytest.mark.parametrize(
    ("octets", "found"),
    [
        (b"", {}),
        (b'{"packets": 7}', {"packets": 7}),
        (b"7", {"problem": "the result is no JSON object"}),
        (b'{"a": "\\ud800"}', {"problem": "the result is no JSON object"}),
        (b'{"a": [-Infinity]}', {"problem": "the result is no JSON object"}),
        (b"{" * 1_000, {"problem": "the result is no JSON object"}),
        (b" " * 70_000, {"problem": "the result has 70000 octets; the limit is 65536"}),
    ],
)
def test_a_result_is_an_object(octets: bytes, found: dict[str, object]) -> None:
    assert json.loads(_result(octets)) == found


def test_what_agents_say_is_one_bounded_line() -> None:
    assert clean("a\nb\x1b[31m\t c") == "a b [31m c"
    assert len(clean("x" * 100_000)) == MAX_TEXT


def _part(component: str, level: str, reason: str = "") -> dict[str, str]:
    return {"component": component, "level": level, "reason": reason}


@pytest.mark.parametrize(
    ("health", "expected"),
    [
        ([], ("", "")),
        ([_part("agent", "ok", "all is well")], ("ok", "")),
        (
            [_part("agent", "degraded", "parts of it"), _part("agent/spool", "degraded", "the disk is slow")],
            ("degraded", "spool: the disk is slow"),
        ),
        (
            [
                _part("agent", "failed"),
                _part("agent/spool", "degraded", "the disk is slow"),
                _part("agent/capture/eth0", "failed", "gone"),
            ],
            ("failed", "capture/eth0: gone"),
        ),
    ],
)
def test_the_worst_part_speaks_for_the_agent(health: list[dict[str, str]], expected: tuple[str, str]) -> None:
    """Of those that are alike the deepest one with a reason."""
    assert expected == worst(health)


@pytest.mark.parametrize(
    ("version", "skew"),
    [
        ("1.2.3", ""),
        ("1.2.3+local", ""),
        ("1.2.2", "older"),
        ("1.10.0", "newer"),
        ("", ""),
        ("nonsense", ""),
        ("2", "newer"),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, skew: str) -> None:
    assert version_skew(version, "1.2.3") == skew


def test_a_thousand_agents_are_listed_in_no_time(tmp_path: object) -> None:
    """With the commands, certificates and settings of each; a page that asks every 5 s must not be felt."""
    store = SqliteStore(tmp_path / "collector.db")  # type: ignore[operator]
    store.migrate()
    sites = tuple(f"site-{number}" for number in range(1_000))

    def work(connection: sqlite3.Connection) -> None:
        fill(connection, time.time_ns(), devices=0, flows=0, sites=sites)
        connection.executemany(
            "INSERT INTO command(id, agent, name, arguments, actor, state, created_ns, expires_ns, ended_ns)"
            " VALUES(?, ?, 'config', '{\"version\":1}', 'collector', 'done', 1, 1, 1)",
            ((f"{place:05d}-{number:02d}", agent_id(place)) for place in range(1_000) for number in range(20)),
        )
        connection.executemany(
            "INSERT INTO agent_config(agent, version, settings) VALUES(?, 1, '{}')",
            ((agent_id(place),) for place in range(1_000)),
        )

    store.transact_sync(work)
    model = ReadModel(store)
    found = model.list_agents()["results"]
    seconds = cpu_s(model.list_agents)
    store.close()

    assert len(found) == 1_000
    assert {agent["config_state"] for agent in found} == {"waiting"}
    assert seconds < 1.0
