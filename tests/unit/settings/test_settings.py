"""Configuration: where a value comes from, what is accepted, and what a mistake is told."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from fieldwatch_proto.quantities import bytes_exact, parse_bytes, parse_seconds, seconds_exact
from fieldwatch_proto.settings import (
    REDACTED,
    ConfigError,
    Loaded,
    Offer,
    effective,
    find_file,
    json_schema,
    load,
    render_show,
    setting,
)
from hypothesis import given
from hypothesis import strategies as st


def even(value: int) -> str | None:
    return None if value % 2 == 0 else "accepted is an even number"


@dataclass(frozen=True)
class Spool:
    max_bytes: int = setting(1 << 30, "most bytes on disk", unit="bytes", low=1 << 20, high=1 << 40)
    seal_age: float = setting(5.0, "age of a batch", unit="seconds", low=0.1)
    workers: int = setting(2, "threads", low=1, high=8, check=even)
    ratio: float = setting(0.5, "share")
    password: str = setting("", "of the store", secret=True)


@dataclass(frozen=True)
class Capture:
    interfaces: tuple[str, ...] = setting((), "names", flag="-i")
    protocols: tuple[str, ...] = setting(("arp",), "which", choices=("arp", "ndp"))
    promiscuous: bool = setting(True, "all frames")
    level: str = setting("info", "log level", choices=("info", "debug"))


@dataclass(frozen=True)
class Config:
    data: str = setting("/var/lib/x", "folder", flag="--data")
    spool: Spool = Spool()
    capture: Capture = Capture()

    def __post_init__(self) -> None:
        if self.capture.level == "debug" and not self.capture.promiscuous:
            raise ValueError("capture.level: debug needs capture.promiscuous")


def loaded(
    tmp_path: Path,
    text: str | None = None,
    environ: dict[str, str] | None = None,
    flags: dict[str, object] | None = None,
) -> Loaded[Config]:
    file = None
    if text is not None:
        file = tmp_path / "agent.toml"
        file.write_text(text)
    return load(Config, file=file, env_prefix="FW", environ=environ or {}, flags=flags or {})


def problems(tmp_path: Path, text: str | None = None, environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text, environ)
    return [problem.replace(str(tmp_path), "DIR") for problem in caught.value.problems]


def test_defaults_stand_where_nothing_is_set(tmp_path: Path) -> None:
    """Without file, environment and flags every value is the dataclass's own."""
    result = loaded(tmp_path)

    assert Config() == result.value
    assert {"default"} == set(result.origins.values())


def test_each_source_wins_over_the_one_before(tmp_path: Path) -> None:
    """Defaults < file < environment < flags, and the origin says which it was."""
    text = 'data = "/file"\n[spool]\nworkers = 4\nratio = 0.25\n[capture]\nlevel = "debug"\n'
    environ = {"FW__SPOOL__WORKERS": "6", "FW__DATA": "/environment", "OTHER": "x"}
    result = loaded(tmp_path, text, environ, {"data": "/flag", "capture.interfaces": None})

    assert (
        result.value.data,
        result.value.spool.workers,
        result.value.spool.ratio,
        result.value.capture.level,
        result.value.capture.interfaces,
    ) == ("/flag", 6, 0.25, "debug", ())
    assert {
        "data": "flag --data",
        "spool.workers": "environment FW__SPOOL__WORKERS",
        "spool.ratio": f"file {tmp_path}/agent.toml",
        "capture.interfaces": "default",
    } == {key: result.origins[key] for key in ("data", "spool.workers", "spool.ratio", "capture.interfaces")}


def test_an_offer_stands_in_the_place_of_defaults(tmp_path: Path) -> None:
    """What somebody else offers counts where file, environment and flags say nothing, and is checked as a file is."""
    path = tmp_path / "x.toml"
    path.write_text('[spool]\nseal_age = "3 s"\n')
    offer = Offer("their settings 7", {"spool": {"seal_age": 9, "workers": 4}, "capture": {"level": "debug"}})

    found = load(Config, file=path, env_prefix="X", environ={"X__CAPTURE__LEVEL": "info"}, flags={}, offer=offer)

    assert (found.value.spool.seal_age, found.value.spool.workers, found.value.capture.level) == (3.0, 4, "info")
    assert found.origins["spool.workers"] == "their settings 7"
    wrong = Offer("their settings 8", {"spool": {"seal_age": 0, "worker": 1}})
    with pytest.raises(ConfigError) as caught:
        load(Config, file=path, env_prefix="X", environ={}, flags={}, offer=wrong)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["their settings 8"] * 2


def test_human_forms(tmp_path: Path) -> None:
    """Sizes and durations may be text with a unit; bare numbers are octets and seconds."""
    result = loaded(tmp_path, '[spool]\nmax_bytes = "50 MB"\nseal_age = "2 min"\n')
    bare = loaded(tmp_path, "[spool]\nmax_bytes = 2097152\nseal_age = 7\n")

    assert (result.value.spool.max_bytes, result.value.spool.seal_age) == (50_000_000, 120.0)
    assert (bare.value.spool.max_bytes, bare.value.spool.seal_age) == (2_097_152, 7.0)


def test_environment_forms(tmp_path: Path) -> None:
    """Lists are separated by commas, truth values are words."""
    environ = {
        "FW__CAPTURE__INTERFACES": "eth0, eth1",
        "FW__CAPTURE__PROMISCUOUS": "off",
        "FW__SPOOL__SEAL_AGE": "250 ms",
    }
    result = loaded(tmp_path, environ=environ)

    assert (
        result.value.capture.interfaces,
        result.value.capture.promiscuous,
        result.value.spool.seal_age,
    ) == (("eth0", "eth1"), False, 0.25)


def test_secret_from_a_file(tmp_path: Path) -> None:
    """`..._FILE` names a file that holds the value; its last line end does not count."""
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    result = loaded(tmp_path, environ={"FW__SPOOL__PASSWORD_FILE": str(secret)})

    assert result.value.spool.password == "hunter2"
    assert result.origins["spool.password"] == "environment FW__SPOOL__PASSWORD_FILE"


def test_unknown_names_point_at_the_nearest(tmp_path: Path) -> None:
    """A typo in a key, a table or a variable is answered with what was most likely meant."""
    text = "[spol]\nworkers = 2\n[spool]\nmax_byte = 1\nlevel = 2\n"

    assert problems(tmp_path, text, {"FW__SPOL__WORKERS": "1"}) == [
        "file DIR/agent.toml: unknown table spol; the nearest known one is spool",
        "file DIR/agent.toml: unknown key spool.max_byte; the nearest known one is spool.max_bytes",
        "file DIR/agent.toml: unknown key spool.level; the nearest known one is capture.level",
        "environment: unknown variable FW__SPOL__WORKERS; the nearest known one is FW__SPOOL__WORKERS",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[spool]\nworkers = 9", "spool.workers = 9: accepted is a number from 1 to 8"),
        ("[spool]\nworkers = 3", "spool.workers = 3: accepted is an even number"),
        ("[spool]\nworkers = 2.5", "spool.workers = 2.5: accepted is a whole number"),
        ('[spool]\nworkers = "2"', 'spool.workers = "2": accepted is a number from 1 to 8'),
        ("[spool]\nratio = nan", "spool.ratio = NaN: accepted is a number"),
        ("[spool]\nworkers = true", "spool.workers = true: accepted is a number from 1 to 8"),
        ("[spool]\nmax_bytes = 1", 'spool.max_bytes = 1: accepted is a size such as "64 MiB" from 1 MiB to 1 TiB'),
        (
            '[spool]\nseal_age = "2 weeks"',
            'spool.seal_age = "2 weeks": accepted is a number with one of the units ms, s, min, h, d: "30 s"',
        ),
        ("[spool]\npassword = 5", f"spool.password = {REDACTED}: accepted is text in quotes"),
        ("[capture]\npromiscuous = 1", "capture.promiscuous = 1: accepted are true and false"),
        ('[capture]\nlevel = "deb"', 'capture.level = "deb": accepted is one of: info, debug'),
        ('[capture]\ninterfaces = "eth0"', 'capture.interfaces = "eth0": accepted is a list of texts, ["a", "b"]'),
        (
            '[capture]\nprotocols = ["arp", "xns"]',
            'capture.protocols = ["arp", "xns"]: xns is not known; accepted are: arp, ndp',
        ),
        ("spool = 1", "spool = 1: accepted is a table, [spool]"),
    ],
)
def test_wrong_values(tmp_path: Path, text: str, problem: str) -> None:
    """The key, the value seen, and what is accepted; never a secret's value."""
    assert [f"file DIR/agent.toml: {problem}"] == problems(tmp_path, text)


def test_values_that_contradict_each_other(tmp_path: Path) -> None:
    """A ValueError of a dataclass is a problem of the file."""
    text = '[capture]\nlevel = "debug"\npromiscuous = false\n'

    assert problems(tmp_path, text) == ["file DIR/agent.toml: capture.level: debug needs capture.promiscuous"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """No such file, no TOML, no UTF-8: one line each."""
    (tmp_path / "octets").write_bytes(b"\xff\xfe")
    (tmp_path / "broken").write_text("[spool\n")

    def problem(name: str) -> str:
        with pytest.raises(ConfigError) as caught:
            load(Config, file=tmp_path / name, env_prefix="FW", environ={}, flags={})
        return str(caught.value).replace(str(tmp_path), "DIR")

    assert problem("none") == "DIR/none: no such file; give another with --config, or leave it out for the defaults"
    assert problem("octets") == "DIR/octets: is not UTF-8 text"
    assert problem("broken").startswith("DIR/broken: is not valid TOML: ")


def test_find_file(tmp_path: Path) -> None:
    """A file that the user names must exist; the default one need not."""
    default = tmp_path / "default.toml"

    assert None is find_file(None, default)
    assert Path("named") == find_file(Path("named"), default)
    default.write_text("")
    assert default == find_file(None, default)


def test_show_is_toml_that_loads_again(tmp_path: Path) -> None:
    """What `config show` prints is a valid file with the same values, but for the secrets."""
    first = loaded(tmp_path, '[spool]\nmax_bytes = "64 MiB"\nseal_age = 0.25\n[capture]\ninterfaces = ["a\\"b"]\n')
    shown = render_show(first)
    second = loaded(tmp_path, shown)

    assert first.value == second.value
    assert ["max_bytes", "=", '"64', 'MiB"', "#", "file", f"{tmp_path}/agent.toml"] == shown.splitlines()[3].split()


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    """Neither the TOML nor the JSON form has the text of a secret; an empty one shows as empty."""
    result = loaded(tmp_path, '[spool]\npassword = "hunter2"\n')
    everything = render_show(result) + json.dumps(effective(result))

    assert "hunter2" not in everything
    assert everything.count(REDACTED) == 2
    assert 'password = ""' in render_show(loaded(tmp_path))


def test_json_schema() -> None:
    """Types, limits, choices, defaults; nothing beside the known keys."""
    schema = json_schema(Config, "Agent")
    spool = schema["properties"]["spool"]

    assert (schema["title"], schema["additionalProperties"], spool["additionalProperties"]) == ("Agent", False, False)
    assert spool["properties"]["max_bytes"] == {
        "type": ["integer", "string"],
        "minimum": 1 << 20,
        "maximum": 1 << 40,
        "description": "most bytes on disk",
        "default": 1 << 30,
    }
    assert schema["properties"]["capture"]["properties"]["protocols"] == {
        "type": "array",
        "items": {"type": "string", "enum": ["arp", "ndp"]},
        "description": "which",
        "default": ["arp"],
    }


@given(st.integers(0, 1 << 50))
def test_sizes_go_round(value: int) -> None:
    """The text of a size reads back as the same number of octets."""
    assert value == parse_bytes(bytes_exact(value))


@given(st.integers(0, 10**10))
def test_durations_go_round(milliseconds: int) -> None:
    """The text of a duration in whole milliseconds reads back as the same duration."""
    value = milliseconds / 1000

    assert value == parse_seconds(seconds_exact(value))


@pytest.mark.parametrize("text", ["", "MiB", "-1 MiB", "1 mib", "1e3", "1 MiB x", "inf"])
def test_what_is_no_size(text: str) -> None:
    """Units are as the standards write them; signs and exponents are not for people."""
    with pytest.raises(ValueError, match="accepted is a number with one of the units"):
        parse_bytes(text)
