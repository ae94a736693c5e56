"""`status`: how the running agent is, part by part."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from fieldwatch_proto.cli.command import Failure, Program


def register(program: Program) -> None:
    program.add(
        "status",
        status,
        "how the running agent is, part by part; exit code 1 where it has failed",
        description=(
            "How the running agent is: what it captures, whether fresh records reach the collector, what it writes to "
            "the disk and how long that lasts, its spool, clock, certificate and configuration, each with the reason "
            "where it is not well. Exit code 1 where a part has failed or no agent runs"
        ),
        example="""
        fieldwatch-agent status
        fieldwatch-agent status -o json
        """,
        arguments=_arguments,
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="form of the output")
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the agent's folder (default /var/lib/fieldwatch/agent)"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="configuration (default /etc/fieldwatch/agent.toml)"
    )


def status(args: argparse.Namespace) -> int:
    from fieldwatch_agent.config import load_config
    from fieldwatch_agent.spool.control import ask_daemon
    from fieldwatch_agent.spool.file import SOCKET_NAME
    from fieldwatch_agent.spool.items import SpoolError

    folder = load_config(args.config, {"data": args.data}).value.data_dir
    start = f"fieldwatch-agent run --data {folder}"
    if not (folder / SOCKET_NAME).exists():
        raise Failure(f"{folder}: no agent runs there; start it: systemctl start fieldwatch-agent, or {start}")
    try:
        found: dict[str, Any] = next(ask_daemon(folder, "status"))
    except (SpoolError, StopIteration):
        raise Failure(f"{folder}: the agent there does not answer; see its log, and start it again: {start}") from None
    if args.output == "json":
        print(json.dumps(found))
    else:
        _show(found)
    return int(any(part["level"] == "failed" for part in found["health"]))


def _show(found: dict[str, Any]) -> None:
    from fieldwatch_proto.cli.tables import Column, amount_text, write

    from fieldwatch_agent.cli.written import written_lines

    config = found["config"]
    waiting = f"{amount_text(found['records'], 'record')} in {amount_text(found['batches'], 'batch', 'batches')}"
    lines = [
        ("agent", f"running (process {found['pid']}, {found['state']}), version {found['version']}"),
        ("interfaces", ", ".join(found["interfaces"]) or "none"),
        ("collector", str(found["collector"])),
        ("waiting", waiting),
        *written_lines(found),
    ]
    if config["version"]:
        lines.append(("configuration", f"version {config['version']} of the collector's, {config['state']}"))
    for name, text in lines:
        print(f"{name:<16}{text}")
    print()
    sys.stdout.flush()
    write(found["health"], [Column("component"), Column("level"), Column("reason")], "table")
