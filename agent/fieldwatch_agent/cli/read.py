"""`read`: offline analysis of capture files."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwatch_proto.cli.command import Program, UsageError, explain
from fieldwatch_proto.logs import printable

if TYPE_CHECKING:
    from fieldwatch_agent.cli.read_output import Output

STANDARD_INPUT = "-"


def register(program: Program) -> None:
    program.add(
        "read",
        read,
        "what capture files tell: devices, flows, facts",
        description=(
            "Reads pcap and pcapng files, or - for standard input. Tables for people; with --json one object a line. "
            "Each capture is read on its own (flows end with it, frame numbers count in it); devices come of all"
        ),
        example="""
        fieldwatch-agent read office.pcap
        fieldwatch-agent read --json --only devices *.pcapng | jq .mac
        tcpdump -i eth0 -c 1000 -w - | fieldwatch-agent read --filter 'not port 22' -
        """,
        arguments=_arguments,
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("captures", nargs="+", metavar="CAPTURE", help="pcap or pcapng file, - for standard input")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--only", choices=("devices", "flows", "facts", "summary"), help="print nothing else")
    parser.add_argument("--filter", default="", metavar="BPF", help="frames that count (pcap-filter(7))")
    parser.add_argument(
        "--private-only",
        action="store_true",
        help="leave out flows without a local end, and devices and facts that have only public addresses",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress and no notes on standard error")
    parser.add_argument("--config", type=Path, metavar="FILE", help="agent configuration (local prefixes, timeouts)")


def read(args: argparse.Namespace) -> int:
    """0; 1 where a file could not be read as a capture (the others count all the same)."""
    from fieldwatch_ext.errors import CaptureError

    from fieldwatch_agent.analysis import Analysis
    from fieldwatch_agent.cli.progress import Progress
    from fieldwatch_agent.cli.read_output import JsonOutput, TableOutput
    from fieldwatch_agent.config import load_config

    if args.captures.count(STANDARD_INPUT) > 1:
        raise UsageError("standard input (-) can be read only once")
    config = load_config(args.config).value
    prefixes = config.network.prefixes() if args.private_only else None
    output: Output = (JsonOutput if args.json else TableOutput)(sys.stdout, args.only, prefixes)
    analysis = Analysis(config, on_flows=output.flows, on_facts=output.facts, expression=args.filter)
    progress = Progress(quiet=args.quiet)
    failed = 0
    for path in args.captures:
        name = "standard input" if path == STANDARD_INPUT else path
        try:
            fd = _open(path)
            try:
                total = _length(fd)
                analysis.read(fd, name, lambda position, frames: progress.update(name, position, total, frames))  # noqa: B023 - used up within the iteration
            finally:
                os.close(fd)
        except (CaptureError, OSError) as problem:
            failed += 1
            progress.clear()
            print(f"fieldwatch-agent: {printable(_why(name, problem))}", file=sys.stderr)
        progress.clear()
    if analysis.totals.captures:
        output.finish(analysis)
        if not args.quiet and not args.json:
            for problem_text in analysis.totals.problems:
                print(f"note: {printable(problem_text)}; what was read stands", file=sys.stderr)
    return 1 if failed else 0


def _open(path: str) -> int:
    if path == STANDARD_INPUT:
        return os.dup(sys.stdin.fileno())
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _length(fd: int) -> int:
    found = os.fstat(fd)
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _why(name: str, problem: Exception) -> str:
    text = explain(problem) if isinstance(problem, OSError) and problem.strerror else str(problem)
    return text if name in text else f"{name}: {text}"
