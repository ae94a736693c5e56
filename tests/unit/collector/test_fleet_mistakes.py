"""What the commands of the fleet say to a mistake: the argument, what was seen, what is accepted; exit code 2 or 1."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fieldwatch_collector.cli.main import main
from support.collector import offline
from support.filled_store import agent_id, fill

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """``run(words...)`` gives exit code, output and error; the folder has the agents pi-hq and pi-lab of two sites."""
    with offline(tmp_path) as services:
        services.store.transact_sync(
            lambda connection: fill(connection, time.time_ns(), devices=0, flows=0, sites=("hq", "lab"))
        )

    def call(*words: str) -> tuple[int, str, str]:
        code = main([*words, "--data", str(tmp_path)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("token", "create", "--site", "a/b"), 2, "--site 'a/b': accepted are"),
        (("token", "create", "--uses", "99999"), 2, "--uses 99999: accepted is 1 to 10000"),
        (("token", "create", "--ttl", "0"), 2, "--ttl 0 s: accepted is more than 0 and up to 365 d"),
        (("token", "create", "--tag", "site=x"), 2, "--tag: site is what selectors call"),
        (("token", "create", "--replace", "nobody"), 1, "agent: there is no agent 'nobody'"),
        (("token", "create", "--replace", "pi-hq", "--uses", "2"), 2, "--uses 2: a token with --replace"),
        (("token", "revoke", ""), 1, "there is no token '' to be revoked; see: fieldwatch-collector token list"),
        (("agents", "rename", "pi-hq", ""), 2, "name: '' is none; accepted are 1 to 64 printable characters"),
        (("agents", "rename", "pi-hq", "x" * 300), 2, "xxx is none; accepted are"),
        (("agents", "rename", "pi-hq", "site=x"), 2, "without , = and *"),
        (("agents", "revoke", "nobody"), 1, "there is no agent 'nobody'"),
        (("agents", "tag", "pi-hq", "x"), 2, "give role=edge to set, role- to take away"),
        (("agents", "approve", "nobody"), 1, "no device waits under 'nobody'"),
        (("agents", "list", "--select", "a="), 2, "select: 'a=' is no KEY=VALUE"),
        (("agents", "run", "reloads", "--select", "*"), 2, "did you mean reload?"),
        (("agents", "run", "reload", "pi-hq"), 2, "which agents? Give --select pi-attic, --select site=hq"),
        (("agents", "run", "reload", "--select", ""), 2, "which agents?"),
        (("agents", "config", "set", "flows.max=9", "pi-hq"), 2, "which agents?"),
        (("agents", "run", "reload", "--select", "x=y"), 1, "no agent matches 'x=y'"),
        (("agents", "run", "reload", "--select", "*", "--timeout", "30d"), 2, "outside 1 to 604800 (7 days)"),
        (("agents", "commands", "--limit", "-3"), 2, "is no number of rows"),
        (("agents", "commands", "--state", "odd"), 2, "state: 'odd' is none of open, ended"),
        (("agents", "capture", "pi-hq", "-i", "", "-w", "x"), 2, "interface: must not be empty"),
        (("agents", "config", "set", "--select", "*"), 2, "nothing to set; give SECTION.KEY=VALUE"),
        (("agents", "config", "unset", "--select", "*"), 2, "nothing to unset; give SECTION.KEY, as"),
        (("agents", "config", "unset", "a.b", "--select", "*"), 2, "a.b is not set for *"),
        (("audit", "verify", "--head", "xyz"), 2, "--head 'xyz': accepted are the 64 hex digits"),
        (("ca", "rotate", "--finish"), 1, "no rotation is under way; begin one"),
    ],
)
def test_a_mistake_is_one_line(run: Run, words: tuple[str, ...], code: int, text: str) -> None:
    given, out, err = run(*words)

    assert (given, out) == (code, "")
    assert text in err
    assert len(err.splitlines()) == 1


def test_two_agents_of_a_site_never_have_one_name(run: Run, tmp_path: Path) -> None:
    """Of another site it may be: then an order by it says that it needs the id."""
    elsewhere = run("agents", "rename", "pi-lab", "pi-hq")
    ambiguous = run("agents", "revoke", "pi-hq")
    with offline(tmp_path) as services:
        services.store.transact_sync(
            lambda connection: connection.execute("UPDATE agent SET site = 'hq', name = 'pi-2' WHERE site = 'lab'")
        )
    beside = run("agents", "rename", "pi-2", "pi-hq")
    itself = run("agents", "rename", "pi-hq", "pi-hq")

    assert (elsewhere[0], ambiguous[0], beside[0]) == (0, 2, 2)
    assert "'pi-hq' means more than one agent; give the id" in ambiguous[2]
    assert f"name: another agent of hq is called pi-hq, {agent_id(0)}; choose another" in beside[2]
    assert itself == (0, "", "")


def test_a_list_that_selects_nobody_says_so(run: Run) -> None:
    """And not that there are no agents."""
    code, out, err = run("agents", "list", "--select", "site=nowhere")

    assert (code, err) == (0, "")
    assert out == "no agent matches site=nowhere; without --select all are listed\n"


def test_a_token_takes_over_an_agent_by_its_name(run: Run) -> None:
    """As every command finds it; what is kept is the id."""
    made = run("token", "create", "--replace", "pi-hq")
    listed = run("token", "list")

    assert made[0] == 0
    assert agent_id(0) in listed[1]


def test_a_revoked_agent_is_replaced_by_nobody(run: Run) -> None:
    """It is said when the token is made, not when a device fails with it."""
    assert run("agents", "revoke", "pi-hq")[0] == 0

    code, out, err = run("token", "create", "--replace", "pi-hq")

    assert (code, out) == (1, "")
    assert f"agent {agent_id(0)} was revoked, which is for good; leave --replace out" in err


def test_one_agent_that_has_too_much_to_do_holds_up_no_other(run: Run) -> None:
    """Each agent has its result; where the order is for that one alone, it is an error."""
    for _ in range(16):
        assert run("agents", "run", "reload", "--select", "pi-hq")[0] == 0

    code, out, _ = run("agents", "run", "reload", "--select", "*", "-o", "json")
    alone, _, said = run("agents", "run", "reload", "--select", "pi-hq")
    _, audited, _ = run("audit", "list", "-o", "json")

    states = {row["agent_name"]: (row["state"], row["text"]) for row in json.loads(out)}
    full = "16 commands of it have not ended; wait, or cancel some"
    assert (code, states) == (0, {"pi-hq": ("refused", full), "pi-lab": ("waiting", "")})
    assert (alone, said) == (2, f"fieldwatch-collector: agent: pi-hq: {full}\n")
    assert [row["outcome"] for row in json.loads(audited)[-2:]] == ["refused", "done"]


def test_the_audit_log_names_settings_as_people_do(run: Run) -> None:
    assert run("agents", "config", "set", "flows.max=4096", "log.level=debug", "--select", "site=hq")[0] == 0
    assert run("agents", "config", "unset", "log.level", "--select", "site=hq")[0] == 0

    _, table, _ = run("audit", "list")

    assert [line.split()[-1] for line in table.splitlines()[-2:]] == [
        "set=flows.max:4096,log.level:debug",
        "unset=log.level",
    ]


def test_a_setting_for_nobody_yet_says_who_gets_it(run: Run) -> None:
    code, _, err = run("agents", "config", "set", "flows.max=4096", "--select", "role=edge")

    assert (code, err) == (0, "kept for role=edge: 0 agents now; those that come later get it\n")
