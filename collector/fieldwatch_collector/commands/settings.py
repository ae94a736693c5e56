"""`FleetSettings`: what people set for agents: their tags, and remote settings by selector. Both are an admin's."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fieldwatch_collector import audit
from fieldwatch_collector.commands import remote_config, table
from fieldwatch_collector.journal import record
from fieldwatch_collector.read_model import selectors
from fieldwatch_collector.read_model.asking import BadRequest

if TYPE_CHECKING:
    from fieldwatch_collector.commands.commands import Asker, Commands


MAX_NAMED = 200  # agents of one change: each gets rows of its own


class FleetSettings:
    """One per collector; a part of `Commands`."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands

    def tag(self, asker: Asker, agent: str, tags: Mapping[str, str | None]) -> str:
        """Give an agent tags; None takes one away. Its id. What selectors set for them reaches it at once."""
        if not tags:
            raise BadRequest("tags: nothing to change; give KEY=VALUE, or a key to take away")
        for key, value in tags.items():
            selectors.check_tag(key, value)
        self._commands.require(asker, "admin", "agent.tag", agent, {"tags": dict(tags)})

        def work(connection: sqlite3.Connection) -> tuple[str, list[table.Event]]:
            agent_id = selectors.find_agent(connection, agent)
            row = connection.execute("SELECT * FROM agent WHERE id = ?", (agent_id,)).fetchone()
            changed = {**selectors.tags_of(row), **tags}
            kept = {key: value for key, value in changed.items() if value is not None}
            if len(kept) > selectors.MAX_TAGS:
                raise BadRequest(f"tags: {len(kept)} on {row['name']}, the limit is {selectors.MAX_TAGS}")
            connection.execute("UPDATE agent SET tags = ? WHERE id = ?", (json.dumps(kept), agent_id))
            audit.append(connection, actor=asker.actor, action="agent.tag", subject=agent_id, data={"tags": dict(tags)})
            subject = ("agent", agent_id, row["name"])
            events = [
                record(
                    connection,
                    "agent.tagged",
                    site=row["site"],
                    agent=agent_id,
                    subject=subject,
                    data={"changes": {"tags": {"before": _words(selectors.tags_of(row)), "after": _words(kept)}}},
                )
            ]
            row = connection.execute("SELECT * FROM agent WHERE id = ?", (agent_id,)).fetchone()
            if row["revoked_ns"] is None:
                now = self._commands.clock()
                events += remote_config.refresh(connection, row, actor=asker.actor, now_ns=now)
            return agent_id, events

        agent_id = self._commands.transact(work)
        self._commands.wake([agent_id])
        return agent_id

    def configure(
        self,
        asker: Asker,
        select: str,
        values: Mapping[str, Mapping[str, Any]],
        unset: Sequence[str] = (),
        *,
        agents: Sequence[str] = (),
    ) -> dict[str, Any]:
        """Set and unset (SECTION.KEY) remote settings of a selector, or of each of some agents by id or name:
        SetConfigReply. Agents get it when they come.
        """
        change = remote_config.Change(values, [split_key(text) for text in unset])
        change.check()
        detail = {"set": {section: dict(keys) for section, keys in values.items()}, "unset": list(unset)}
        self._commands.require(asker, "admin", "config.set", select or " ".join(agents), detail)
        if agents and select:
            raise BadRequest("agents: give agents or a selector, and not both")
        if len(agents) > MAX_NAMED:
            raise BadRequest(f"agents: {len(agents)} are named, the limit is {MAX_NAMED}; tag them and select the tag")

        def work(connection: sqlite3.Connection) -> tuple[dict[str, Any], list[table.Event]]:
            if agents:
                named = selectors.meant(connection, agents, "")
                changed = [selectors.Selector((("agent", row["id"]),)) for row in named]
            else:
                changed = [selectors.parse(connection, select)]
            now = self._commands.clock()
            concerned, events = remote_config.change(connection, changed, change, actor=asker.actor, now_ns=now)
            for selector in changed:
                audit.append(connection, actor=asker.actor, action="config.set", subject=selector.text, data=detail)
            return {
                "selector": "" if agents else changed[0].text,
                "agents": len(concerned),
                "results": remote_config.brought(connection, concerned),
            }, events

        reply = self._commands.transact(work)
        self._commands.wake(result["agent"] for result in reply["results"])
        return reply

    def listed(self) -> list[dict[str, Any]]:
        """Every ConfigSetting, the least specific selector first."""
        with self._commands.store.reader() as connection:
            return remote_config.list_settings(connection)

    def detailed(self, found: dict[str, Any]) -> dict[str, Any]:
        """The read model's AgentDetail, with the settings that are set for this agent."""
        with self._commands.store.reader() as connection:
            row = connection.execute("SELECT * FROM agent WHERE id = ?", (found["agent"]["id"],)).fetchone()
            settings = remote_config.merged(connection, row)
        return {**found, "config": {**found["config"], "settings": settings}}


def _words(tags: Mapping[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in sorted(tags.items())]


def split_key(text: str) -> tuple[str, str]:
    """(section, key) of SECTION.KEY. Raises BadRequest."""
    section, dot, key = text.partition(".")
    if not dot:
        raise BadRequest(f"settings: {text!r:.60} is no SECTION.KEY, as in capture.workers")
    return section, key
