"""`fieldwatch-collector agents`: the fleet."""

from __future__ import annotations

import argparse

from fieldwatch_proto.cli.command import Program

from fieldwatch_collector.cli.common import add_place, call


def register(program: Program) -> None:
    program.group("agents", "the agents that have enrolled")
    program.add(
        "agents list",
        show,
        "every agent, with its last contact and what waits in its spool",
        example="fieldwatch-collector agents list",
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


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    from fieldwatch_proto.cli.tables import add_output

    add_place(parser)
    add_output(parser)


def _revoke_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("id", metavar="AGENT", help="id, the beginning of an id, or name")


def _rename_arguments(parser: argparse.ArgumentParser) -> None:
    _revoke_arguments(parser)
    parser.add_argument("name", metavar="NAME")


def show(args: argparse.Namespace) -> None:
    from fieldwatch_proto.cli.tables import Column, bytes_text, count_text, write

    columns = [
        Column("id", "AGENT"),
        Column("name"),
        Column("site"),
        Column("state"),
        Column("version"),
        Column("last_contact", show=lambda text: str(text)[:19].replace("T", " ")),
        Column("frames_seen", align="right", show=count_text),
        Column("frames_dropped", align="right", show=count_text),
        Column("spool_bytes", "SPOOL", align="right", show=bytes_text),
        Column("records_stored", align="right", show=count_text),
        Column("records_lost", align="right", show=count_text),
    ]
    empty = "no agents yet; make a join token: fieldwatch-collector token create"
    write(call(args, "agents.list"), columns, args.output, empty=empty)


def revoke(args: argparse.Namespace) -> None:
    print(f"revoked {call(args, 'agents.revoke', id=args.id)['name']}")


def rename(args: argparse.Namespace) -> None:
    call(args, "agents.rename", id=args.id, name=args.name)
