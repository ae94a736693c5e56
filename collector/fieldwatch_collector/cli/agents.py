"""`fieldwatch-collector agents`: the fleet. What both programs do with it is in `fieldwatch_proto.cli.agents_*`."""

from __future__ import annotations

import argparse

from fieldwatch_proto.cli import agents_config, agents_run, agents_show
from fieldwatch_proto.cli.agents_door import Door
from fieldwatch_proto.cli.agents_list import AGENTS, DESCRIPTION, add_choice
from fieldwatch_proto.cli.command import Program

from fieldwatch_collector.cli.agents_here import local_fleet
from fieldwatch_collector.cli.common import add_list, add_place, call


def register(program: Program) -> None:
    program.group("agents", "the agents that have enrolled")
    program.add(
        "agents list",
        show,
        "every agent, with its last contact and what waits in its spool",
        description=DESCRIPTION,
        example="fieldwatch-collector agents list --select role=edge",
        arguments=_list_arguments,
    )
    program.add(
        "agents revoke",
        revoke,
        "shut an agent out: its certificate is refused and its streams close",
        example="fieldwatch-collector agents revoke pi-3",
        arguments=_revoke_arguments,
    )
    program.add(
        "agents rename",
        rename,
        "give an agent another name",
        example="fieldwatch-collector agents rename 5f3c9a40 pi-attic",
        arguments=_rename_arguments,
    )
    door = Door("fieldwatch-collector", local_fleet, add_place)
    for topic in (agents_show, agents_run, agents_config):
        topic.register(program, door)


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    add_list(parser)
    add_choice(parser)


def _revoke_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("id", metavar="AGENT", help="id, the beginning of an id, or name")


def _rename_arguments(parser: argparse.ArgumentParser) -> None:
    _revoke_arguments(parser)
    parser.add_argument("name", metavar="NAME")


def show(args: argparse.Namespace) -> None:
    from fieldwatch_proto.cli.tables import write

    empty = "no agents yet; make a join token: fieldwatch-collector token create"
    if args.select:
        empty = f"no agent matches {args.select}; without --select all are listed"
    write(call(args, "agents.list", select=args.select), AGENTS, args.output, empty=empty)


def revoke(args: argparse.Namespace) -> None:
    print(f"revoked {call(args, 'agents.revoke', id=args.id)['name']}")


def rename(args: argparse.Namespace) -> None:
    call(args, "agents.rename", id=args.id, name=args.name)
