"""`fieldwatch-collector audit`: who did what, and whether the log is whole."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from typing import Any

from fieldwatch_proto.cli.command import Failure, Program, UsageError

from fieldwatch_collector.cli.common import add_place, call


def register(program: Program) -> None:
    program.group("audit", "who changed what, and who was refused")
    program.add(
        "audit list",
        show,
        "the rows, oldest first",
        description="print the rows, oldest first; json and ndjson hold everything that the chain of hashes covers",
        example="""fieldwatch-collector audit list --since 1d
            fieldwatch-collector audit list -o ndjson > audit.ndjson""",
        arguments=_list_arguments,
    )
    program.add(
        "audit verify",
        verify,
        "follow the chain of hashes from the first row to the last",
        description="follow the chain of hashes and print its head. Keep the head elsewhere: with --head a later check"
        " also finds rows that were cut off at the end.",
        example="""fieldwatch-collector audit verify
            fieldwatch-collector audit verify --head $(cat /mnt/elsewhere/audit.head)""",
        arguments=_verify_arguments,
    )


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    from fieldwatch_proto.cli.tables import add_output

    add_place(parser)
    add_output(parser)
    parser.add_argument(
        "--since", default="", metavar="TIME", help="only from this time on; 90s, 30m, 1h, 2d or RFC 3339"
    )


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("--head", default="", metavar="HASH", help="what an earlier check printed")


def show(args: argparse.Namespace) -> None:
    from fieldwatch_proto.cli.tables import Column, write

    from fieldwatch_collector.read_model.asking import BadRequest, when

    try:
        since_ns = when(args.since, time.time_ns(), "--since") if args.since else 0
    except BadRequest as problem:
        raise UsageError(str(problem)) from None
    columns = [
        Column("seq", "ROW", align="right"),
        Column("ts", "TIME", show=lambda text: str(text)[:19].replace("T", " ")),
        Column("actor"),
        Column("action"),
        Column("subject"),
        Column("outcome"),
        Column("data", show=_pairs),
    ]
    write(_rows(args, since_ns), columns, args.output, empty="nothing was audited in this time")


def _pairs(data: dict[str, Any] | None) -> str:
    """What has a value, as "key=value"; objects inside as "key=a:b,c:d"."""
    shown = {
        key: ",".join(f"{inner}:{one}" for inner, one in value.items()) if isinstance(value, dict) else value
        for key, value in (data or {}).items()
    }
    return " ".join(f"{key}={value}" for key, value in shown.items() if value not in ("", None))


def _rows(args: argparse.Namespace, since_ns: int) -> Iterator[dict[str, Any]]:
    """Page by page: an answer of the server is bounded."""
    after = 0
    while page := call(args, "audit.list", after=after, since_ns=since_ns):
        yield from page
        after = page[-1]["seq"]


def verify(args: argparse.Namespace) -> None:
    from fieldwatch_proto.cli.tables import amount_text

    found = call(args, "audit.verify", head=args.head)
    if found["problem"]:
        raise Failure(f"the audit log is broken: {found['problem']}; compare it with a backup or an export")
    print(f"{found['head']}  {amount_text(found['rows'], 'row')}")
