"""`fieldwatch-collector doctor`."""

from __future__ import annotations

import argparse
import sys

from fieldwatch_proto.cli.command import Program

from fieldwatch_collector.cli.common import add_place, loaded


def register(program: Program) -> None:
    program.add(
        "doctor",
        doctor,
        "data folder, ports, disk, clock, certificate, store: each finding with its remedy",
        description="Looks at what the collector needs on this machine; exit code 1 if something is broken",
        example="fieldwatch-collector doctor",
        arguments=_arguments,
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a finding: level, check, what, remedy")


def doctor(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from fieldwatch_proto.cli.tables import json_line
    from fieldwatch_proto.logs import printable

    from fieldwatch_collector.cli.checks import Level, examine

    broken = 0
    for finding in examine(loaded(args).value):
        broken += finding.level is Level.BROKEN
        if args.json:
            sys.stdout.write(json_line(asdict(finding)))
        else:
            print(printable(f"{finding.level:<7} {finding.check:<12} {finding.what}"))
            if finding.remedy:
                print(printable(f"{'':<20} -> {finding.remedy}"))
    return 1 if broken else 0
