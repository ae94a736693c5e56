"""`fieldwatch-collector api-token`: programs, and the `fieldwatch` command."""

from __future__ import annotations

import argparse
import sys

from fieldwatch_proto.cli.command import Program
from fieldwatch_proto.cli.tables import Column, moment_text, write

from fieldwatch_collector.cli.common import add_list, add_place, call
from fieldwatch_collector.cli.user import ROLES

COLUMNS = (
    Column("id", "ID"),
    Column("name"),
    Column("role"),
    Column("created", show=moment_text),
    Column("revoked", show=moment_text),
)


def register(program: Program) -> None:
    program.group("api-token", "programs that ask over gRPC or REST")
    program.add(
        "api-token create",
        create,
        "print a new token on one line; it cannot be shown again",
        example="""fieldwatch-collector api-token create grafana > token.txt
            fieldwatch-collector api-token create me --role operator | fieldwatch login HOST:7444 --token-file -""",
        description="Prints a new token on one line. It holds the CA certificate, so its owner needs nothing else.",
        arguments=_create_arguments,
    )
    program.add(
        "api-token list",
        listed,
        "list tokens, the oldest first",
        example="fieldwatch-collector api-token list -o json",
        arguments=add_list,
    )
    program.add(
        "api-token revoke",
        revoke,
        "make a token useless, at once and for ever",
        example="fieldwatch-collector api-token revoke 5f2c81d09a",
        arguments=_revoke_arguments,
    )


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="what it is for, as the list shows it")
    parser.add_argument("--role", choices=ROLES, default="viewer", help="what its owner may do (default: viewer)")
    add_place(parser)


def _revoke_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="as api-token list shows it")
    add_place(parser)


def create(args: argparse.Namespace) -> None:
    print(call(args, "api-token.create", name=args.name, role=args.role)["token"])


def listed(args: argparse.Namespace) -> None:
    write(call(args, "api-token.list"), COLUMNS, args.output, empty="no API tokens")


def revoke(args: argparse.Namespace) -> None:
    call(args, "api-token.revoke", id=args.id)
    print(f"revoked {args.id}", file=sys.stderr)
