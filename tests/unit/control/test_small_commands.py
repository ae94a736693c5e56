"""`reload` and `log_level` at a scripted collector."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_agent.control.logs import DaemonLog
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.commanding import commanding
from support.stack import wait_for


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """The root logger as it was before."""
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield
    root.setLevel(level)
    root.handlers[:] = handlers


def test_reload_applies_what_it_can_and_names_what_waits(tmp_path: Path) -> None:
    """Live keys count at once; the others keep their values until the restart, and are named."""
    with commanding(tmp_path) as site:
        site.agent.file.write_text('[log]\nlevel = "debug"\n[capture]\nfilter = "not port 22"\n[flows]\nidle = 30\n')
        site.give("c1", "reload")
        last = site.end("c1")
        value = site.agent.settings.value

    assert json.loads(last.result) == {"applied": ["log.level"], "restart": ["capture.filter", "flows.idle"]}
    assert last.text == "applied: log.level; a restart of the agent is needed for: capture.filter, flows.idle"
    assert (value.log.level, value.capture.filter, value.flows.idle) == ("debug", "", 60.0)
    assert site.agent.settings.pending == ("capture.filter", "flows.idle")


def test_reload_of_a_broken_file_changes_nothing(tmp_path: Path) -> None:
    """It fails with every problem of the file."""
    with commanding(tmp_path) as site:
        site.agent.file.write_text('[log]\nlevel = "loud"\n[flow]\nmax = 1\n')
        site.give("c1", "reload")
        last = site.end("c1")

    assert last.state == pb.COMMAND_FAILED
    assert last.text.startswith("nothing was changed: ")
    assert "log.level" in last.text
    assert "unknown table flow" in last.text
    assert site.agent.settings.value.log.level == "info"


def test_a_log_level_returns_by_itself(tmp_path: Path) -> None:
    """The command says for how long; afterwards the configured level is back, also when that has changed meanwhile."""
    with commanding(tmp_path) as site:
        site.agent.log.configure("info", "json")
        site.give("c1", "log_level", level="debug", minutes=5)
        last = site.end("c1")
        during = logging.getLogger().level

    assert (last.text, during) == ("the log level is debug for 5 min", logging.DEBUG)


def test_the_time_of_a_level_is_monotonic_and_survives_a_reload() -> None:
    """A second command replaces the first; a reload in between changes what comes back, not what is in force."""
    log = DaemonLog()
    log.configure("info", "json")
    log.override("error", 3_600)
    log.override("debug", 0.05)
    log.configure("warning", "json")
    between = logging.getLogger().level
    wait_for(lambda: log.look() or logging.getLogger().level == logging.WARNING, "the configured level is back")

    assert between == logging.DEBUG
    assert log.recent in logging.getLogger().handlers
