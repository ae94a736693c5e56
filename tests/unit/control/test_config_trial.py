"""The collector's configuration: taken, on trial, confirmed, reverted, rejected; what the local file says stands."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_agent.config import AgentConfig
from fieldwatch_agent.control.configuration import ConfigurationCare
from fieldwatch_agent.control.remote import RemoteConfiguration
from fieldwatch_agent.control.settings import CLOSED, LIVE, Pushed, Settings, parse
from fieldwatch_proto.settings import ConfigError, leaves
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.commanding import Commanding, Desk, commanding
from support.signing import Signer
from support.stack import wait_for


class Pushing:
    """A collector that pushes configurations; `push` waits for what became of the command."""

    def __init__(self, site: Commanding) -> None:
        self.site = site
        self.signer = Signer(site.collector.authority)
        self._number = 0

    @property
    def remote(self) -> RemoteConfiguration:
        remote: RemoteConfiguration = self.site.agent.configuration.remote
        return remote

    def push(self, pushed: pb.RemoteConfig) -> pb.CommandReport:
        self._number += 1
        command_id = f"push-{self._number}"
        self.site.collector.command(pb.Command(id=command_id, name="config", config=pushed, actor="user:ada"))
        return self.site.end(command_id)

    def settings(self, version: int, settings: Any) -> pb.CommandReport:
        return self.push(self.signer.sign(version, settings))

    def told(self) -> tuple[int, str, str]:
        return self.remote.version, self.remote.state_name, self.remote.problem


@contextmanager
def pushing(folder: Path, toml: str = "") -> Iterator[Pushing]:
    with commanding(folder, toml) as site:
        yield Pushing(site)


def test_live_settings_count_at_once(tmp_path: Path) -> None:
    """On trial, with their origin; the event tells; a fresh record confirms, and that is on disk."""
    with pushing(tmp_path) as site:
        last = site.settings(1, {"log": {"level": "debug"}})
        settings = site.site.agent.settings
        assert site.told() == (1, "applied", "")
        site.site.agent.configuration.look(time.monotonic())

    assert json.loads(last.result) == {"version": 1, "state": "applied", "applied": ["log.level"], "restart": []}
    assert (settings.value.log.level, settings.loaded.origins["log.level"]) == ("debug", "collector's configuration 1")
    assert site.told() == (1, "confirmed", "")
    assert [event["state"] for event in site.site.agent.events] == ["applied", "confirmed"]
    again = RemoteConfiguration(tmp_path)
    assert (again.in_force, again.on_trial, again.floor) == (Pushed(1, {"log": {"level": "debug"}}), False, 1)


def test_what_cannot_change_live_begins_the_agent_anew(tmp_path: Path) -> None:
    """Once, after the report; until then nothing of it counts; the next start has it, on trial."""
    with pushing(tmp_path) as site:
        last = site.settings(1, {"capture": {"filter": "not port 22"}, "flows": {"idle": "30 s"}})
        before = site.site.agent.settings.value.capture.filter
        wait_for(lambda: site.site.agent.restarts == 1, "it begins anew")
        site.site.agent.configuration.look(time.monotonic())
    restarted = Desk(tmp_path)

    assert json.loads(last.result)["restart"] == ["capture.filter", "flows.idle"]
    assert before == ""
    assert site.site.agent.restarts == 1
    assert site.remote.on_trial  # a record that was sealed before the restart confirms nothing
    assert restarted.settings.value.capture.filter == "not port 22"
    assert restarted.configuration.remote.on_trial


def test_the_local_word_wins(tmp_path: Path) -> None:
    """What the agent's file says stands, whatever the collector says; what it leaves open is the collector's."""
    with pushing(tmp_path, '[log]\nlevel = "warning"\n[privacy]\nignore_protocols = ["dns"]\n') as site:
        site.settings(1, {"log": {"level": "debug"}, "privacy": {"ignore_protocols": []}, "spool": {"max_age": "1 d"}})
        value = site.site.agent.settings.value

    assert (value.log.level, value.privacy.ignore_protocols, value.spool.max_age) == ("warning", ("dns",), 86_400.0)


def test_row_36_a_config_signed_by_the_wrong_key_or_older_is_refused(tmp_path: Path) -> None:
    """Nothing of it counts; it says why; a forged version does not lock the collector's next one out."""
    with pushing(tmp_path) as site:
        site.settings(5, {"log": {"level": "debug"}})
        site.site.agent.configuration.look(time.monotonic())
        older = site.settings(4, {"log": {"level": "error"}})
        told_after_older = site.told()
        stranger = Signer(type(site.site.collector.authority)())
        forged = site.push(stranger.sign(1 << 60, {"log": {"level": "error"}}))
        told_after_forged = site.told()
        level = site.site.agent.settings.value.log.level
        newer = site.settings(6, {"log": {"level": "warning"}})

    assert older.state == pb.COMMAND_FAILED
    assert older.text == "configuration 4 is refused: 5 was seen before, and versions rise"
    assert told_after_older == (5, "confirmed", "")
    assert forged.state == pb.COMMAND_FAILED
    assert forged.text.endswith("is refused: the signer's certificate was not issued by this agent's CA")
    assert told_after_forged == (5, "confirmed", "")
    assert (level, newer.state) == ("debug", pb.COMMAND_DONE)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"log": {"level": "loud"}}, 'log.level = "loud": accepted is one of'),
        ({"logs": {"level": "debug"}}, "unknown table logs; the nearest known one is log"),
        ({"capture": {"filter": "no such term ("}}, "filter 'no such term ('"),
        ({"capture": []}, "accepted is a table"),
        (b"[]", "is no JSON object of sections"),
        (b"{", "is not JSON"),
        (b"[" * 60_000, "is not JSON"),
        ({"data": "/tmp"}, "data is the agent's own to set"),
        ({"remote": {"allow": ["capture"]}}, "remote.allow is the agent's own to set"),
        ({"remote": {"trial": 86_400}}, "remote.trial is the agent's own to set"),
        ({"collector": {"address": "elsewhere:7443"}}, "collector.address is the agent's own to set"),
        ({"vendors": {"path": "/etc/shadow"}}, "vendors.path is the agent's own to set"),
    ],
)
def test_what_is_not_valid_is_rejected(tmp_path: Path, settings: Any, problem: str) -> None:
    """The reason is told, nothing changes, the version is used up."""
    with pushing(tmp_path) as site:
        before = site.site.agent.settings.effective()
        last = site.settings(1, settings)
        told = site.told()
        after = site.site.agent.settings.effective()

    assert (last.state, before == after) == (pb.COMMAND_FAILED, True)
    assert problem in last.text
    assert told[:2] == (1, "rejected")
    assert problem in told[2]
    assert site.site.agent.restarts == 0


def test_what_is_too_large_is_not_even_looked_at(tmp_path: Path) -> None:
    """64 KiB of settings are enough for every key there is."""
    with pushing(tmp_path) as site:
        last = site.settings(1, b" " * (64 << 10) + b"{}")

    assert (last.state, "octets; accepted are 65536" in last.text) == (pb.COMMAND_FAILED, True)
    assert site.told() == (0, "none", "")


def test_no_key_of_trust_is_open() -> None:
    """Every key is either for the collector to set or in the list of those that are not; live ones exist."""
    known = {leaf.key for leaf in leaves(AgentConfig)}

    assert set(CLOSED) | set(LIVE) <= known
    assert {key for key in known if key.startswith(("remote.", "collector.add", "data"))} <= set(CLOSED)
    for key in CLOSED:
        section, _, name = key.rpartition(".")
        with pytest.raises(ConfigError):
            parse(1, json.dumps({section: {name: ""}} if section else {name: ""}).encode())


def test_row_35_a_config_that_breaks_shipping_is_reverted(tmp_path: Path) -> None:
    """No fresh record within the trial: the one before is in force again, with the reason, also on disk."""
    with pushing(tmp_path, "[remote]\ntrial = 1\n") as site:
        site.settings(1, {"log": {"level": "warning"}})
        site.site.agent.configuration.look(time.monotonic())
        stale_s = time.monotonic()
        site.settings(2, {"log": {"level": "debug"}})
        deadline = time.monotonic() + 10
        while site.remote.on_trial and time.monotonic() < deadline:
            site.site.agent.configuration.look(stale_s)
            time.sleep(0.02)
        level = site.site.agent.settings.value.log.level

    problem = "no fresh record reached the collector within 1 s"
    assert site.told() == (2, "reverted", problem)
    assert level == "warning"
    assert site.site.agent.events[-1] == {"version": 2, "state": "reverted", "problem": problem}
    again = RemoteConfiguration(tmp_path)
    assert (again.in_force, again.floor, again.problem) == (Pushed(1, {"log": {"level": "warning"}}), 2, problem)


def outlast(configuration: ConfigurationCare, stale_s: float) -> None:
    """No fresh record comes for as long as a trial takes."""
    state = configuration.remote.state, configuration.remote.problem
    wait_for(
        lambda: configuration.look(stale_s) or (configuration.remote.state, configuration.remote.problem) != state,
        "the time is over",
        10,
    )


def test_row_35_what_the_one_before_survives_is_not_tried_again(tmp_path: Path) -> None:
    """A fresh record comes soon after the revert: it was the configuration, and no outage later brings it back."""
    with pushing(tmp_path, "[remote]\ntrial = 1\n") as site:
        configuration, stale_s = site.site.agent.configuration, time.monotonic()
        site.settings(1, {"log": {"level": "debug"}})
        outlast(configuration, stale_s)
        suspected = site.remote.has_suspect
        configuration.look(time.monotonic())

    assert suspected
    assert (site.remote.has_suspect, RemoteConfiguration(tmp_path).has_suspect) == (False, False)
    assert site.told() == (1, "reverted", "no fresh record reached the collector within 1 s")


@pytest.mark.parametrize("ships", [True, False])
def test_row_35_a_collector_that_was_away_costs_no_configuration(tmp_path: Path, ships: bool) -> None:
    """Neither ships: tried once more when the collector is back, then confirmed, or reverted for good."""
    with pushing(tmp_path, "[remote]\ntrial = 1\n") as site:
        configuration, stale_s = site.site.agent.configuration, time.monotonic()
        site.settings(1, {"log": {"level": "debug"}})
        outlast(configuration, stale_s)
        outlast(configuration, stale_s)
        excused = site.told()
        level = site.site.agent.settings.value.log.level
        configuration.look(back_s := time.monotonic())
        again = site.told(), site.site.agent.settings.value.log.level
        if ships:
            configuration.look(time.monotonic())
        else:
            outlast(configuration, back_s)
        ended = site.told(), site.site.agent.settings.value.log.level

    problem = "no fresh record reached the collector within 1 s"
    assert excused[:2] == (1, "reverted")
    assert excused[2].startswith(f"{problem}; nor did one with the configuration before")
    assert (level, again) == ("info", ((1, "applied", ""), "debug"))
    assert ended == (((1, "confirmed", ""), "debug") if ships else ((1, "reverted", problem), "info"))
    assert not RemoteConfiguration(tmp_path).has_suspect


def test_a_suspect_outlives_restarts(tmp_path: Path) -> None:
    """Keys that wait for a restart begin the agent anew for each trial; what is known of the suspect is on disk."""
    with pushing(tmp_path, "[remote]\ntrial = 1\n") as site:
        site.settings(1, {"flows": {"idle": "30 s"}})
    filters = []
    for _ in range(3):
        stale_s = time.monotonic()
        desk = Desk(tmp_path)
        filters.append(desk.settings.value.flows.idle)
        outlast(desk.configuration, stale_s)
        if desk.configuration.remote.excused:
            desk.configuration.look(time.monotonic())
            filters.append(desk.restarts)

    assert filters == [30.0, 60.0, 1, 30.0]
    assert (desk.configuration.remote.state_name, desk.configuration.remote.has_suspect) == ("reverted", False)


def test_a_newer_configuration_ends_the_case_of_the_suspect(tmp_path: Path) -> None:
    """Whether it is taken or rejected: nobody wants the older one any more."""
    for settings in ({"log": {"level": "warning"}}, {"log": {"level": "loud"}}):
        remote = RemoteConfiguration(tmp_path)
        remote.try_out(Pushed(remote.floor + 1, {"log": {"level": "debug"}}))
        remote.revert("a test", suspected=True)
        before = remote.has_suspect
        if settings["log"]["level"] == "loud":
            remote.reject(remote.floor + 1, "a test")
        else:
            remote.try_out(Pushed(remote.floor + 1, settings))

        assert (before, remote.has_suspect, RemoteConfiguration(tmp_path).has_suspect) == (True, False, False)


@pytest.mark.parametrize("ships", [True, False])
def test_what_is_told_of_a_rejected_version_outlives_the_trial_before(tmp_path: Path, ships: bool) -> None:
    """A version that was rejected while an older one was on trial is never called confirmed."""
    with pushing(tmp_path, "[remote]\ntrial = 1\n") as site:
        stale_s = time.monotonic()
        site.settings(1, {"log": {"level": "debug"}})
        site.settings(2, {"log": {"level": "loud"}})
        rejected = site.told()
        if ships:
            site.site.agent.configuration.look(time.monotonic())
        else:
            outlast(site.site.agent.configuration, stale_s)

    also = "; version 1, which was on trial, is reverted: no fresh record reached the collector within 1 s"
    assert rejected[:2] == (2, "rejected")
    assert site.told() == (2, "rejected", rejected[2] + ("" if ships else also))
    assert site.remote.in_force == (Pushed(1, {"log": {"level": "debug"}}) if ships else None)
    assert (site.remote.floor, site.remote.has_suspect) == (2, False)


def test_a_version_that_comes_while_another_is_taken_waits_for_its_turn(tmp_path: Path) -> None:
    """Two changes in a row: the later one counts, and is not turned away as too early."""
    with pushing(tmp_path) as site:
        turn = site.site.agent.configuration.turn
        with turn:
            for version, level in ((1, "debug"), (2, "warning")):
                pushed = site.signer.sign(version, {"log": {"level": level}})
                site.site.collector.command(
                    pb.Command(id=f"v{version}", name="config", config=pushed, actor="user:ada")
                )
            wait_for(lambda: site.site.outcomes().count(("config", "accepted")) == 2, "both wait")
            site.site.collector.command(pb.Command(id="v1", cancel=True, actor="user:ada"))
            first = site.site.end("v1")
        second = site.site.end("v2")
        level = site.site.agent.settings.value.log.level

    assert (first.state, second.state) == (pb.COMMAND_CANCELLED, pb.COMMAND_DONE)
    assert (level, site.told()) == ("warning", (2, "applied", ""))


def test_a_write_budget_gives_a_trial_more_time(tmp_path: Path) -> None:
    """Records that are sealed later to spare the disk are no sign of trouble."""
    with pushing(tmp_path, "[remote]\ntrial = 1\n") as site:
        site.settings(1, {"log": {"level": "debug"}})
        since = time.monotonic()
        wait_for(lambda: time.monotonic() - since > 1.2, "the trial alone is over", 5)
        site.site.agent.configuration.look(None, 60.0)
        patient = site.remote.on_trial
        site.site.agent.configuration.look(None)

    assert (patient, site.remote.on_trial) == (True, False)


def test_row_35_the_third_start_is_without_it(tmp_path: Path) -> None:
    """Killed twice with it on trial, before anything was confirmed: the third start reverts it."""
    with pushing(tmp_path) as site:
        site.settings(1, {"capture": {"filter": "not port 22"}})
    seen = []
    for _ in range(3):
        started = Desk(tmp_path)
        started.configuration.started()
        seen.append((started.settings.value.capture.filter, started.configuration.remote.on_trial))

    assert seen == [("not port 22", True), ("not port 22", True), ("", False)]
    assert [event["state"] for event in started.events] == ["reverted"]
    assert "third time" in started.configuration.remote.problem


def test_stops_that_were_asked_for_do_not_count(tmp_path: Path) -> None:
    """An agent that is restarted by hand, or that begins anew, has not failed."""
    with pushing(tmp_path) as site:
        site.settings(1, {"capture": {"filter": "not port 22"}})
    for _ in range(5):
        started = Desk(tmp_path)
        started.configuration.stopped()

    assert started.configuration.remote.on_trial


def test_a_config_with_which_the_agent_does_not_start_is_reverted_at_once(tmp_path: Path) -> None:
    """It tells with what it failed, and that another try is worth while; without a trial it is not."""
    with pushing(tmp_path) as site:
        site.settings(1, {"capture": {"interfaces": ["can0"]}})
    started = Desk(tmp_path)
    first = started.configuration.start_failed(RuntimeError("interface can0 is a CAN"))
    again = Desk(tmp_path)
    second = again.configuration.start_failed(RuntimeError("something else"))

    assert (first, second) == (True, False)
    assert again.settings.value.capture.interfaces == ()
    assert again.configuration.remote.problem == "the agent does not start with it: interface can0 is a CAN"


def test_the_same_version_again_is_in_force_already(tmp_path: Path) -> None:
    """A collector that pushes after each reconnect changes nothing."""
    with pushing(tmp_path) as site:
        pushed = site.signer.sign(3, {"log": {"level": "debug"}})
        site.push(pushed)
        again = site.push(pushed)
        mismatched = pb.Command(id="m1", name="config", arguments=b'{"version": 4}', config=pushed)
        site.site.collector.command(mismatched)
        wrong = site.site.end("m1")

    assert wrong.text == "the settings are of version 3, not 4"
    assert (again.state, again.text) == (pb.COMMAND_DONE, "version 3 is in force")
    assert [event["state"] for event in site.site.agent.events] == ["applied"]


def test_an_agent_that_takes_no_more_configurations_goes_by_its_own(tmp_path: Path) -> None:
    """`config` out of [remote] allow: what was confirmed before does not count any more."""
    with pushing(tmp_path) as site:
        site.settings(1, {"log": {"level": "debug"}})
        site.site.agent.configuration.look(time.monotonic())
    (tmp_path / "agent.toml").write_text('[remote]\nallow = ["reload"]\n')

    assert Desk(tmp_path).settings.value.log.level == "info"


def test_a_trial_does_not_go_on_where_it_is_not_in_force(tmp_path: Path) -> None:
    """`config` out of [remote] allow during a trial: fresh records confirm nothing, starts are not counted."""
    with pushing(tmp_path) as site:
        site.settings(1, {"log": {"level": "debug"}})
    (tmp_path / "agent.toml").write_text('[remote]\nallow = ["reload"]\n')
    for _ in range(4):
        started = Desk(tmp_path)
        started.configuration.look(time.monotonic())

    assert started.configuration.remote.on_trial


def test_a_key_that_this_version_does_not_know_any_more(tmp_path: Path) -> None:
    """Confirmed by another version of the agent: it starts without it and says so."""
    remote = RemoteConfiguration(tmp_path)
    remote.try_out(Pushed(9, {"capture": {"magic": True}}))
    remote.confirm()

    started = Desk(tmp_path)

    assert started.configuration.remote.in_force is None
    assert started.configuration.remote.state == pb.CONFIG_REJECTED
    assert "capture.magic" in started.configuration.remote.problem


def test_a_damaged_file_is_as_none(tmp_path: Path) -> None:
    """Whatever stands in it, the agent starts; it is written anew with the next change."""
    (tmp_path / "control").mkdir()
    for octets in (b"", b"\0\0\0", b"[]", b'{"trial": 7, "told": [], "floor": "x", "confirmed": {"version": 1}}'):
        (tmp_path / "control" / "remote.json").write_bytes(octets)
        remote = RemoteConfiguration(tmp_path)
        assert (remote.in_force, remote.floor, remote.version) == (None, 0, 0)
    remote.try_out(Pushed(1, {}))

    assert RemoteConfiguration(tmp_path).floor == 1


def test_the_effective_configuration_has_one_form(tmp_path: Path) -> None:
    """Sections of keys, sorted, the same octets for the same values; the digest changes with any of them."""
    (tmp_path / "agent.toml").write_text('[capture]\nfilter = "ip"\n')
    settings = Settings(tmp_path / "agent.toml", {})
    before = settings.digest()
    effective = json.loads(settings.effective())
    (tmp_path / "agent.toml").write_text("[log]\nlevel = 'error'\n[capture]\nfilter = \"ip\"\n")
    settings.adopt(settings.read(None))

    assert effective["capture"]["filter"] == "ip"
    assert effective["data"] == "/var/lib/fieldwatch/agent"
    assert list(effective) == sorted(effective)
    assert settings.digest() != before
    assert settings.digest() == settings.digest()
