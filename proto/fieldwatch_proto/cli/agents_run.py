"""`agents run`, `commands`, `cancel`, `capture`, `diagnostics`: what agents are to do, and what became of it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping
from typing import Any

from fieldwatch_proto.cli.agents_door import Door, Fleet, add_select, selected
from fieldwatch_proto.cli.asking import row_limit
from fieldwatch_proto.cli.command import Failure, Program, UsageError
from fieldwatch_proto.cli.tables import Column, add_output, bytes_text, moment_text, plain, write

LOOK_S = 0.4
STOP_S = 15.0  # that a command is given to end after Ctrl-C
COMMANDS = (
    Column("id", "COMMAND"),
    Column("agent_name", "AGENT"),
    Column("name"),
    Column("state"),
    Column("percent", "%", align="right"),
    Column("created", show=moment_text),
    Column("actor", "BY"),
    Column("file_bytes", "FILE", align="right", show=lambda size: bytes_text(size) if size else ""),
    Column("text"),
)


def register(program: Program, door: Door) -> None:
    door.add(
        program,
        "agents run",
        run,
        "have agents do something: reload, diagnostics, log_level, capture",
        description="have agents do something. An agent that is not connected does it when it comes, until the timeout."
        " What an agent allows is for its own configuration to say",
        example="""agents run log_level level=debug minutes=10 --select site=hq --wait
            agents run reload --select '*'""",
        arguments=_run_arguments,
    )
    door.add(
        program,
        "agents commands",
        commands,
        "what agents were told to do, the newest first, and how that stands",
        example="agents commands pi-attic --state open",
        arguments=_commands_arguments,
    )
    door.add(
        program,
        "agents cancel",
        cancel,
        "have a command end",
        example="agents cancel 01JQ8Z6R0V3M2W5X7Y9A1B3C5D",
        arguments=_cancel_arguments,
    )
    door.add(
        program,
        "agents capture",
        capture,
        "packets of an agent's interface as a pcap file",
        description="packets of an agent's interface as a pcap file. The agent's own configuration must allow it:"
        ' [remote] allow = [..., "capture"]. Ctrl-C ends it; the packets until then are written',
        example="""agents capture pi-attic -i eth0 -n 1000 -w attic.pcap
            agents capture pi-attic -i eth0 --filter 'port 53' -w - | tcpdump -r -""",
        arguments=_capture_arguments,
    )
    door.add(
        program,
        "agents diagnostics",
        diagnostics,
        "a bundle for support, without secrets",
        example="agents diagnostics pi-attic -w attic.tar.gz",
        arguments=_file_arguments,
    )


def _run_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="reload, diagnostics, log_level, capture")
    parser.add_argument("words", nargs="*", default=[], metavar="ARG=VALUE", help="the command's own arguments")
    add_select(parser)
    _add_timeout(parser)
    parser.add_argument("--wait", action="store_true", help="until all have ended; exit code 1 unless all went well")
    add_output(parser)


def _commands_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("agent", nargs="?", default="", metavar="AGENT", help="id or name; all where it is left out")
    parser.add_argument("--state", default="", metavar="STATE", help="open, ended, or one of the states")
    parser.add_argument(
        "--limit", type=row_limit, default=50, metavar="N", help="at most so many (default: 50; 0: all)"
    )
    add_output(parser)


def _cancel_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", metavar="COMMAND", help="as agents commands shows it")


def _file_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("agent", metavar="AGENT", help="id or name")
    parser.add_argument("-w", "--write", required=True, metavar="FILE", help="where it goes; - = standard output")
    _add_timeout(parser)


def _capture_arguments(parser: argparse.ArgumentParser) -> None:
    _file_arguments(parser)
    parser.add_argument("-i", "--interface", required=True, metavar="IF", help="as the agent names it")
    parser.add_argument("-n", "--packets", type=int, default=1_000, metavar="N", help="at most (default: 1000)")
    parser.add_argument("--filter", default="", metavar="BPF", help="as tcpdump takes it")
    parser.add_argument("--seconds", type=int, default=60, metavar="S", help="at most (default: 60)")
    parser.add_argument("--snaplen", type=int, default=65_535, metavar="N", help="octets of each packet")


def _add_timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", default="0", metavar="TIME", help="from now to the end, the wait for an absent agent included: 1h"
    )


def run(door: Door, args: argparse.Namespace) -> int:
    select, words = selected(args, args.words)
    arguments = dict(_argument(word) for word in words)
    with door.open(args) as fleet:
        made = fleet.run(args.name, arguments, select=select, timeout_s=_seconds(args.timeout))
        if args.wait:
            made = [_wait(fleet, str(command["id"])) for command in made]
    write(made, COMMANDS, args.output)
    return 0 if not args.wait or all(command["state"] == "done" for command in made) else 1


def commands(door: Door, args: argparse.Namespace) -> None:
    with door.open(args) as fleet:
        found = fleet.commands(agent=args.agent, state=args.state, limit=args.limit)
        write(found, COMMANDS, args.output, empty="no commands")


def cancel(door: Door, args: argparse.Namespace) -> None:
    with door.open(args) as fleet:
        command = fleet.cancel(args.command)
    how = "has ended" if command["ended"] else "was told to end"
    print(f"{command['name']} on {command['agent_name']} {how}: {command['text'] or command['state']}", file=sys.stderr)


def capture(door: Door, args: argparse.Namespace) -> int:
    names = ("interface", "packets", "filter", "seconds", "snaplen")
    return _to_file(door, args, "capture", {name: getattr(args, name) for name in names})


def diagnostics(door: Door, args: argparse.Namespace) -> int:
    return _to_file(door, args, "diagnostics", {})


def _to_file(door: Door, args: argparse.Namespace, name: str, arguments: Mapping[str, Any]) -> int:
    """Run it, wait, and write what it made."""
    if args.write == "-" and sys.stdout.isatty():
        raise UsageError("-w -: the file is no text for a terminal; send it to a file or a program")
    interrupted = False
    with door.open(args) as fleet:
        command_id = str(
            fleet.run(name, arguments, select=f"agent={args.agent}", timeout_s=_seconds(args.timeout))[0]["id"]
        )
        try:
            command = _wait(fleet, command_id)
        except KeyboardInterrupt:
            interrupted = True
            fleet.cancel(command_id)
            command = _wait(fleet, command_id, STOP_S)
        size = int(command["file_bytes"])
        if not size and not interrupted:
            raise Failure(
                f"{name} on {command['agent_name']} {command['state']}: {command['text'] or 'it made no file'}"
            )
        if size:
            _save(args.write, fleet.file(command_id))
    print(f"{bytes_text(size)} from {command['agent_name']}: {command['state']} {command['text']}", file=sys.stderr)
    return 130 if interrupted else 0 if command["state"] == "done" else 1


def _save(place: str, pieces: Any) -> None:
    if place == "-":
        for piece in pieces:
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
        return
    # What goes over a wire is nobody else's.
    with os.fdopen(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:
        for piece in pieces:
            stream.write(piece)


def _wait(fleet: Fleet, command_id: str, seconds: float | None = None) -> Mapping[str, Any]:
    """The command once it has ended, or after so many seconds; on a terminal its progress shows."""
    said, deadline = "", None if seconds is None else time.monotonic() + seconds
    while True:
        command = fleet.command(command_id)
        text = f"{command['agent_name']}: {command['name']} {command['state']} {command['percent']} % {command['text']}"
        if sys.stderr.isatty() and text != said:
            said = text
            print(plain(text), file=sys.stderr)
        if command["ended"] or (deadline is not None and time.monotonic() > deadline):
            return command
        time.sleep(LOOK_S)


def _argument(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not name:
        raise UsageError(f"{word!r:.60} is no ARG=VALUE, as in level=debug")
    return name, value


def _seconds(text: str) -> int:
    from fieldwatch_proto.quantities import parse_seconds

    try:
        return int(parse_seconds(text))
    except ValueError as problem:
        raise UsageError(f"--timeout {text}: {problem}") from None
