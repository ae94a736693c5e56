"""The life of a command: refused, or begun once, reported, ended, told again; over real gRPC."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_agent.control import registry
from fieldwatch_agent.control.memory import MOST, Memory
from fieldwatch_agent.control.registry import Argument, Outcome, Spec
from fieldwatch_agent.control.run import CommandError, Run
from fieldwatch_agent.control.runner import MAX_THREADS, NEW_COMMANDS, STOP_S
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.commanding import commanding
from support.stack import wait_for


class Probe:
    """The command `reload` replaced by one that a test holds in its hand."""

    def __init__(self) -> None:
        self.begun = 0
        self.running = threading.Event()
        self.go_on = threading.Event()
        self.problem: Exception | None = None

    def __call__(self, run: Run, agent: object, *, pieces: int, hold: bool) -> Outcome:
        self.begun += 1
        run.progress(10, "begun")
        self.running.set()
        while hold and not self.go_on.is_set():
            run.wait(0.01)
        if self.problem is not None:
            raise self.problem
        if pieces:
            run.send_file("probe.bin", (bytes([n]) * 300_000 for n in range(pieces)))
        return Outcome("well", {"pieces": pieces})


@pytest.fixture
def probe(monkeypatch: pytest.MonkeyPatch) -> Iterator[Probe]:
    registry.find("reload")
    made = Probe()
    arguments = (Argument("pieces", int, "of the file", 0, low=0, high=50), Argument("hold", bool, "wait", False))
    spec = Spec("reload", "a probe", "reload", 60.0, False, arguments, made)
    monkeypatch.setitem(registry._specs, "reload", spec)
    yield made
    made.go_on.set()


def test_a_command_is_accepted_runs_and_is_done(tmp_path: Path, probe: Probe) -> None:
    """In this order; the result comes with the last report; the audit has who, what and how it ended."""
    with commanding(tmp_path) as site:
        site.give("c1", "reload")
        last = site.end("c1")
        wait_for(lambda: len(site.audits) == 2, "the end is audited")

    assert site.collector.states("c1") == ["accepted", "running", "done"]
    assert (last.percent, last.text, json.loads(last.result)) == (100, "well", {"pieces": 0})
    assert site.outcomes() == [("reload", "accepted"), ("reload", "done")]
    assert {audit["actor"] for audit in site.audits} == {"user:ada"}
    assert json.loads(site.audits[0]["arguments"]) == {"hold": False, "pieces": 0}


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("format_disk", b"{}", "does not know the command 'format_disk'"),
        ("capture", b"{}", "does not allow capture; add it to [remote] allow"),
        ("reload", b'{"now": true}', 'unknown argument "now"; reload takes: pieces, hold'),
        ("reload", b'{"pieces": 51}', "pieces = 51: accepted is 0 to 50"),
        ("reload", b'{"pieces": true}', "pieces = true: accepted is a whole number"),
        ("reload", b'{"pieces": 1.5}', "pieces = 1.5: accepted is a whole number"),
        ("reload", b"[]", "the arguments are no JSON object"),
        ("reload", b"\xff", "the arguments are not JSON"),
        ("reload", b"[" * 10_000, "the arguments are not JSON"),
        ("reload", b" " * 20_000, "the arguments have 20000 octets; accepted are 16384"),
        ("log_level", b"{}", "the argument level is missing: least level that is written"),
        ("log_level", b'{"level": "loud"}', "accepted is one of: debug, info, warning, error"),
    ],
)
def test_what_is_refused_says_why(tmp_path: Path, probe: Probe, name: str, arguments: bytes, reason: str) -> None:
    """Unknown, not allowed, wrongly asked: COMMAND_REFUSED with the reason, audited, and nothing is begun."""
    with commanding(tmp_path) as site:
        site.collector.command(pb.Command(id="c1", name=name, arguments=arguments))
        last = site.end("c1")

    assert site.collector.states("c1") == ["refused"]
    assert reason in last.text
    assert site.outcomes() == [(name, "refused")]
    assert probe.begun == 0


def test_the_agents_own_file_decides(tmp_path: Path, probe: Probe) -> None:
    """What [remote] allow leaves out is refused; an empty list refuses everything."""
    with commanding(tmp_path, "[remote]\nallow = []\n") as site:
        site.give("c1", "reload")

        assert "it holds: nothing" in site.end("c1").text
    assert probe.begun == 0


def test_a_command_that_comes_twice_is_done_once(tmp_path: Path, probe: Probe) -> None:
    """While it runs nothing more happens; afterwards its end is told again, also by an agent that was restarted."""
    with commanding(tmp_path) as site:
        site.give("c1", "reload", hold=True)
        wait_for(probe.running.is_set, "it runs")
        site.give("c1", "reload", hold=True)
        probe.go_on.set()
        first = site.end("c1")
        told = len(site.collector.reports)
        site.give("c1", "reload", hold=True)
        wait_for(lambda: len(site.collector.reports) > told, "it is told again")
    with commanding(tmp_path) as restarted:
        restarted.give("c1", "reload")
        again = restarted.end("c1")

    assert probe.begun == 1
    assert restarted.collector.states("c1") == ["done"]
    assert (again.text, again.result) == ("well", first.result)


def test_a_command_that_ended_the_agent_is_not_begun_again(tmp_path: Path, probe: Probe) -> None:
    """It is on disk before it begins: after a kill in its midst it has failed."""
    Memory(tmp_path).begin("c1", "reload")

    with commanding(tmp_path) as site:
        site.give("c1", "reload")
        last = site.end("c1")

    assert probe.begun == 0
    assert (last.state, "the agent ended while the command ran" in last.text) == (pb.COMMAND_FAILED, True)


def test_what_is_remembered_is_bounded(tmp_path: Path) -> None:
    """The newest commands, whatever a collector sends; a damaged file is written anew."""
    memory = Memory(tmp_path)
    for number in range(2 * MOST):
        memory.begin(f"c{number}", "reload")
    again = Memory(tmp_path)
    kept = [number for number in range(2 * MOST) if again.find(f"c{number}") is not None]
    (tmp_path / "control" / "commands.json").write_bytes(b"\0" * 100)
    damaged = Memory(tmp_path)
    damaged.begin("c1", "reload")

    assert kept == list(range(MOST, 2 * MOST))
    assert Memory(tmp_path).find("c1") is not None


def test_a_command_is_cancelled(tmp_path: Path, probe: Probe) -> None:
    """By whom stands in its end; one that never ran here is cancelled as well; one that is done stays done."""
    with commanding(tmp_path) as site:
        site.give("c1", "reload", hold=True)
        wait_for(probe.running.is_set, "it runs")
        site.collector.command(pb.Command(id="c1", cancel=True, actor="user:eve"))
        cancelled = site.end("c1")
        site.collector.command(pb.Command(id="c2", cancel=True))
        unknown = site.end("c2")
        site.give("c3", "reload")
        site.end("c3")
        reports = len(site.collector.reports)
        site.collector.command(pb.Command(id="c3", cancel=True))
        wait_for(lambda: len(site.collector.reports) > reports, "its end is told again")

    assert (cancelled.state, cancelled.text) == (pb.COMMAND_CANCELLED, "cancelled by user:eve")
    assert unknown.state == pb.COMMAND_CANCELLED
    assert site.collector.last("c3").state == pb.COMMAND_DONE


def test_a_command_has_its_time(tmp_path: Path, probe: Probe) -> None:
    """What is not done within the time that was given has failed, and says so."""
    with commanding(tmp_path) as site:
        site.collector.command(pb.Command(id="c1", name="reload", arguments=b'{"hold": true}', timeout_s=1))
        last = site.end("c1")

    assert (last.state, last.text) == (pb.COMMAND_FAILED, "not done within 1 s; it was ended")


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (CommandError("no such thing; name another"), "no such thing; name another"),
        (RuntimeError("secret inside"), "a defect of the agent's (RuntimeError); see its log"),
    ],
)
def test_a_command_that_fails_says_why(tmp_path: Path, probe: Probe, problem: Exception, text: str) -> None:
    """One line for people; of a defect no more than its name. The agent goes on with the next command."""
    with commanding(tmp_path) as site:
        probe.problem = problem
        site.give("c1", "reload")
        last = site.end("c1")
        probe.problem = None
        site.give("c2", "reload")

        assert site.end("c2").state == pb.COMMAND_DONE
    assert (last.state, last.text) == (pb.COMMAND_FAILED, text)


def test_a_file_comes_in_pieces(tmp_path: Path, probe: Probe) -> None:
    """Each of at most 256 KiB, in order; the name with the first one."""
    with commanding(tmp_path) as site:
        site.give("c1", "reload", pieces=5)
        site.end("c1")
        chunks = [report for report in site.collector.reports if report.chunk]

    assert b"".join(report.chunk for report in chunks) == b"".join(bytes([n]) * 300_000 for n in range(5))
    assert max(len(report.chunk) for report in chunks) == 256 << 10
    assert [report.file_name for report in chunks] == ["probe.bin", *[""] * (len(chunks) - 1)]


def test_a_collector_that_wants_no_more_ends_the_command(tmp_path: Path, probe: Probe) -> None:
    """ReportReply.cancelled: the command is told, and ends."""
    with commanding(tmp_path) as site:
        site.collector.unwanted.add("c1")
        site.give("c1", "reload", hold=True)
        wait_for(lambda: ("reload", "cancelled") in site.outcomes(), "it ended")

    assert site.audits[-1]["text"] == "the collector does not want the result any more"


def test_a_connection_that_breaks_leaves_the_command_running(tmp_path: Path, probe: Probe) -> None:
    """It goes on; given again on the next connection it is reported from where it stands, to its end."""
    with commanding(tmp_path) as site:
        site.give("c1", "reload", hold=True)
        wait_for(probe.running.is_set, "it runs")
        wait_for(lambda: "running" in site.collector.states("c1"), "it was reported")
        site.disconnect()
        before = len(site.collector.reports)
        site.connect()
        site.give("c1", "reload", hold=True)
        wait_for(lambda: site.collector.reports[-1].text == "begun" and len(site.collector.reports) > before, "again")
        probe.go_on.set()
        last = site.end("c1")

    assert probe.begun == 1
    assert last.state == pb.COMMAND_DONE


def test_a_file_whose_connection_breaks_has_failed(tmp_path: Path, probe: Probe) -> None:
    """Half a file is no file: it says so when it is asked for again."""
    with commanding(tmp_path) as site:
        site.give("c1", "reload", pieces=3, hold=True)
        wait_for(lambda: "running" in site.collector.states("c1"), "it was reported")
        site.disconnect()
        probe.go_on.set()
        wait_for(lambda: ("reload", "failed") in site.outcomes(), "it ended")
        site.connect()
        site.give("c1", "reload")
        last = site.end("c1")

    assert (last.state, "give the command again" in last.text) == (pb.COMMAND_FAILED, True)


def test_too_many_at_once_are_refused(tmp_path: Path, probe: Probe) -> None:
    """Four run; the fifth is told to come again."""
    with commanding(tmp_path) as site:
        for number in range(5):
            site.give(f"c{number}", "reload", hold=True)
        last = site.end("c4")
        wait_for(lambda: probe.begun == 4, "four run")

    assert (last.state, "busy" in last.text) == (pb.COMMAND_REFUSED, True)


def test_a_flood_of_commands_is_bounded(tmp_path: Path, probe: Probe) -> None:
    """A collector that gives many and reads no report: a few threads wait for it, the rest is not even begun."""
    others = set(threading.enumerate())
    with commanding(tmp_path) as site:
        site.collector.listens = False
        for number in range(200):
            site.give(f"x{number}", "format_disk")
        wait_for(lambda: len(site.audits) >= MAX_THREADS, "as many as may be wait")
        site.session.change()
        wait_for(lambda: len(site.collector.statuses) == 2, "the session goes on")
        refused = len(site.audits)
        waiting = sum(thread.name.startswith("command ") for thread in set(threading.enumerate()) - others)
        begun_s = time.monotonic()
        site.runner.stop()
        stop_s = time.monotonic() - begun_s

    assert stop_s < 5 * STOP_S  # one after the other they would take a minute
    assert (refused, waiting) == (MAX_THREADS, MAX_THREADS)


def test_what_runs_can_be_cancelled_in_a_flood(tmp_path: Path, probe: Probe) -> None:
    """However many wait to be answered, what runs is known."""
    with commanding(tmp_path) as site:
        site.give("c1", "reload", hold=True)
        wait_for(probe.running.is_set, "it runs")
        site.collector.listens = False
        for number in range(200):
            site.give(f"x{number}", "format_disk")
        wait_for(lambda: sum(audit["outcome"] == "refused" for audit in site.audits) >= MAX_THREADS - 1, "a flood")
        site.collector.command(pb.Command(id="c1", cancel=True, actor="user:ada"))
        wait_for(lambda: any(audit["outcome"] == "cancelled" for audit in site.audits), "it is cancelled")

    assert probe.begun == 1


def test_commands_without_end_are_left_aside(tmp_path: Path, probe: Probe) -> None:
    """A few dozen are begun; the rest is neither refused nor written down. What is no new command is still answered."""
    with commanding(tmp_path) as site:
        for number in range(4 * NEW_COMMANDS):
            site.give(f"x{number}", "reload")
            wait_for(lambda: len(site.runner._threads) < MAX_THREADS - 1, "there is a thread for it")
        site.collector.command(pb.Command(id="c1", cancel=True, actor="user:ada"))
        site.end("c1")
        accepted = sum(audit["outcome"] == "accepted" for audit in site.audits)

    assert MAX_THREADS < accepted <= NEW_COMMANDS + 10
    assert {audit["outcome"] for audit in site.audits} <= {"accepted", "done", "refused"}


def test_ids_that_are_none_are_not_told_without_end(
    tmp_path: Path, probe: Probe, caplog: pytest.LogCaptureFixture
) -> None:
    """A flood of them is some dozens of lines."""
    with commanding(tmp_path) as site:
        for _ in range(5 * NEW_COMMANDS):
            site.collector.command(pb.Command(id="a b", name="reload"))
        site.collector.command(pb.Command(id="c1", cancel=True, actor="user:ada"))
        site.end("c1")

    lines = [record for record in caplog.records if "without a usable id" in record.getMessage()]
    assert 0 < len(lines) <= NEW_COMMANDS + 5


def test_a_stop_ends_what_runs(tmp_path: Path, probe: Probe) -> None:
    """In a moment, and the collector hears of it."""
    with commanding(tmp_path) as site:
        site.give("c1", "reload", hold=True)
        wait_for(probe.running.is_set, "it runs")
        site.runner.stop()
        last = site.end("c1")

    assert (last.state, last.text) == (pb.COMMAND_FAILED, "the agent stops")


def test_an_id_that_is_none_is_ignored(tmp_path: Path, probe: Probe) -> None:
    """No id, one that is too long, one with other characters: nothing is begun and nothing breaks."""
    with commanding(tmp_path) as site:
        for wrong in ("", "x" * 65, "../../etc", "a b"):
            site.collector.command(pb.Command(id=wrong, name="reload"))
        site.give("c1", "reload")
        site.end("c1")

    assert {report.id for report in site.collector.reports} == {"c1"}
    assert probe.begun == 1
