"""`fieldwatch-collector migrate`, `rebuild`, `fsck`."""

from __future__ import annotations

import argparse

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
        arguments=add_place,
    )
    program.add(
        "fsck",
        fsck,
        "check the database, its tables, and the digest of every batch",
        example="fieldwatch-collector fsck",
        arguments=add_place,
    )


def migrate(args: argparse.Namespace) -> None:
    print(f"the database has version {call(args, 'store.migrate')['version']}")


def rebuild(args: argparse.Namespace) -> None:
    done = call(args, "store.rebuild")
    from fieldwatch_proto.cli.tables import amount_text

    print(f"rebuilt from {amount_text(done['batches'], 'batch', 'batches')}, {done['undecodable']} of them undecodable")


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
