"""Which agents are meant: ``*``, ``agent=ID``, or terms that must all hold: ``site=hq,role=edge``.

A term is ``site=NAME``, ``agent=ID`` or ``TAG=VALUE``. A lone word is an agent: its id, the beginning of it, or a name.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fieldwatch_collector.read_model.asking import BadRequest, NotFound, text_of

EVERY = "*"
MAX_TERMS = 8
MAX_TAGS = 32
SHORTEST_ID = 4  # of the beginning of an id that still names an agent
MAX_SELECTOR = 500
MAX_AGENTS = 1_000  # that one order may mean
RESERVED = ("agent", "site")
TAG = re.compile(r"[A-Za-z0-9._:/-]{1,63}")  # on each side, as join tokens have them


@dataclass(frozen=True, slots=True)
class Selector:
    """Terms in the order of their names; none = every agent."""

    terms: tuple[tuple[str, str], ...] = ()

    @property
    def text(self) -> str:
        return ",".join(f"{key}={value}" for key, value in self.terms) or EVERY

    @property
    def weight(self) -> tuple[bool, int]:
        """More is more specific: an agent by its id, then the number of terms."""
        return any(key == "agent" for key, _ in self.terms), len(self.terms)

    def matches(self, agent_id: str, site: str, tags: Mapping[str, str]) -> bool:
        return all(
            (agent_id if key == "agent" else site if key == "site" else tags.get(key)) == value
            for key, value in self.terms
        )


def parse(connection: sqlite3.Connection, text: str) -> Selector:
    """The selector of a text. Raises BadRequest, and NotFound for an agent that there is not."""
    text = text.strip()
    if not text:
        raise BadRequest("select: is empty; give *, an agent, site=NAME or TAG=VALUE")
    if len(text) > MAX_SELECTOR:
        raise BadRequest(f"select: {len(text)} characters, the limit is {MAX_SELECTOR}")
    if text == EVERY:
        return Selector()
    if "=" not in text and "," not in text:
        return Selector((("agent", find_agent(connection, text)),))
    terms: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key or not value:
            raise BadRequest(f"select: {part.strip()!r:.60} is no KEY=VALUE, as in site=hq,role=edge")
        if key in terms:
            raise BadRequest(f"select: {key} is there twice, and an agent has one value of it")
        terms[key] = find_agent(connection, value) if key == "agent" else value
    if len(terms) > MAX_TERMS:
        raise BadRequest(f"select: {len(terms)} terms, the limit is {MAX_TERMS}")
    return Selector(tuple(sorted(terms.items())))


def stored(text: str) -> Selector:
    """The selector whose text `Selector.text` gave."""
    return Selector() if text == EVERY else Selector(tuple(tuple(term.split("=", 1)) for term in text.split(",")))  # type: ignore[misc]


def chosen(connection: sqlite3.Connection, selector: Selector) -> list[sqlite3.Row]:
    """Rows of the agents that it means, by name. Revoked ones are none."""
    rows = connection.execute("SELECT * FROM agent WHERE revoked_ns IS NULL ORDER BY name, id")
    return [row for row in rows if selector.matches(row["id"], row["site"], tags_of(row))]


def meant(connection: sqlite3.Connection, agents: Sequence[str], select: str) -> list[sqlite3.Row]:
    """Rows of the agents of an order, by name: those that are named, or those that a selector means. Raises BadRequest,
    NotFound.
    """
    if bool(agents) == bool(select):
        raise BadRequest("agents: give agents or a selector, and not both")
    if select:
        found = chosen(connection, parse(connection, select))
    else:
        every = chosen(connection, Selector())
        ids = {find_agent(connection, text) for text in agents}
        found = [row for row in every if row["id"] in ids]
        if len(found) < len(ids):
            gone = min(ids - {row["id"] for row in found})
            raise BadRequest(f"agent: {gone} was revoked; take it out of the list")
    if not found:
        raise NotFound(
            f"select: no agent matches {select!r:.80} that was not revoked; the list of agents has their tags"
        )
    if len(found) > MAX_AGENTS:
        raise BadRequest(f"select: {len(found)} agents match, the limit is {MAX_AGENTS}; select fewer")
    return found


def find_agent(connection: sqlite3.Connection, text: str) -> str:
    """The id of the agent that has this id, this name, or this beginning of an id. Raises NotFound, BadRequest."""
    found = connection.execute(
        "SELECT id FROM agent WHERE id = ?1 OR name = ?1 OR (length(?1) >= ?2 AND substr(id, 1, length(?1)) = ?1)"
        " ORDER BY id = ?1 DESC LIMIT 2",
        (text_of("agent", text), SHORTEST_ID),
    ).fetchall()
    if not found:
        raise NotFound(f"agent: there is no agent {text!r:.60}; the list of agents has the names and ids")
    if len(found) > 1 and found[0]["id"] != text:
        raise BadRequest(f"agent: {text!r:.60} means more than one agent; give the id")
    return str(found[0]["id"])


def tags_of(row: sqlite3.Row) -> dict[str, str]:
    """The tags of an agent's row."""
    found = json.loads(row["tags"])
    return {str(key): str(value) for key, value in found.items()}


def check_tag(key: str, value: str | None) -> None:
    """Raises BadRequest; `value` None = the tag is to go."""
    if key in RESERVED:
        raise BadRequest(f"tag: {key} is what selectors call the agent's own {key}; choose another name")
    for part in (key, value):
        if part is not None and not TAG.fullmatch(part):
            raise BadRequest(
                f"tag: {part!r:.60}: accepted are up to 63 letters, digits and . _ - : / on each side of ="
            )
