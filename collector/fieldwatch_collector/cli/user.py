"""`fieldwatch-collector user`: people. A password comes from a prompt or standard input, never from arguments."""

from __future__ import annotations

import argparse
import getpass
import sys

from fieldwatch_proto.cli.command import Program, UsageError
from fieldwatch_proto.cli.tables import Column, moment_text, write

from fieldwatch_collector.cli.common import add_list, add_place, call

ROLES = ("viewer", "operator", "admin")
MAX_LINE = 4_096  # characters of standard input
COLUMNS = (
    Column("name"),
    Column("role"),
    Column("created", show=moment_text),
    Column("sessions", align="right"),
)


def register(program: Program) -> None:
    program.group("user", "people who log in to the page")
    program.add(
        "user add",
        add,
        "add a person; asks for the password, or reads it from standard input",
        example="""fieldwatch-collector user add chief --role admin
            fieldwatch-collector user add chief < password.txt""",
        description="Adds a person. viewer: sees; operator: changes what is watched; admin: also people and agents.",
        arguments=_add_arguments,
    )
    program.add(
        "user passwd",
        passwd,
        "change a password; ends the person's sessions",
        example="fieldwatch-collector user passwd chief",
        arguments=_name_arguments,
    )
    program.add(
        "user role",
        role,
        "change what a person may do",
        example="fieldwatch-collector user role chief operator",
        arguments=_role_arguments,
    )
    program.add(
        "user list",
        listed,
        "list people",
        example="fieldwatch-collector user list -o json",
        arguments=add_list,
    )
    program.add(
        "user login-link",
        login_link,
        "print a page address that logs a person in, once and within 30 minutes",
        example="fieldwatch-collector user login-link chief",
        arguments=_link_arguments,
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    _name_arguments(parser)
    parser.add_argument("--role", choices=ROLES, default="viewer", help="what the person may do (default: viewer)")


def _name_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="user name")
    add_place(parser)


def _role_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="user name")
    parser.add_argument("role", choices=ROLES, metavar="ROLE", help=", ".join(ROLES))
    add_place(parser)


def _link_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "name", metavar="NAME", nargs="?", default="", help="user name (default: the first administrator)"
    )
    add_place(parser)


def add(args: argparse.Namespace) -> None:
    call(args, "user.add", name=args.name, password=_password(), role=args.role)
    print(f"added {args.name} ({args.role})", file=sys.stderr)


def passwd(args: argparse.Namespace) -> None:
    call(args, "user.password", name=args.name, password=_password())
    print(f"changed the password of {args.name}", file=sys.stderr)


def role(args: argparse.Namespace) -> None:
    call(args, "user.role", name=args.name, role=args.role)
    print(f"{args.name} is {args.role}", file=sys.stderr)


def listed(args: argparse.Namespace) -> None:
    write(
        call(args, "user.list"),
        COLUMNS,
        args.output,
        empty="nobody yet; the first: fieldwatch-collector user add NAME --role admin",
    )


def login_link(args: argparse.Namespace) -> None:
    print(call(args, "user.login-link", name=args.name)["url"])


def _password() -> str:
    if not sys.stdin.isatty():
        line = sys.stdin.readline(MAX_LINE).rstrip("\r\n")
        if not line:
            raise UsageError("no password on standard input; write it there as one line, or run this on a terminal")
        return line
    first = getpass.getpass("Password: ")
    if first != getpass.getpass("Again: "):
        raise UsageError("the two passwords differ; nothing was changed")
    return first
