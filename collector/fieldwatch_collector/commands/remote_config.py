"""Remote settings: what people set for the agents that a selector means, merged into one version for each agent.

- A more specific selector wins: ``*`` < one term < several terms < an agent by its id. Of two that are alike the one
  that was set last wins, key by key.
- Each change of what this comes to for an agent is a new version, higher than any that it was given or has tried. It
  travels as the command "config", which waits for the agent like any other; a newer version takes its place.
- The agent checks sections, keys and values, keeps what its own file says, tries the rest out and tells how that went.
  Here only the shape and the size are checked.
- What is signed: agent.proto, RemoteConfig. It is signed when it is sent, so a renewed key needs no new version.
"""

from __future__ import annotations

import hashlib
import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fieldwatch_proto.schema import time_text
from fieldwatch_proto.v1 import agent_pb2 as pb

from fieldwatch_collector.commands import registry, table
from fieldwatch_collector.identity.signing import ConfigSigner
from fieldwatch_collector.journal import record
from fieldwatch_collector.read_model import selectors
from fieldwatch_collector.read_model.asking import BadRequest

EVENT = "agent.config"
COLLECTOR = "collector"  # who acts where nobody asked
UNASKED_A_DAY = 8  # commands to one agent
MAX_VERSION = (1 << 63) - 1
MAX_SETTINGS_BYTES = 64 << 10  # of one agent, as JSON
MAX_VALUE_BYTES = 8 << 10
_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

Event = dict[str, Any]
Settings = dict[str, dict[str, Any]]  # section -> key -> value


@dataclass(frozen=True, slots=True)
class Change:
    """What somebody does to the settings of a selector: values to set, and (section, key) to forget."""

    values: Mapping[str, Mapping[str, Any]]
    unset: Sequence[tuple[str, str]] = ()

    def check(self) -> None:
        """Raises BadRequest."""
        if not isinstance(self.values, Mapping):
            raise BadRequest("settings: an object is wanted: section -> key -> value")
        if not self.values and not self.unset:
            raise BadRequest("settings: nothing to change; give SECTION.KEY=VALUE")
        for section, keys in self.values.items():
            if not isinstance(keys, Mapping) or not keys:
                raise BadRequest(f"settings: {section!s:.60} must be an object with at least one key")
            for key, value in keys.items():
                _check_name(section, key)
                _check_value(f"{section}.{key}", value)
        for section, key in self.unset:
            _check_name(section, key)


def _check_name(section: object, key: object) -> None:
    for part in (section, key):
        if not isinstance(part, str) or not _NAME.fullmatch(part):
            raise BadRequest(
                f"settings: {part!r:.60} is no name; accepted is SECTION.KEY in lower case, as agents have it"
            )


def _check_value(name: str, value: object) -> None:
    listed = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str | int | float | bool) for one in listed):
        raise BadRequest(f"settings: {name}: accepted is a text, a number, true, false, or a list of those")
    try:
        size = len(json.dumps(value, allow_nan=False).encode())
    except ValueError:
        raise BadRequest(f"settings: {name}: accepted are finite numbers") from None
    if size > MAX_VALUE_BYTES:
        raise BadRequest(f"settings: {name} has {size} octets; the limit is {MAX_VALUE_BYTES}")


def change(
    connection: sqlite3.Connection,
    changed: Sequence[selectors.Selector],
    change: Change,
    *,
    actor: str,
    now_ns: int,
) -> tuple[list[sqlite3.Row], list[Event]]:
    """Change the settings of some selectors, and give every agent that one of them means its new version.

    Rows of those agents, and events. Raises BadRequest, also where none of the selectors has what is to be unset.
    """
    texts = [selector.text for selector in changed]
    for section, key in change.unset:
        gone = connection.executemany(
            "DELETE FROM config_setting WHERE selector = ? AND section = ? AND key = ?",
            [(text, section, key) for text in texts],
        ).rowcount
        if not gone:
            raise BadRequest(f"settings: {section}.{key} is not set for {', '.join(texts)}; see: agents config show")
    connection.executemany(
        "INSERT OR REPLACE INTO config_setting(selector, section, key, value, actor, set_ns) VALUES(?, ?, ?, ?, ?, ?)",
        [
            (text, section, key, json.dumps(value), actor, now_ns)
            for text in texts
            for section, keys in change.values.items()
            for key, value in keys.items()
        ],
    )
    events: list[Event] = []
    weighed = _weighed(connection)
    concerned = [
        agent
        for agent in selectors.chosen(connection, selectors.Selector())
        if any(selector.matches(agent["id"], agent["site"], selectors.tags_of(agent)) for selector in changed)
    ]
    for agent in concerned:
        again = _did_not_take(connection, agent)
        events += refresh(connection, agent, actor=actor, now_ns=now_ns, weighed=weighed, again=again)
    return concerned, events


def brought(connection: sqlite3.Connection, agents: Sequence[sqlite3.Row]) -> list[dict[str, Any]]:
    """The version that each of these agents is to have, and the open command that brings it: ConfigResult each."""
    return [
        {
            "agent": agent["id"],
            "agent_name": agent["name"],
            "version": version,
            "command": command or "",
        }
        for agent in agents
        for version, command in connection.execute(
            "SELECT coalesce((SELECT version FROM agent_config WHERE agent = ?1), 0), (SELECT id FROM command"
            " WHERE agent = ?1 AND name = ?2 AND ended_ns IS NULL ORDER BY id DESC LIMIT 1)",
            (agent["id"], registry.CONFIG),
        )
    ]


def _did_not_take(connection: sqlite3.Connection, agent: sqlite3.Row) -> bool:
    """Whether an agent went back from its newest version, or never took it: who sets something again wants it tried
    again."""
    last = held(connection, agent["id"])
    if last is None:
        return False
    said = json.loads(agent["status"]).get("config", {})
    if said.get("version", 0) == last["version"]:
        return said.get("state") in ("reverted", "rejected")
    newest = connection.execute(
        "SELECT state FROM command WHERE agent = ? AND name = ? ORDER BY id DESC LIMIT 1",
        (agent["id"], registry.CONFIG),
    ).fetchone()
    return newest is not None and newest["state"] in (table.FAILED, table.REFUSED, table.EXPIRED, table.CANCELLED)


def refresh(
    connection: sqlite3.Connection,
    agent: sqlite3.Row,
    *,
    actor: str,
    now_ns: int,
    tried: int | None = None,
    may_repeat: bool = False,
    again: bool = False,
    weighed: Sequence[Mapping[str, Any]] | None = None,
) -> list[Event]:
    """Bring an agent's version to what its settings come to, and see that a command carries it.

    tried: the newest version that the agent says it has tried; None = as its stored status says. may_repeat: the agent
    has just connected, so what it was sent and does not know of is sent again; what comes of sessions alone is bounded,
    `UNASKED_A_DAY`. again: a new version although the settings are those of the last one.
    weighed: every setting, as `_weighed` gives them, for who asks for many agents.
    """
    if actor == COLLECTOR and _often(connection, agent, now_ns):
        return []
    settings = json.dumps(values_of(merged(connection, agent, weighed)), sort_keys=True, separators=(",", ":"))
    if len(settings) > MAX_SETTINGS_BYTES:
        raise BadRequest(f"settings: {len(settings)} octets for {agent['name']}; the limit is {MAX_SETTINGS_BYTES}")
    last = held(connection, agent["id"])
    version = last["version"] if last is not None else 0
    if tried is None:
        tried = json.loads(agent["status"]).get("config", {}).get("version", 0)
    if version == 0 and tried == 0 and settings == "{}":
        return []
    # Behind what the agent has tried: this collector was restored from an older backup, or the device was another agent
    # before, and what was set for that one is not for this one.
    if last is None or last["settings"] != settings or tried > version or again:
        version = min(max(version, tried) + 1, MAX_VERSION)
        connection.execute(
            "INSERT INTO agent_config(agent, version, settings, made_ns) VALUES(?1, ?2, ?3, ?4) ON CONFLICT(agent)"
            " DO UPDATE SET version = ?2, settings = ?3, made_ns = ?4, confirmed_hash = ''",
            (agent["id"], version, settings, now_ns),
        )
    if tried == version:
        return []
    return _carry(connection, agent, version, actor=actor, now_ns=now_ns, may_repeat=may_repeat)


def _carry(
    connection: sqlite3.Connection, agent: sqlite3.Row, version: int, *, actor: str, now_ns: int, may_repeat: bool
) -> list[Event]:
    """One open command with this version and none with an older one."""
    events: list[Event] = []
    newest: sqlite3.Row | None = None
    for row in connection.execute(
        "SELECT * FROM command WHERE agent = ? AND name = ? ORDER BY id DESC LIMIT 20", (agent["id"], registry.CONFIG)
    ).fetchall():
        if json.loads(row["arguments"])["version"] == version:
            newest = newest or row
        elif row["ended_ns"] is None:
            text = f"version {version} takes its place"
            events += table.end(connection, row["id"], table.CANCELLED, now_ns=now_ns, text=text)
    if newest is not None and (newest["ended_ns"] is None or not may_repeat):
        return events
    _, event = table.add(
        connection,
        agent,
        name=registry.CONFIG,
        arguments={"version": version},
        actor=actor,
        now_ns=now_ns,
        timeout_s=registry.MAX_TIMEOUT_S,
    )
    return [*events, event]


def _often(connection: sqlite3.Connection, agent: sqlite3.Row, now_ns: int) -> bool:
    """Whether an agent that says at each session that it lacks something was sent enough for a day: each is a row."""
    (given,) = connection.execute(
        "SELECT count(*) FROM command WHERE agent = ? AND name = ? AND actor = ? AND created_ns > ?",
        (agent["id"], registry.CONFIG, COLLECTOR, now_ns - 86_400 * table.NS),
    ).fetchone()
    return int(given) >= UNASKED_A_DAY


def merged(
    connection: sqlite3.Connection, agent: sqlite3.Row, weighed: Sequence[Mapping[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """What is set for an agent, by section and key: ``{section, key, value, selector, actor, set}``."""
    tags, found = selectors.tags_of(agent), {}
    for row in _weighed(connection) if weighed is None else weighed:
        if row["selector"].matches(agent["id"], agent["site"], tags):
            found[row["section"], row["key"]] = row
    return [
        {
            "section": row["section"],
            "key": row["key"],
            "value": row["value"],
            "selector": row["selector"].text,
            "actor": row["actor"],
            "set": time_text(row["set_ns"]),
        }
        for _, row in sorted(found.items())
    ]


def _weighed(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Every setting, the more specific ones last."""
    rows = [
        {
            **{name: row[name] for name in ("section", "key", "actor", "set_ns")},
            "value": json.loads(row["value"]),
            "selector": selectors.stored(row["selector"]),
        }
        for row in connection.execute("SELECT * FROM config_setting")
    ]
    return sorted(rows, key=lambda row: (row["selector"].weight, row["set_ns"], row["selector"].text))


def values_of(rows: Sequence[Mapping[str, Any]]) -> Settings:
    """section -> key -> value."""
    found: Settings = {}
    for row in rows:
        found.setdefault(row["section"], {})[row["key"]] = row["value"]
    return found


def list_settings(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """Everything that is set, the least specific selector first."""
    return [
        {
            "selector": row["selector"].text,
            "section": row["section"],
            "key": row["key"],
            "value": row["value"],
            "actor": row["actor"],
            "set": time_text(row["set_ns"]),
        }
        for row in _weighed(connection)
    ]


def held(connection: sqlite3.Connection, agent_id: str) -> sqlite3.Row | None:
    """The newest version of an agent's: its row, None where nothing was ever set."""
    found = connection.execute("SELECT * FROM agent_config WHERE agent = ? AND version > 0", (agent_id,)).fetchone()
    return found if found is not None else None


def signed(row: sqlite3.Row, signer: ConfigSigner) -> pb.RemoteConfig:
    """The version of that row, signed. Raises OSError."""
    settings = row["settings"].encode()
    signature, certificate_der = signer.sign(signed_octets(row["agent"], row["version"], settings))
    return pb.RemoteConfig(version=row["version"], settings=settings, signature=signature, signer_der=certificate_der)


def signed_octets(agent_id: str, version: int, settings: bytes) -> bytes:
    """What the signature of a RemoteConfig is over (agent.proto)."""
    digest = hashlib.sha256(settings).digest()
    return b"fieldwatch-config-1" + agent_id.encode() + version.to_bytes(8, "big") + digest


def note_status(
    connection: sqlite3.Connection, agent: sqlite3.Row, before: Mapping[str, Any], now: Mapping[str, Any]
) -> list[Event]:
    """What an agent's status says of its configuration, against the status before: an event where it is news.

    Both are ConfigStatus as `read_model.agents` stores it: version, state, problem, effective_hash (hex).
    """
    if now.get("state") == "confirmed":
        connection.execute(
            "UPDATE agent_config SET confirmed_hash = ? WHERE agent = ? AND version = ? AND confirmed_hash = ''",
            (now.get("effective_hash", ""), agent["id"], now.get("version", 0)),
        )
    same = all(before.get(name) == now.get(name) for name in ("version", "state"))
    if same or not now.get("state"):
        return []
    return [
        record(
            connection,
            EVENT,
            site=agent["site"],
            agent=agent["id"],
            subject=("agent", agent["id"], agent["name"]),
            data={name: now.get(name) for name in ("version", "state", "problem")},
        )
    ]
