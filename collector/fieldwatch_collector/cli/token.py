"""`fieldwatch-collector token`: join tokens for agents."""

from __future__ import annotations

import argparse
import sys

from fieldwatch_proto.cli.command import Program, UsageError

from fieldwatch_collector.cli.common import add_list, add_place, call


def register(program: Program) -> None:
    program.group("token", "join tokens, with which agents enrol")
    program.add(
        "token create",
        create,
        "make a join token and print it",
        description="make a join token and print it on one line; it holds a secret and works a limited number of times",
        example="fieldwatch-collector token create --site hq --ttl 1h > token.txt",
        arguments=_create_arguments,
    )
    program.add(
        "token list",
        show,
        "the join tokens, newest first",
        example="fieldwatch-collector token list -o json",
        arguments=add_list,
    )
    program.add(
        "token revoke",
        revoke,
        "make a join token useless",
        example="fieldwatch-collector token revoke 4f0c2a91be77",
        arguments=_revoke_arguments,
    )


def _create_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("--site", default="", help="site of the agents that enrol with it (default: main)")
    parser.add_argument("--uses", type=int, default=1, metavar="N", help="how many agents may use it (default: 1)")
    parser.add_argument("--ttl", default="1h", metavar="TIME", help="how long it is valid: 30min, 1h, 7d (default: 1h)")
    parser.add_argument("--tag", action="append", default=[], metavar="K=V", help="kept with the token; repeatable")
    parser.add_argument("--replace", metavar="AGENT_ID", help="hand an existing agent's identity to a new device")


def _revoke_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("id", metavar="TOKEN_ID")


def create(args: argparse.Namespace) -> None:
    if args.uses < 1:
        raise UsageError(f"--uses {args.uses}: accepted is 1 or more")
    made = call(
        args,
        "token.create",
        site=args.site,
        uses=args.uses,
        ttl_s=_seconds(args.ttl),
        tags=dict(_tag(text) for text in args.tag),
        replace=args.replace,
    )
    sys.stdout.write(made["token"] + "\n")
    if sys.stdout.isatty():
        sys.stderr.write(
            f"valid until {made['expires'][:19]}Z; on the device: "
            "fieldwatch-agent enrol --token-file FILE --collector HOST:7444\n"
        )


def show(args: argparse.Namespace) -> None:
    from fieldwatch_proto.cli.tables import Column, moment_text, write

    columns = [
        Column("id", "TOKEN"),
        Column("site"),
        Column("state"),
        Column("uses_left", align="right"),
        Column("expires", show=moment_text),
        Column("tags", show=lambda tags: " ".join(f"{key}={value}" for key, value in tags.items())),
        Column("replace"),
    ]
    write(call(args, "token.list"), columns, args.output, empty="no join tokens; make one: token create")


def revoke(args: argparse.Namespace) -> None:
    call(args, "token.revoke", id=args.id)


def _seconds(text: str) -> float:
    from fieldwatch_proto.quantities import parse_seconds

    try:
        return parse_seconds(text)
    except ValueError as problem:
        raise UsageError(f"--ttl {text}: {problem}") from None


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise UsageError(f"--tag {text}: accepted is KEY=VALUE")
    return key, value
