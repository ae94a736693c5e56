"""`fieldwatch agents` and `fieldwatch sites`: who reports, from where, and what people have them do."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fieldwatch_proto.cli import agents_config, agents_run, agents_show
from fieldwatch_proto.cli.agents_door import Door
from fieldwatch_proto.cli.agents_list import AGENTS, DESCRIPTION, add_choice
from fieldwatch_proto.cli.asking import add_question, client
from fieldwatch_proto.cli.command import Program
from fieldwatch_proto.cli.tables import Column, add_output, count_text, write

if TYPE_CHECKING:
    from fieldwatch_proto.client import Client

SITES = (
    Column("name"),
    Column("agents", align="right", show=count_text),
    Column("devices", align="right", show=count_text),
)


def register(program: Program) -> None:
    program.group("agents", "who listens")
    program.add(
        "agents ls",
        agents,
        "list agents: state, health, frames seen and dropped, records stored and lost",
        description=DESCRIPTION,
        example="fieldwatch agents ls --select site=hq,role=edge",
        arguments=_list_arguments,
    )
    door = Door("fieldwatch", remote_fleet, lambda parser: None)
    for topic in (agents_show, agents_run, agents_config):
        topic.register(program, door)
    program.group("sites", "where agents listen")
    program.add(
        "sites ls",
        sites,
        "list sites with the number of their agents and devices",
        example="fieldwatch sites ls -o json",
        arguments=add_output,
    )


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser)
    add_choice(parser)


def agents(args: argparse.Namespace) -> None:
    from fieldwatch_proto.client import as_dict

    with client() as asked:
        found = map(as_dict, asked.agents(site=args.site, select=args.select))
        empty = f"no agent matches {args.select}; without --select all are listed" if args.select else "no agents"
        write(found, AGENTS, args.output, empty=empty)


def sites(args: argparse.Namespace) -> None:
    from fieldwatch_proto.client import as_dict

    with client() as asked:
        write(map(as_dict, asked.sites()), SITES, args.output, empty="no sites")


@contextlib.contextmanager
def remote_fleet(args: argparse.Namespace) -> Iterator[RemoteFleet]:
    """The fleet of the collector that this user is logged in at."""
    with client() as connected:
        yield RemoteFleet(connected)


class RemoteFleet:
    """`Fleet` over gRPC."""

    def __init__(self, connected: Client) -> None:
        self._client = connected

    def agent(self, agent: str) -> dict[str, Any]:
        return self._object(self._client.agent(agent))

    def run(self, name: str, arguments: Mapping[str, Any], *, select: str, timeout_s: int) -> list[Mapping[str, Any]]:
        return list(self._objects(self._client.run(name, arguments, select=select, timeout_s=timeout_s)))

    def commands(self, *, agent: str, state: str, limit: int) -> Iterator[dict[str, Any]]:
        return self._objects(self._client.commands(agent=agent, state=state, limit=limit))

    def command(self, command_id: str) -> dict[str, Any]:
        return self._object(self._client.command(command_id))

    def cancel(self, command_id: str) -> dict[str, Any]:
        return self._object(self._client.cancel(command_id))

    def file(self, command_id: str) -> Iterator[bytes]:
        return self._client.command_file(command_id)

    def tag(self, agent: str, tags: Mapping[str, str | None]) -> dict[str, Any]:
        return self._object(self._client.tag(agent, tags))

    def settings(self) -> Iterator[dict[str, Any]]:
        return self._objects(self._client.settings())

    def configure(self, select: str, settings: Mapping[str, Mapping[str, Any]], unset: Sequence[str]) -> dict[str, Any]:
        return self._object(self._client.configure(select, settings, unset))

    def _object(self, message: Any) -> dict[str, Any]:
        from fieldwatch_proto.query_json import as_dict

        return as_dict(message)

    def _objects(self, messages: Any) -> Iterator[dict[str, Any]]:
        return map(self._object, messages)
