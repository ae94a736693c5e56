"""`run`: the daemon."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwatch_proto.cli.command import Failure, Program, UsageError

from fieldwatch_agent.cli.daemon import hand_over

if TYPE_CHECKING:
    from fieldwatch_agent.config import AgentConfig

CLEAN_DAYS = 30


def register(program: Program) -> None:
    program.add(
        "run",
        run,
        "the daemon: capture, spool, ship",
        description=(
            "Listens on the interfaces (all Ethernet interfaces that are up, unless told otherwise), keeps what it "
            "learns in the spool and ships it to the collector that it is enrolled at. With --replay it reads a "
            "capture file through the same path and stops when the collector has everything"
        ),
        example="""
        fieldwatch-agent run -i eth0 -i eth1
        fieldwatch-agent run --collector collector.example:7443 --filter 'not port 22'
        fieldwatch-agent run --replay office.pcap --local-only --data /tmp/agent
        """,
        arguments=_arguments,
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="configuration (default /etc/fieldwatch/agent.toml)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the agent's folder (default /var/lib/fieldwatch/agent)"
    )
    parser.add_argument(
        "-i", "--interface", action="append", metavar="IF", help="interface to listen on; may be repeated"
    )
    parser.add_argument("--filter", metavar="BPF", help="frames that count (pcap-filter(7))")
    parser.add_argument("--collector", metavar="HOST:PORT", help="the collector, where it is not the enrolled one")
    parser.add_argument(
        "--replay", metavar="CAPTURE", help="a capture file instead of an interface; - = standard input"
    )
    parser.add_argument("--local-only", action="store_true", help="capture and keep, ship nothing")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more")
    old = parser.add_argument_group("flags of the predecessor")
    old.add_argument("--use-api", action="store_true", help="ship to the collector; an error where it is not enrolled")
    old.add_argument("--update", action="store_true", help="refresh the MAC vendor table first")
    old.add_argument("--reset", action="store_true", help="clear the local data first; asks unless --yes")
    old.add_argument("--yes", action="store_true", help="do not ask")
    old.add_argument(
        "--clean-connections",
        nargs="?",
        type=int,
        const=CLEAN_DAYS,
        metavar="DAYS",
        help=f"delete flow records that wait and are older (default {CLEAN_DAYS} days) first",
    )


def run(args: argparse.Namespace) -> int:
    """Prepare, and become the daemon."""
    from fieldwatch_proto import logs

    from fieldwatch_agent.config import load_config
    from fieldwatch_agent.spool.items import SpoolError

    if args.use_api and args.local_only:
        raise UsageError("--use-api ships and --local-only does not: give one of them")
    if args.clean_connections is not None and args.clean_connections < 0:
        raise UsageError(f"--clean-connections {args.clean_connections}: accepted is a number of days, 0 or more")
    flags = {
        "data": str(args.data) if args.data else None,
        "capture.interfaces": args.interface,
        "capture.filter": args.filter,
        "collector.address": args.collector,
        "log.level": "debug" if args.verbose else None,
    }
    config = load_config(args.config, flags).value
    logs.configure(config.log.level, config.log.format)
    if args.reset:
        try:
            _reset(config, ask=not args.yes)
        except SpoolError as problem:
            raise Failure(str(problem)) from None
    if args.update:
        _update_vendors(args)
    hand_over(
        str(args.config) if args.config else None,
        flags,
        {
            "replay": args.replay,
            "local_only": args.local_only,
            "must_ship": args.use_api,
            "clean_flows_days": args.clean_connections,
        },
    )


def _reset(config: AgentConfig, *, ask: bool) -> None:
    from fieldwatch_agent.spool.clear import clear, waiting

    if ask:
        if not sys.stdin.isatty():
            raise UsageError("--reset clears what was not shipped yet; without a terminal to ask on it needs --yes")
        print(f"{config.data_dir}: {waiting(config.data_dir)}. Clear it? [y/N] ", end="", file=sys.stderr, flush=True)
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise Failure("nothing was cleared")
    clear(config.data_dir)


def _update_vendors(args: argparse.Namespace) -> None:
    """In a child: what it imports and reads is not the daemon's to keep."""
    if subprocess.run(vendors_command(args), check=False).returncode != 0:  # noqa: S603
        raise Failure("the vendor table was not updated; run without --update to keep the one that is there")


def vendors_command(args: argparse.Namespace) -> list[str]:
    """`vendors update` for the folder that this run works on."""
    command = [sys.executable, "-m", "fieldwatch_agent.cli.main", "vendors", "update"]
    for flag, place in (("--config", args.config), ("--data", args.data)):
        if place is not None:
            command += [flag, str(place)]
    return command
