"""`Commands`: what people do with the fleet's commands. Thread-safe; every method blocks for the time of its query.

Roles are checked here and refusals audited here, so that REST, gRPC and the admin socket cannot differ. Problems are
raised as BadRequest, NotFound and NotAllowed, one line each.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fieldwatch_collector import audit
from fieldwatch_collector.accounts import Action, Principal, allows
from fieldwatch_collector.commands import registry, table
from fieldwatch_collector.commands.files import CommandFiles
from fieldwatch_collector.commands.settings import FleetSettings
from fieldwatch_collector.commands.upkeep import Upkeep
from fieldwatch_collector.config import Commands as CommandsConfig
from fieldwatch_collector.hub import Hub
from fieldwatch_collector.identity.signing import ConfigSigner
from fieldwatch_collector.ingest.refusals import Refusals
from fieldwatch_collector.read_model import selectors
from fieldwatch_collector.read_model.asking import BadRequest, NotFound
from fieldwatch_collector.store import Store

T = TypeVar("T")

MAX_OPEN = 16  # commands of one agent that have not ended


class NotAllowed(Exception):  # noqa: N818 - as HTTP has it
    """The role of who asks does not allow it: one line."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, as the audit log names it, and with which role."""

    actor: str
    role: str

    @classmethod
    def of(cls, principal: Principal) -> Asker:
        return cls(f"{principal.kind}:{principal.name}", principal.role)

    def may(self, action: Action) -> bool:
        return allows(Principal(self.actor, self.role, "user"), action)


class Commands:
    """One per collector. `clock` gives nanoseconds since the epoch."""

    def __init__(
        self,
        store: Store,
        hub: Hub,
        data: Path,
        config: CommandsConfig,
        signer: ConfigSigner,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self.store = store
        self.hub = hub
        self.clock = clock
        self.signer = signer
        self.files = CommandFiles(data, file_bytes=config.file_bytes, total_bytes=config.total_bytes)
        self.settings = FleetSettings(self)
        self.upkeep = Upkeep(self, keep_ns=int(config.keep * table.NS))
        self._refusals = Refusals(store)
        self._lock = threading.Lock()
        self._listeners: dict[str, set[Callable[[], object]]] = {}

    # What people ask for ----------------------------------------------------------------------------------------

    def run(
        self,
        asker: Asker,
        name: str,
        arguments: Mapping[str, Any],
        *,
        agents: Sequence[str] = (),
        select: str = "",
        timeout_s: int = 0,
    ) -> list[dict[str, Any]]:
        """Give a command to agents, by id or name, or by a selector; one Command each, by the agents' names.

        An agent that is not connected gets it when it comes, within the timeout (seconds; 0 = the command's own). Of
        several, one that has `MAX_OPEN` open commands has refused it, and the others get it; one alone is a BadRequest.
        """
        kind = registry.kind_of(name)
        checked = kind.check(arguments)
        seconds = registry.timeout_of(kind, checked, timeout_s)
        detail = {"name": name, "arguments": checked}
        self.require(asker, kind.action, "command.run", select or " ".join(agents), detail)

        def work(connection: sqlite3.Connection) -> tuple[list[dict[str, Any]], list[table.Event]]:
            meant = selectors.meant(connection, agents, select)
            rows, events = [], []
            for agent in meant:
                full = len(table.open_ones(connection, agent["id"])) >= MAX_OPEN
                problem = f"{MAX_OPEN} commands of it have not ended; wait, or cancel some"
                if full and len(meant) == 1:
                    raise BadRequest(f"agent: {agent['name']}: {problem}")
                row, event = table.add(
                    connection,
                    agent,
                    name=name,
                    arguments=checked,
                    actor=asker.actor,
                    now_ns=self.clock(),
                    timeout_s=seconds,
                )
                audit.append(
                    connection,
                    actor=asker.actor,
                    action="command.run",
                    subject=agent["id"],
                    data={"command": row["id"], **detail},
                    **({"outcome": "refused"} if full else {}),
                )
                events.append(event)
                if full:
                    events += table.end(connection, row["id"], table.REFUSED, now_ns=self.clock(), text=problem)
                    row = table.find(connection, row["id"])
                rows.append(table.shown(row))
            return rows, events

        made = self.transact(work)
        self.wake(command["agent"] for command in made)
        return made

    def get(self, command_id: str) -> dict[str, Any]:
        """Command."""
        with self.store.reader() as connection:
            return table.shown(table.find(connection, command_id))

    def list_commands(
        self, *, agent: str = "", state: str = "", name: str = "", limit: int = 0, cursor: str = ""
    ) -> dict[str, Any]:
        """``{results, next}``, newest first. `state`: one of the states, or open, or ended."""
        if state and state not in (*table.STATES, "open", "ended"):
            raise BadRequest(f"state: {state!r:.60} is none of open, ended, {', '.join(table.STATES)}")
        with self.store.reader() as connection:
            agent_id = selectors.find_agent(connection, agent) if agent else ""
            return table.list_commands(connection, agent=agent_id, state=state, name=name, limit=limit, cursor=cursor)

    def cancel(self, asker: Asker, command_id: str) -> dict[str, Any]:
        """End a command: at once where it waits, else as soon as its agent says so. No error where it has ended."""
        row = self._row(command_id)
        self.require(asker, registry.KINDS[row["name"]].action, "command.cancel", row["agent"], {"command": command_id})
        now = self.clock()

        def work(connection: sqlite3.Connection) -> tuple[dict[str, Any], list[table.Event]]:
            row = table.find(connection, command_id)
            events: list[table.Event] = []
            if row["ended_ns"] is None and row["cancel_ns"] is None:
                connection.execute("UPDATE command SET cancel_ns = ? WHERE id = ?", (now, command_id))
                audit.append(
                    connection,
                    actor=asker.actor,
                    action="command.cancel",
                    subject=row["agent"],
                    data={"command": command_id, "name": row["name"]},
                )
                if row["state"] == table.WAITING:
                    text = "cancelled before the agent had it"
                    events = table.end(connection, command_id, table.CANCELLED, now_ns=now, text=text)
            return table.shown(table.find(connection, command_id)), events

        found = self.transact(work)
        self.wake([row["agent"]])
        return found

    def open_file(self, asker: Asker, command_id: str) -> tuple[dict[str, Any], Path]:
        """(Command, path of what it made). Downloads need the role that the command needs, and are audited."""
        row = self._row(command_id)
        detail = {"command": command_id, "name": row["name"], "file": row["file_name"], "bytes": row["file_bytes"]}
        self.require(asker, registry.KINDS[row["name"]].action, "command.download", row["agent"], detail)
        if row["file_gone_ns"] is not None:
            raise NotFound(f"command: the file of {command_id} was deleted; run {row['name']} again")
        path = self.files.path(command_id)
        if not row["file_name"] or not path.exists():
            raise NotFound(f"command: {command_id} has no file; it is {row['state']}")
        self.note(actor=asker.actor, action="command.download", subject=row["agent"], data=detail)
        return table.shown(row), path

    def require(self, asker: Asker, action: Action, what: str, subject: str, data: Mapping[str, Any]) -> None:
        """Raises NotAllowed, and leaves a row in the audit log, where the role does not allow it. Of tries that are
        repeated there is a row a minute, with their number: who may only read must not fill what only grows.
        """
        if asker.may(action):
            return
        with self._lock:
            counts = self._refusals.told(asker.actor, f"{what} {data.get('name', '')}")
        if counts is not None:
            row = {**data, **counts}
            self.note(actor=asker.actor, action=what, subject=subject, outcome="refused", data=row)
        raise NotAllowed(f"{asker.actor} is {asker.role}, which may not {action}; {what} needs it")

    def _row(self, command_id: str) -> sqlite3.Row:
        with self.store.reader() as connection:
            return table.find(connection, command_id)

    # Between the parts ------------------------------------------------------------------------------------------

    def transact(self, work: Callable[[sqlite3.Connection], tuple[T, list[table.Event]]]) -> T:
        """Run it in the store's writer, and publish its events."""
        result, events = self.store.transact_sync(work)
        self.hub.publish(events)
        return result

    def note(self, **row: Any) -> None:
        """One row of the audit log, in a transaction of its own; the keywords are those of `audit.append`."""
        self.store.transact_sync(lambda connection: audit.append(connection, **row))

    def listen(self, agent_id: str, callback: Callable[[], object]) -> Callable[[], None]:
        """Call `callback`, in any thread, when there may be something for this agent; gives what ends it."""
        with self._lock:
            self._listeners.setdefault(agent_id, set()).add(callback)

        def leave() -> None:
            with self._lock:
                listeners = self._listeners[agent_id]
                listeners.discard(callback)
                if not listeners:
                    del self._listeners[agent_id]

        return leave

    def wake(self, agent_ids: Any) -> None:
        """There may be something for these agents, and other deadlines."""
        with self._lock:
            called = [callback for agent_id in set(agent_ids) for callback in self._listeners.get(agent_id, ())]
        called.append(self.upkeep.look_again)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the server is gone
            for callback in called:
                callback()
