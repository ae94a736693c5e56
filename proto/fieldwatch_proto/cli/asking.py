"""What the client's commands share: the connection, the arguments of a question, and how a failure ends."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fieldwatch_proto.cli.command import Failure, UsageError
from fieldwatch_proto.cli.tables import add_output

if TYPE_CHECKING:
    from fieldwatch_proto.client import Client


@contextlib.contextmanager
def client() -> Iterator[Client]:
    """The client of the collector that this user is logged in at; its failures end the command with one line."""
    from fieldwatch_proto.cli.credentials import credentials
    from fieldwatch_proto.client import Client, ClientError, QueryError

    address, token = credentials()
    try:
        with Client.connect(address, token) as connected:
            yield connected
    except QueryError as problem:
        raise UsageError(str(problem)) from None
    except ClientError as problem:
        raise Failure(str(problem)) from None


def add_question(
    parser: argparse.ArgumentParser, *, since: str = "", until: bool = False, limit: int | None = None
) -> None:
    """``-o``, ``--site``, and where they make sense ``--since``, ``--until``, ``--limit``."""
    add_output(parser)
    parser.add_argument("--site", default="", metavar="NAME", help="only this site")
    if since:
        parser.add_argument("--since", default="", metavar="TIME", help=f"{since}; 90s, 30m, 1h, 2d or RFC 3339")
    if until:
        parser.add_argument("--until", default="", metavar="TIME", help="up to this time; as --since")
    if limit is not None:
        shown = f"default: {limit}, 0 = all" if limit else "default: all"
        parser.add_argument(
            "--limit", type=row_limit, default=limit, metavar="N", help=f"at most so many rows ({shown})"
        )


def row_limit(text: str) -> int:
    """The type of ``--limit``."""
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows; give 0 (all) or more")
    return int(text)


def end(row: Mapping[str, Any], side: str) -> str:
    """One end of a flow for people: name or address, and the port where the protocol has one."""
    host = row[f"{side}_name"] or row[side]
    port = row[f"{side}_port"]
    if row["protocol"] not in ("tcp", "udp", "sctp", "dccp", "udplite"):
        return str(host)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
