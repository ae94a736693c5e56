"""`fieldwatch-collector audit`: who did what, and whether the log is whole."""

from __future__ import annotations

import argparse
import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fieldwatch_proto.cli.command import Failure, Program, UsageError

from fieldwatch_collector.cli.common import add_list, add_place, call


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
    program.add(
        "audit export",
        export,
        "write the rows to a file that can be checked by itself",
        description="write the rows, or those after a row, to a new file, and follow its chain. The log keeps its rows."
        " The next part begins with --after the last row of this one.",
        example="""fieldwatch-collector audit export /mnt/archive/audit-2026.ndjson
            fieldwatch-collector audit export --after 1200 /mnt/archive/audit-2027.ndjson
            fieldwatch-collector audit verify --file /mnt/archive/audit-2027.ndjson""",
        arguments=_export_arguments,
    )


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    add_list(parser)
    parser.add_argument(
        "--since", default="", metavar="TIME", help="only from this time on; 90s, 30m, 1h, 2d or RFC 3339"
    )


def _verify_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("--head", default="", metavar="HASH", help="what an earlier check printed")
    parser.add_argument("--file", type=Path, metavar="FILE", help="check what audit export wrote, in place of the log")


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a file that is not there yet")
    parser.add_argument("--after", type=int, default=0, metavar="ROW", help="only the rows after this one")
    add_place(parser)


def show(args: argparse.Namespace) -> None:
    from fieldwatch_proto.cli.tables import Column, moment_text, write

    from fieldwatch_collector.read_model.asking import BadRequest, when

    try:
        since_ns = when(args.since, time.time_ns(), "--since") if args.since else 0
    except BadRequest as problem:
        raise UsageError(str(problem)) from None
    columns = [
        Column("seq", "ROW", align="right"),
        Column("ts", "TIME", show=moment_text),
        Column("actor"),
        Column("action"),
        Column("subject"),
        Column("outcome"),
        Column("data", show=_pairs),
    ]
    write(_rows(args, since_ns), columns, args.output, empty="nothing was audited in this time")


def _pairs(data: dict[str, Any] | None) -> str:
    """What has a value, as "key=value"; objects inside as "key=a:b,c:d", deeper ones as "key=a.b:c"."""
    shown = {key: _text(value) for key, value in (data or {}).items() if value not in ("", None, [], {})}
    return " ".join(f"{key}={value}" for key, value in shown.items())


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return ",".join(f"{name}:{one}" for name, one in _leaves(value)) if isinstance(value, dict) else str(value)


def _leaves(value: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, one in value.items():
        if isinstance(one, dict):
            yield from ((f"{name}.{deeper}", leaf) for deeper, leaf in _leaves(one))
        else:
            yield name, one


def _rows(args: argparse.Namespace, since_ns: int = 0, after: int = 0) -> Iterator[dict[str, Any]]:
    """Page by page: an answer of the server is bounded."""
    while page := call(args, "audit.list", after=after, since_ns=since_ns):
        yield from page
        after = page[-1]["seq"]


def verify(args: argparse.Namespace) -> None:
    from fieldwatch_proto.cli.tables import amount_text

    if args.file is not None:
        print(_checked(args.file, args.head))
        return
    found = call(args, "audit.verify", head=args.head)
    if found["problem"]:
        raise Failure(f"the audit log is broken: {found['problem']}; compare it with a backup or an export")
    print(f"{found['head']}  {amount_text(found['rows'], 'row')}")


def export(args: argparse.Namespace) -> None:
    from fieldwatch_collector.audit.archive import lines_of

    if args.after < 0:
        raise UsageError(f"--after {args.after}: accepted is the number of a row, or 0 for all")
    rows = _rows(args, after=max(0, args.after - 1))
    before = {}
    if args.after:
        last = next(rows, None)
        if last is None or last["seq"] != args.after:
            raise UsageError(f"--after {args.after}: there is no such row; see: fieldwatch-collector audit list")
        before = {"before": last["hash"]}
    try:
        with open(args.file, "x", opener=_private) as stream, _whole_or_gone(args.file):
            stream.writelines(lines_of(rows, args.after, **before))
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError:
        raise UsageError(f"{args.file}: is there already, and an archive is not written over; give another") from None
    except OSError as problem:
        raise Failure(f"{args.file}: cannot be written: {problem.strerror}; give another place") from None
    try:
        print(_checked(args.file, ""))
    except Failure as problem:
        raise Failure(f"{problem}; the rows are in the file as the log has them") from None


@contextlib.contextmanager
def _whole_or_gone(file: Path) -> Iterator[None]:
    """What fails on the way leaves no file behind that looks like an archive."""
    try:
        yield
    except BaseException:
        file.unlink()
        raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)


def _checked(file: Path, head: str) -> str:
    """What the chain of a file comes to. Raises Failure, also where it is broken."""
    from fieldwatch_collector.audit.archive import ArchiveError, check

    try:
        with file.open() as stream:
            part = check(stream, head)
    except ArchiveError as problem:
        raise Failure(f"{file}: {problem}") from None
    except (OSError, UnicodeDecodeError) as problem:
        raise Failure(f"{file}: cannot be read: {getattr(problem, 'strerror', 'it is no text')}") from None
    if part.last < part.first:
        return f"{part.head}  no rows after {part.last}"
    return f"{part.head}  rows {part.first} to {part.last}"
