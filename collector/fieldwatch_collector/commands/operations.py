"""Operations on commands, tags and remote settings; see `admin`. Who may call them may do everything."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fieldwatch_collector.admin import AdminError, ArgumentError, actor, operation
from fieldwatch_collector.commands.commands import Asker
from fieldwatch_collector.read_model import BadRequest, NotFound

if TYPE_CHECKING:
    from fieldwatch_collector.services import Services


@operation("agents.show")
def show_agent(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """AgentDetail. Argument: agent."""
    with _told():
        found = services.read_model.get_agent(str(arguments["agent"]))
        return services.commands.settings.detailed(found)


@operation("agents.run")
def run_command(services: Services, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Commands. Arguments: name, arguments, agents or select, timeout_s."""
    with _told():
        return services.commands.run(
            _local(),
            str(arguments["name"]),
            dict(arguments.get("arguments") or {}),
            agents=[str(agent) for agent in arguments.get("agents") or ()],
            select=str(arguments.get("select") or ""),
            timeout_s=int(arguments.get("timeout_s") or 0),
        )


@operation("agents.commands")
def list_commands(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``{results, next}``. Arguments: agent, state, name, limit, cursor."""
    with _told():
        return services.commands.list_commands(
            **{name: str(arguments.get(name) or "") for name in ("agent", "state", "name", "cursor")},
            limit=int(arguments.get("limit") or 0),
        )


@operation("agents.command")
def get_command(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Argument: id."""
    with _told():
        return services.commands.get(str(arguments["id"]))


@operation("agents.cancel")
def cancel_command(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Argument: id."""
    with _told():
        return services.commands.cancel(_local(), str(arguments["id"]))


@operation("agents.file")
def open_file(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """``{path}`` of what a command made, for who may read the data folder. Argument: id."""
    with _told():
        _, path = services.commands.open_file(_local(), str(arguments["id"]))
        return {"path": str(path)}


@operation("agents.tag")
def tag_agent(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Agent. Arguments: agent; tags, with null for one that is to go."""
    with _told():
        agent_id = services.commands.settings.tag(_local(), str(arguments["agent"]), dict(arguments.get("tags") or {}))
        found: dict[str, Any] = services.read_model.get_agent(agent_id)["agent"]
        return found


@operation("agents.config.list")
def list_settings(services: Services, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every ConfigSetting."""
    return services.commands.settings.listed()


@operation("agents.config.set")
def configure(services: Services, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """SetConfigReply. Arguments: select; settings, section -> key -> value; unset, SECTION.KEY each."""
    with _told():
        return services.commands.settings.configure(
            _local(),
            str(arguments.get("select") or ""),
            dict(arguments.get("settings") or {}),
            [str(text) for text in arguments.get("unset") or ()],
        )


def _local() -> Asker:
    return Asker(actor(), "admin")


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except BadRequest as problem:
        raise ArgumentError(str(problem)) from None
    except NotFound as problem:
        raise AdminError(str(problem)) from None
