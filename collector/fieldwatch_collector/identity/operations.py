"""Operations on join tokens and on the fleet; see `admin`."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fieldwatch_proto.schema import time_text

from fieldwatch_collector.admin import AdminError, ArgumentError, actor, operation
from fieldwatch_collector.identity import agents, approval, tokens
from fieldwatch_collector.read_model import BadRequest, NotFound
from fieldwatch_collector.read_model.selectors import MAX_TAGS, check_tag, find_agent
from fieldwatch_collector.store.tables import rows

if TYPE_CHECKING:
    from fieldwatch_collector.services import Services

MAX_USES = 10_000
MAX_TTL_S = 365 * 86_400.0
DEFAULT_SITE = "main"
_SITE = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}")


@operation("token.create")
def create_token(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """{"token": the line, "id", "expires"}. Arguments: site, uses, ttl_s, tags, replace."""
    site = arguments.get("site") or DEFAULT_SITE
    uses, ttl_s = int(arguments.get("uses", 1)), float(arguments.get("ttl_s", 3_600))
    tags, replace = _tags(arguments), arguments.get("replace") or None
    if not _SITE.fullmatch(site):
        raise ArgumentError(f"--site {site!r}: accepted are up to 63 letters, digits, blanks, and . _ -")
    if not 0 < uses <= MAX_USES:
        raise ArgumentError(f"--uses {uses}: accepted is 1 to {MAX_USES}")
    if not 0 < ttl_s <= MAX_TTL_S:
        raise ArgumentError(f"--ttl {ttl_s:g} s: accepted is more than 0 and up to {MAX_TTL_S / 86_400:g} d")
    if replace and uses != 1:
        raise ArgumentError(f"--uses {uses}: a token with --replace is for one device; leave --uses out")
    if replace:
        replace = _find_agent(services, replace)
        with services.store.reader() as connection:
            gone = connection.execute(
                "SELECT 1 FROM agent WHERE id = ? AND revoked_ns IS NOT NULL", (replace,)
            ).fetchone()
        if gone:
            raise AdminError(f"agent {replace} was revoked, which is for good; leave --replace out for a new agent")
    who = actor()
    token = services.store.transact_sync(
        lambda connection: tokens.create(
            connection,
            services.authority.ca_der,
            site=site,
            uses=uses,
            ttl_s=ttl_s,
            tags=tags,
            replace_agent=replace,
            actor=who,
        )
    )
    return {
        "id": token.token_id,
        "token": token.text(),
        "expires": time_text(time.time_ns() + int(ttl_s * tokens.NS)),
    }


@operation("token.list")
def list_tokens(services: Services, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Newest first."""
    now = time.time_ns()
    with services.store.reader() as connection:
        listed = rows(connection, "join_token", order_by="created_ns DESC, id")
    return [
        {
            "id": row["id"],
            "site": row["site"],
            "tags": json.loads(row["tags"]),
            "uses_left": row["uses_left"],
            "state": tokens.state(row, now),
            "replace": row["replace_agent"] or "",
            "created": time_text(row["created_ns"]),
            "expires": time_text(row["expires_ns"]),
        }
        for row in listed
    ]


@operation("token.revoke")
def revoke_token(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    token_id, who = str(arguments["id"]), actor()
    if not services.store.transact_sync(lambda connection: tokens.revoke(connection, token_id, actor=who)):
        raise AdminError(f"there is no token {token_id!r:.60} to be revoked; see: fieldwatch-collector token list")
    return {"id": token_id}


@operation("agents.list")
def list_agents(services: Services, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """As query.proto's Agent. Arguments: tags, which an agent must have to be listed; select, as people write it."""
    wanted = _tags(arguments)
    with services.store.reader() as connection:
        tagged = agents.tagged(connection, wanted)
    try:
        listed = services.read_model.list_agents(select=str(arguments.get("select") or ""))["results"]
    except BadRequest as problem:
        raise ArgumentError(str(problem)) from None
    except NotFound as problem:
        raise AdminError(str(problem)) from None
    return [agent for agent in listed if agent["id"] in tagged]


@operation("agents.revoke")
def revoke_agent(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Refuse the agent's certificates from now on, and close its open streams."""
    agent_id, who = _find_agent(services, str(arguments["id"])), actor()
    event = services.store.transact_sync(lambda connection: agents.revoke(connection, agent_id, actor=who))
    if event is None:
        raise AdminError(f"agent {agent_id} was revoked before; nothing was changed")
    services.fleet.close_agent(agent_id)
    services.hub.publish([event])
    return {"id": agent_id, "name": event["subject"]["name"]}


@operation("agents.rename")
def rename_agent(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    agent_id, name = _find_agent(services, str(arguments["id"])), str(arguments["name"])
    if not name or agents.clean_name(name) != name:
        raise ArgumentError(
            f"name: {name!r:.60} is none; accepted are 1 to {agents.MAX_NAME} printable characters without , = and *"
        )
    who = actor()
    try:
        event = services.store.transact_sync(lambda connection: agents.rename(connection, agent_id, name, actor=who))
    except agents.RefusedError as problem:
        raise ArgumentError(str(problem)) from None
    assert event is not None
    services.hub.publish([event])
    return {"id": agent_id, "name": name}


@operation("agents.pending")
def list_pending(services: Services, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The devices that asked, the newest last; those that wait for a decision, and those whose decision they have not
    heard yet."""
    with services.store.reader() as connection:
        listed = rows(connection, "pending_enrolment", order_by="asked_ns, id")
    return [
        {
            "id": row["id"],
            "hostname": row["hostname"],
            "address": row["address"],
            "token": row["token"],
            "state": row["state"],
            "asked": time_text(row["asked_ns"]),
            "decided_by": row["decided_by"],
        }
        for row in listed
    ]


@operation("agents.approve")
def approve_pending(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Argument: id, or its beginning."""
    return _decide(services, str(arguments["id"]), approval.APPROVED)


@operation("agents.reject")
def reject_pending(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Argument: id, or its beginning."""
    return _decide(services, str(arguments["id"]), approval.REJECTED)


def _decide(services: Services, text: str, state: str) -> dict[str, Any]:
    with services.store.reader() as connection:
        found = rows(
            connection,
            "pending_enrolment",
            "substr(id, 1, length(?1)) = ?1 AND state = ?2",
            (text, approval.WAITING),
            limit=2,
        )
    who = actor()
    if (
        len(found) != 1
        or not text
        or not services.store.transact_sync(
            lambda connection: approval.decide(connection, found[0]["id"], state, actor=who)
        )
    ):
        what = "more than one device waits" if len(found) > 1 else "no device waits"
        raise AdminError(f"{what} under {text!r}; see: fieldwatch-collector agents pending")
    return {"id": found[0]["id"], "hostname": found[0]["hostname"]}


def _tags(arguments: Mapping[str, Any]) -> dict[str, str]:
    """As selectors can choose by them."""
    tags = dict(arguments.get("tags") or {})
    if len(tags) > MAX_TAGS:
        raise ArgumentError(f"--tag: {len(tags)} are given, the limit is {MAX_TAGS}")
    for key, value in tags.items():
        try:
            check_tag(str(key), str(value))
        except BadRequest as problem:
            raise ArgumentError(f"--{problem}") from None
    return tags


def _find_agent(services: Services, text: str) -> str:
    """As selectors find it. Raises AdminError."""
    try:
        with services.store.reader() as connection:
            return find_agent(connection, text)
    except BadRequest as problem:
        raise ArgumentError(str(problem)) from None
    except NotFound as problem:
        raise AdminError(str(problem)) from None
