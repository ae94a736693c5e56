"""The agent's configuration: its defaults, its checks, and the commands that show it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fieldwatch_agent.cli.main import main
from fieldwatch_agent.config import ENV_PREFIX, AgentConfig, load_config
from fieldwatch_agent.control.remote import RemoteConfiguration
from fieldwatch_agent.control.settings import Pushed
from fieldwatch_proto.settings import ConfigError, leaves


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the machine's own environment says about the agent does not count."""
    import os

    for name in list(os.environ):
        if name.startswith(f"{ENV_PREFIX}__"):
            monkeypatch.delenv(name)


def test_every_key_has_help_and_a_valid_default() -> None:
    """No key without a line of help; the defaults pass their own checks."""
    assert [leaf.key for leaf in leaves(AgentConfig) if not leaf.rule.about] == []
    environ = {}
    for leaf in leaves(AgentConfig):
        name = f"{ENV_PREFIX}__{leaf.key.replace('.', '__').upper()}"
        environ[name] = ",".join(leaf.default) if isinstance(leaf.default, tuple) else str(leaf.default)

    assert AgentConfig() == load_config(environ=environ).value


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("COLLECTOR__ADDRESS", "collector.example"),
        ("COLLECTOR__ADDRESS", "collector.example:0"),
        ("COLLECTOR__ADDRESS", "2001:db8::1:7443"),
        ("COLLECTOR__ADDRESS", "https://collector.example:7443"),
        ("NETWORK__LOCAL_PREFIXES", "203.0.113.7/24"),
        ("NETWORK__LOCAL_PREFIXES", "house"),
        ("CAPTURE__INTERFACES", "a-name-of-sixteen"),
        ("CAPTURE__INTERFACES", "../etc"),
        ("PRIVACY__IGNORE_PROTOCOLS", "smtp"),
    ],
)
def test_refused(key: str, value: str) -> None:
    """What cannot work is refused at the start, with the key in the one line."""
    with pytest.raises(ConfigError) as caught:
        load_config(environ={f"{ENV_PREFIX}__{key}": value})

    (problem,) = caught.value.problems
    assert problem.startswith(f"environment {ENV_PREFIX}__{key}: {key.lower().replace('__', '.')} = ")


@pytest.mark.parametrize(
    "address", ["", "collector.example:7443", "192.0.2.1:7443", "[2001:db8::1]:7443", "[fe80::1%eth0]:1"]
)
def test_addresses(address: str) -> None:
    """Host names, IPv4, bracketed IPv6, and none."""
    assert address == load_config(environ={f"{ENV_PREFIX}__COLLECTOR__ADDRESS": address}).value.collector.address


def test_config_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Valid: exit 0 and one line. Not valid: exit 2 and one line a problem."""
    file = tmp_path / "agent.toml"
    file.write_text('[capture]\ninterfaces = ["eth0"]\n')
    assert main(["config", "check", "--config", str(file)]) == 0
    assert (f"{file}: valid; keys that are not at their default: 1\n", "") == capsys.readouterr()

    file.write_text('[captur]\nx = 1\n[log]\nlevel = "loud"\n')
    assert main(["config", "check", "--config", str(file)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert [
        f"fieldwatch-agent: file {file}: unknown table captur; the nearest known one is capture",
        f'fieldwatch-agent: file {file}: log.level = "loud": accepted is one of: debug, info, warning, error',
    ] == err.splitlines()


def test_config_check_compiles_the_filter(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A filter that libpcap does not understand is a mistake of the configuration."""
    file = tmp_path / "agent.toml"
    file.write_text('[capture]\nfilter = "prt 53"\n')

    assert main(["config", "check", "--config", str(file)]) == 2
    assert capsys.readouterr().err == "fieldwatch-agent: filter 'prt 53': can't parse filter expression: syntax error\n"


def test_config_show_and_schema(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The origin of each value is told; the schema is JSON that knows every table."""
    file = tmp_path / "agent.toml"
    file.write_text('[flows]\nidle = "30 s"\n')
    monkeypatch.setenv(f"{ENV_PREFIX}__LOG__LEVEL", "debug")
    assert main(["config", "show", "--config", str(file), "--json"]) == 0
    rows = {row["key"]: (row["value"], row["origin"]) for row in json.loads(capsys.readouterr().out)}

    assert (30.0, f"file {file}") == rows["flows.idle"]
    assert ("debug", f"environment {ENV_PREFIX}__LOG__LEVEL") == rows["log.level"]
    assert rows["flows.max"] == (65_536, "default")
    assert main(["config", "schema"]) == 0
    assert {leaf.key.split(".")[0] for leaf in leaves(AgentConfig)} == set(
        json.loads(capsys.readouterr().out)["properties"]
    )


def test_config_show_tells_what_the_collector_has_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its origin, where the file says nothing; what this agent cannot use is named, and left out."""
    file = tmp_path / "agent.toml"
    file.write_text(f'data = "{tmp_path}"\n[flows]\nidle = "30 s"\n')
    remote = RemoteConfiguration(tmp_path)
    remote.try_out(Pushed(3, {"flows": {"idle": 90, "active": 600}}))
    assert main(["config", "show", "--config", str(file), "--json"]) == 0
    rows = {row["key"]: (row["value"], row["origin"]) for row in json.loads(capsys.readouterr().out)}
    remote.try_out(Pushed(4, {"flows": {"magic": True}}))
    assert main(["config", "show", "--config", str(file)]) == 0
    out, err = capsys.readouterr()

    assert rows["flows.idle"] == (30.0, f"file {file}")
    assert rows["flows.active"] == (600.0, "collector's configuration 3")
    assert err.startswith(
        "without what the collector has set, which this agent cannot use: collector's configuration 4"
    )
    assert "collector's configuration" not in out
