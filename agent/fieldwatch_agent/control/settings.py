"""The configuration in force: the agent's own, and what the collector sends for what that leaves open.

    defaults < the collector's < file < environment < flags

The local word outranks the collector's (`docs/decisions/0016-the-local-word-wins.md`). What a collector may never say
is in `CLOSED`. While the agent runs only the keys in `LIVE` change; others wait for a restart, and are told as such.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fieldwatch_proto.settings import ConfigError, Loaded, Offer, effective, leaves

from fieldwatch_agent.config import AgentConfig, load_config

# Keys that are the machine's own: where its files are, whom it trusts, what it lets a collector do.
CLOSED = ("data", "collector.address", "vendors.path", "remote.allow", "remote.trial")
LIVE = (
    *("log.level", "log.format", "remote.allow", "remote.trial"),
    *("spool.max_bytes", "spool.max_age", "spool.min_free_bytes"),
)
MAX_PUSHED_BYTES = 64 << 10


class Pushed(NamedTuple):
    """A configuration of the collector's: section -> key -> value."""

    version: int
    settings: Mapping[str, Any]


def parse(version: int, octets: bytes) -> Pushed:
    """The settings of a RemoteConfig. Raises ConfigError; which values are good is told by `Settings.read`."""
    origin = _origin(version)
    if len(octets) > MAX_PUSHED_BYTES:
        raise ConfigError(f"{origin}: {len(octets)} octets; accepted are {MAX_PUSHED_BYTES}")
    try:
        settings = json.loads(octets or b"{}")
    except (ValueError, RecursionError):
        raise ConfigError(f"{origin}: is not JSON") from None
    if not isinstance(settings, dict):
        raise ConfigError(f"{origin}: is no JSON object of sections")
    problems = [f"{origin}: {key} is the agent's own to set, in its own file" for key in CLOSED if _has(settings, key)]
    if problems:
        raise ConfigError(*problems)
    return Pushed(version, settings)


def _origin(version: int) -> str:
    return f"collector's configuration {version}"


def _has(settings: Mapping[str, Any], key: str) -> bool:
    section, _, name = key.rpartition(".")
    if not section:
        return name in settings
    return isinstance(settings.get(section), dict) and name in settings[section]


class Settings:
    """`file` and `flags` as `load_config` takes them; they are read anew by each `read`. Raises ConfigError."""

    def __init__(self, file: Path | None, flags: Mapping[str, object]) -> None:
        self._file, self._flags = file, flags
        self.loaded: Loaded[AgentConfig] = load_config(file, flags)
        self.pending: tuple[str, ...] = ()
        """Keys whose new values wait for a restart."""
        self._effective: tuple[Loaded[AgentConfig] | None, bytes] = (None, b"")

    @property
    def value(self) -> AgentConfig:
        return self.loaded.value

    def read(self, pushed: Pushed | None) -> Loaded[AgentConfig]:
        """What the file, the environment and the collector say now; the collector nothing where it may not."""
        local = load_config(self._file, self._flags)
        if pushed is None or "config" not in local.value.remote.allow:
            return local
        return load_config(self._file, self._flags, offer=Offer(_origin(pushed.version), pushed.settings))

    def start_with(self, loaded: Loaded[AgentConfig]) -> None:
        """Nothing runs yet: everything counts."""
        self.loaded, self.pending = loaded, ()

    def adopt(self, loaded: Loaded[AgentConfig]) -> tuple[list[str], list[str]]:
        """Put the live keys in force; (keys that changed, keys that wait for a restart)."""
        before, after = _flat(self.loaded), _flat(loaded)
        changed = [key for key in after if after[key] != before[key]]
        live = [key for key in changed if key in LIVE]
        waiting = [key for key in changed if key not in LIVE]
        origins = {**loaded.origins, **{key: self.loaded.origins[key] for key in waiting}}
        self.loaded = Loaded(_with(loaded.value, {key: before[key] for key in waiting}), origins)
        self.pending = tuple(waiting)
        return live, waiting

    def effective(self) -> bytes:
        """Section -> key -> value as canonical JSON, without secrets. Made once, for every heartbeat asks."""
        of, text = self._effective
        if of is not self.loaded:
            text = _canonical(self.loaded)
            self._effective = self.loaded, text
        return text

    def digest(self) -> bytes:
        """SHA-256 of `effective`."""
        return hashlib.sha256(self.effective()).digest()


def _canonical(loaded: Loaded[AgentConfig]) -> bytes:
    tables: dict[str, Any] = {}
    for row in effective(loaded):
        section, _, name = row["key"].rpartition(".")
        (tables.setdefault(section, {}) if section else tables)[name] = row["value"]
    return json.dumps(tables, sort_keys=True, separators=(",", ":")).encode()


def _flat(loaded: Loaded[AgentConfig]) -> dict[str, Any]:
    values = {}
    for leaf in leaves(AgentConfig):
        value: Any = loaded.value
        for part in leaf.key.split("."):
            value = getattr(value, part)
        values[leaf.key] = value
    return values


def _with(config: AgentConfig, values: Mapping[str, Any]) -> AgentConfig:
    """The configuration with some values replaced."""
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        if section:
            table: Any = dataclasses.replace(getattr(config, section), **{name: value})
            config = dataclasses.replace(config, **{section: table})
        else:
            config = dataclasses.replace(config, **{name: value})
    return config


def sections(keys: Iterable[str]) -> str:
    """Keys for a sentence."""
    return ", ".join(keys) or "nothing"
