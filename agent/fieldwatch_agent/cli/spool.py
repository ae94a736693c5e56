"""`spool`: the local queue of batches that wait for the collector's ack."""

from __future__ import annotations

import argparse
import json
import os
import sys
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwatch_proto.cli.command import Failure, Program, UsageError

if TYPE_CHECKING:
    from fieldwatch_agent.config import AgentConfig


def register(program: Program) -> None:
    program.group("spool", "the local queue of batches that wait for the collector's ack")
    program.add(
        "spool status",
        status,
        "how much waits, and since when",
        description="How much waits, and since when; with or without a running agent",
        example="fieldwatch-agent spool status -o json",
        arguments=_status_arguments,
    )
    program.add(
        "spool fsck",
        fsck,
        "checks every row of the spool; the agent must be stopped",
        description="Checks the file and every row's checksum; says what of a damaged one is kept when the agent runs",
        example="fieldwatch-agent spool fsck",
        arguments=_arguments,
    )
    program.add(
        "spool export",
        export,
        "writes what waits to a file, one JSON object a batch",
        description="Writes what waits to a file (- = standard output), one JSON object a batch; nothing is deleted",
        example="fieldwatch-agent spool export waiting.ndjson",
        arguments=_export_arguments,
    )
    program.add(
        "spool clear",
        clear,
        "deletes what waits; the agent must be stopped",
        description="Deletes what was not shipped yet. The agent must be stopped; its enrolment is kept",
        example="fieldwatch-agent spool clear --yes",
        arguments=_clear_arguments,
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the agent's folder (default /var/lib/fieldwatch/agent)"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="configuration (default /etc/fieldwatch/agent.toml)"
    )


def _status_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="form of the output")
    _arguments(parser)


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="file to write, - = standard output")
    _arguments(parser)


def _clear_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")
    _arguments(parser)


def _config(args: argparse.Namespace) -> AgentConfig:
    from fieldwatch_agent.config import load_config

    return load_config(args.config, {"data": args.data}).value


def status(args: argparse.Namespace) -> int:
    from fieldwatch_agent.spool.control import read_status
    from fieldwatch_agent.spool.items import SpoolError

    try:
        found = read_status(_config(args).data_dir)
    except SpoolError as problem:
        raise Failure(str(problem)) from None
    if args.output == "json":
        print(json.dumps(found))
        return 0
    for name, text in _status_lines(found):
        print(f"{name:<16}{text}")
    return 0


def _status_lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    from fieldwatch_proto.cli.tables import amount_text
    from fieldwatch_proto.quantities import bytes_exact
    from fieldwatch_proto.schema import time_text

    from fieldwatch_agent.cli.written import written_lines

    waiting = (
        f"{amount_text(found['records'], 'record')} in {amount_text(found['batches'], 'batch', 'batches')},"
        f" {amount_text(found['gaps'], 'gap')}"
    )
    lost = (
        f"{amount_text(found['declared_records'], 'record')}, {amount_text(found['declared_frames'], 'frame')} so far"
    )
    lines = [
        ("agent", f"running (process {found['pid']}, {found['state']})" if found["running"] else "not running"),
        ("waiting", waiting),
        ("oldest", time_text(found["oldest_ns"]) if found["oldest_ns"] else "-"),
        ("on disk", f"{found['used_bytes']} B of at most {bytes_exact(found['max_bytes'])}"),
        ("declared lost", lost),
    ]
    if found["memory_only"]:
        at_risk = f"{amount_text(found['memory_records'], 'record')} in memory only: {found['memory_only']}"
        lines.append(("at risk", at_risk))
    if found["running"]:
        if found["check"]["state"] != "not needed":
            lines.append(("check", _check_text(found["check"])))
        lines += written_lines(found)
        lines.append(("collector", str(found["collector"])))
        lines.append(("got through", _fresh_text(found["fresh_acked_ns"], found["fresh_acked_age_s"])))
    return lines


def _fresh_text(newest_ns: int, age_s: float | None) -> str:
    """The newest fresh record that the collector has, and how long ago it said so."""
    from fieldwatch_proto.schema import time_text

    return "no fresh record yet" if age_s is None else f"record of {time_text(newest_ns)}, {age_s:.0f} s ago"


def _check_text(check: dict[str, Any]) -> str:
    from fieldwatch_proto.cli.tables import amount_text

    rows = amount_text(check["rows"], "row")
    damage = f"{amount_text(check['damaged'], 'row')} damaged and declared lost" if check["damaged"] else "all sound"
    return f"after an unclean stop, {check['state']}: {rows} read, {damage}"


def fsck(args: argparse.Namespace) -> int:
    from fieldwatch_proto.cli.tables import amount_text

    from fieldwatch_agent.spool.check import check
    from fieldwatch_agent.spool.items import SpoolError

    folder = _config(args).data_dir
    try:
        problems, rows, remedy = check(folder)
    except SpoolError as problem:
        raise Failure(str(problem)) from None
    for line in problems:
        print(line)
    if problems:
        raise Failure(
            f"{folder}: {amount_text(len(problems), 'problem')} in {amount_text(rows, 'row')};"
            f" when the agent runs: {remedy}"
        )
    print(f"{amount_text(rows, 'row')}, all sound")
    return 0


def export(args: argparse.Namespace) -> int:
    from fieldwatch_proto.cli.tables import amount_text

    from fieldwatch_agent.spool.control import export_lines
    from fieldwatch_agent.spool.items import SpoolError

    count = gaps = 0
    lines = export_lines(_config(args).data_dir)
    try:
        first = list(islice(lines, 1))  # before the file is touched: it may be an export of yesterday
    except SpoolError as problem:
        raise Failure(str(problem)) from None
    try:
        with (
            open(sys.stdout.fileno(), "w", closefd=False)
            if args.file == "-"
            else open(args.file, "w", encoding="ascii", opener=_own) as out
        ):
            for line in chain(first, lines):
                out.write(line + "\n")
                count += 1
                gaps += line.startswith('{"type": "gap"')
    except SpoolError as problem:
        raise Failure(f"{problem}; {args.file} is not complete") from None
    batches = amount_text(count - gaps, "batch", "batches")
    print(f"{batches} and {amount_text(gaps, 'gap')} written", file=sys.stderr)
    return 0


def _own(path: str, flags: int) -> int:
    """What waits is nobody else's: as in the spool."""
    return os.open(path, flags, 0o600)


def clear(args: argparse.Namespace) -> int:
    from fieldwatch_agent.spool.clear import clear as clear_folder
    from fieldwatch_agent.spool.clear import waiting
    from fieldwatch_agent.spool.items import SpoolError

    folder = _config(args).data_dir
    try:
        if not args.yes:
            if not sys.stdin.isatty():
                raise UsageError("this deletes what was not shipped yet; without a terminal to ask on it needs --yes")
            print(f"{folder}: {waiting(folder)}. Clear it? [y/N] ", end="", file=sys.stderr, flush=True)
            if sys.stdin.readline().strip().lower() not in ("y", "yes"):
                raise Failure("nothing was cleared")
        clear_folder(folder)
    except SpoolError as problem:
        raise Failure(str(problem)) from None
    print(f"{folder}: cleared")
    return 0
