"""`doctor`: what stands in the way of a working agent on this machine, and what mends it."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fieldwatch_proto.cli.command import Program


def register(program: Program) -> None:
    program.add(
        "doctor",
        doctor,
        "rights, interfaces, offloads, clock, disk, collector: each finding with its remedy",
        description="Looks at what the agent needs on this machine; exit code 1 if something is broken",
        example="sudo fieldwatch-agent doctor",
        arguments=_arguments,
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: /etc/fieldwatch/agent.toml if it exists")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the agent's data folder")
    parser.add_argument("--json", action="store_true", help="one JSON object a finding: level, check, what, remedy")


def doctor(args: argparse.Namespace) -> int:
    from dataclasses import asdict

    from fieldwatch_proto.cli.tables import json_line
    from fieldwatch_proto.logs import printable

    from fieldwatch_agent.cli.checks import Level, examine
    from fieldwatch_agent.config import load_config

    broken = 0
    for finding in examine(load_config(args.config, {"data": args.data}).value):
        broken += finding.level is Level.BROKEN
        if args.json:
            sys.stdout.write(json_line(asdict(finding)))
        else:
            print(printable(f"{finding.level:<7} {finding.check:<10} {finding.what}"))
            if finding.remedy:
                print(printable(f"{'':<18} -> {finding.remedy}"))
    return 1 if broken else 0
