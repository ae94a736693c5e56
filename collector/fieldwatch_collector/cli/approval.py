"""`fieldwatch-collector agents pending`, `approve`, `reject`: devices that wait until a person lets them in."""

from __future__ import annotations

import argparse

from fieldwatch_proto.cli.command import Program

from fieldwatch_collector.cli.common import add_list, add_place, call


def register(program: Program) -> None:
    """Into the group that `agents` has made."""
    program.add(
        "agents pending",
        show,
        "devices that wait for approval ([enrolment] approve = true)",
        example="fieldwatch-collector agents pending",
        arguments=add_list,
    )
    program.add(
        "agents approve",
        approve,
        "let a device in; it shows the same id itself",
        example="fieldwatch-collector agents approve 3f0a91c2",
        arguments=_decide_arguments,
    )
    program.add(
        "agents reject",
        reject,
        "turn a device away; its use of the join token is lost",
        example="fieldwatch-collector agents reject 3f0a91c2",
        arguments=_decide_arguments,
    )


def _decide_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("id", metavar="ID", help="id of the waiting device, or its beginning")


def show(args: argparse.Namespace) -> None:
    from fieldwatch_proto.cli.tables import Column, moment_text, write

    columns = [
        Column("id"),
        Column("hostname", "HOST NAME"),
        Column("address"),
        Column("token"),
        Column("state"),
        Column("asked", show=moment_text),
        Column("decided_by"),
    ]
    write(call(args, "agents.pending"), columns, args.output, empty="no device waits for approval")


def approve(args: argparse.Namespace) -> None:
    found = call(args, "agents.approve", id=args.id)
    print(f"approved {found['id']} ({found['hostname']}); it joins within seconds")


def reject(args: argparse.Namespace) -> None:
    found = call(args, "agents.reject", id=args.id)
    print(f"rejected {found['id']} ({found['hostname']})")
