"""`fieldwatch-collector migrate`, `rebuild`, `fsck`, `expire`, `batch`."""

from __future__ import annotations

import argparse
import json

from fieldwatch_proto.cli.command import Failure, Program

from fieldwatch_collector.cli.common import add_place, call


def register(program: Program) -> None:
    program.add(
        "migrate",
        migrate,
        "bring the database to this program's version",
        example="fieldwatch-collector migrate",
        arguments=add_place,
    )
    program.add(
        "rebuild",
        rebuild,
        "derive devices, flows and metrics anew from the batches",
        example="fieldwatch-collector rebuild",
        arguments=_rebuild_arguments,
    )
    program.add(
        "fsck",
        fsck,
        "check the database, its tables, and the digest of every batch",
        example="fieldwatch-collector fsck",
        arguments=add_place,
    )
    program.add(
        "expire",
        expire,
        "drop the bodies of old batches; devices, flows and events that came of them stay",
        example="fieldwatch-collector expire --older-than 90d",
        arguments=_expire_arguments,
    )
    program.add(
        "batch",
        batch,
        "show a batch as it came, columns that this version does not know among them",
        example="fieldwatch-collector batch 1234",
        arguments=_batch_arguments,
    )


def _rebuild_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--without-expired", action="store_true", help="go on although what came of expired batches is lost by it"
    )
    add_place(parser)


def _expire_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--older-than", metavar="AGE", required=True, help='by the time of receipt, such as "90d"')
    add_place(parser)


def _batch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("position", type=int, help="its place in the log, as events of dead letters tell it")
    add_place(parser)


def migrate(args: argparse.Namespace) -> None:
    print(f"the database has version {call(args, 'store.migrate')['version']}")


def rebuild(args: argparse.Namespace) -> None:
    done = call(args, "store.rebuild", without_expired=args.without_expired)
    from fieldwatch_proto.cli.tables import amount_text

    print(f"rebuilt from {amount_text(done['batches'], 'batch', 'batches')}, {done['undecodable']} of them undecodable")


def expire(args: argparse.Namespace) -> None:
    from fieldwatch_proto.cli.tables import amount_text
    from fieldwatch_proto.quantities import parse_seconds
    from fieldwatch_proto.settings import UsageError

    try:
        older_than_s = parse_seconds(args.older_than)
    except ValueError as problem:
        raise UsageError(f"--older-than {args.older_than}: {problem}") from None
    dropped = call(args, "store.expire", older_than_s=older_than_s)
    print(f"dropped the bodies of {amount_text(dropped['batches'], 'batch', 'batches')}, {dropped['bytes']:,} bytes")


def batch(args: argparse.Namespace) -> None:
    print(json.dumps(call(args, "store.batch", position=args.position), indent=2))


def fsck(args: argparse.Namespace) -> None:
    from fieldwatch_proto.cli.tables import amount_text

    found = call(args, "store.fsck")
    for problem in found["problems"]:
        print(problem)
    if found["problems"]:
        raise Failure(
            f"{amount_text(len(found['problems']), 'problem')};"
            " restore from a backup, or rebuild if only tables are damaged"
        )
    print(f"{amount_text(found['batches'], 'batch', 'batches')}, {found['bytes']:,} bytes: no problem found")
    for name, count in found["tables"].items():
        print(f"  {name:<18}{count:>12,} {'row' if count == 1 else 'rows'}")
