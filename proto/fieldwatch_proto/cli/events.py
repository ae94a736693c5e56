"""`fieldwatch events`: what happened, and what happens now."""

from __future__ import annotations

import argparse
import csv
import queue
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from fieldwatch_proto.cli.asking import add_question, client
from fieldwatch_proto.cli.command import Program
from fieldwatch_proto.cli.event_text import details_text, subject_text
from fieldwatch_proto.cli.tables import Column, csv_cell, json_line, moment_text, write
from fieldwatch_proto.logs import printable

T = TypeVar("T")

LIMIT = 100
COLUMNS = (
    Column("ts", "TIME", show=moment_text),
    Column("type"),
    Column("about", "SUBJECT"),
    Column("site"),
    Column("details"),
    Column("seq", align="right"),
)
CSV_COLUMNS = tuple(map(Column, ("seq", "ts", "type", "site", "agent", "subject_kind", "subject_id", "subject_name")))


def register(program: Program) -> None:
    program.group("events", "what happened, and what happens now")
    program.add(
        "events ls",
        ls,
        f"list events, the newest {LIMIT} first",
        example="""fieldwatch events ls --since 1d
            fieldwatch events ls --type device.discovered -o ndjson""",
        arguments=_ls_arguments,
    )
    program.add(
        "events watch",
        watch,
        "print events as they come, until Ctrl-C",
        example="""fieldwatch events watch --type device.
            fieldwatch events watch --since-seq 4711 -o ndjson""",
        arguments=_watch_arguments,
    )


def _types(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--type",
        action="append",
        default=[],
        dest="types",
        metavar="TYPE",
        help='only this type, or with a dot at its end every type that begins so ("device."); may be repeated',
    )


def _ls_arguments(parser: argparse.ArgumentParser) -> None:
    add_question(parser, since="at or after this time", until=True, limit=LIMIT)
    _types(parser)


def _watch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o", "--output", choices=("table", "ndjson", "csv"), default="table", help="form of the output"
    )
    parser.add_argument("--site", default="", metavar="NAME", help="only this site")
    parser.add_argument(
        "--since-seq", type=int, default=0, metavar="N", help="begin after this number (default: from now on)"
    )
    _types(parser)


def ls(args: argparse.Namespace) -> None:
    from fieldwatch_proto.client import as_dict

    with client() as asked:
        found = map(
            as_dict,
            asked.events(site=args.site, types=args.types, since=args.since, until=args.until, limit=args.limit),
        )
        if args.output == "table":
            rows = [{**event, "about": subject_text(event), "details": details_text(event)} for event in found]
            write(rows, COLUMNS, empty="no events")
        elif args.output == "csv":
            write(map(_flat, found), CSV_COLUMNS, "csv")
        else:
            write(found, COLUMNS, args.output)


def watch(args: argparse.Namespace) -> None:
    from fieldwatch_proto.client import ClientError, as_dict

    def lost(problem: ClientError) -> None:
        print(f"fieldwatch: {problem}; trying again", file=sys.stderr)

    rows = csv.writer(sys.stdout, lineterminator="\n")
    if args.output == "csv":
        rows.writerow([column.key for column in CSV_COLUMNS])
    with client() as asked:
        for message in _in_thread(asked.watch(args.types, site=args.site, since_seq=args.since_seq, lost=lost)):
            event = as_dict(message)
            if args.output == "ndjson":
                sys.stdout.write(json_line(event))
            elif args.output == "csv":
                flat = _flat(event)
                rows.writerow([csv_cell(flat[column.key]) for column in CSV_COLUMNS])
            else:
                line = f"{moment_text(event['ts'])}  {event['type']:<18}  {subject_text(event)}  {details_text(event)}"
                print(printable(line.rstrip()))
            sys.stdout.flush()


def _in_thread(found: Iterator[T]) -> Iterator[T]:
    """The same items, read by another thread.

    Ctrl-C interrupts the main thread wherever it stands; inside gRPC that can leave a lock held for ever. Here it
    stands in the queue, which takes an interrupt well.
    """
    arrived: queue.SimpleQueue[T | BaseException] = queue.SimpleQueue()

    def read() -> None:
        try:
            for item in found:
                arrived.put(item)
            arrived.put(StopIteration())
        except BaseException as problem:  # raised again where the items are used
            arrived.put(problem)

    threading.Thread(target=read, name="watch", daemon=True).start()
    while not isinstance(item := arrived.get(), StopIteration):
        if isinstance(item, BaseException):
            raise item
        yield item


def _flat(event: Mapping[str, Any]) -> dict[str, Any]:
    return {**event, **{f"subject_{key}": value for key, value in event["subject"].items()}}
