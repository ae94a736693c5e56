"""`enrol`: joins a collector."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from fieldwatch_proto.cli.command import Failure, Program, UsageError


def register(program: Program) -> None:
    program.add(
        "enrol",
        enrol,
        "joins a collector with a join token",
        description=(
            "Asks the collector for a certificate. The token is asked for at the terminal, or read from a file "
            "(removed after use) or from standard input, never from the command line. Running it again with the same "
            "collector changes nothing. Where the collector lets a person decide, it waits; ended early (Ctrl-C), the "
            "same command goes on later"
        ),
        example="""
        fieldwatch-agent enrol --collector collector.example
        fieldwatch-agent enrol --token-file join.token --collector collector.example
        fieldwatch-collector token create | fieldwatch-agent enrol --token-file - --collector 127.0.0.1
        """,
        arguments=_arguments,
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--token-file",
        metavar="FILE|-",
        help="file that holds the join token; - = standard input (default: asked for at the terminal)",
    )
    parser.add_argument(
        "--collector", required=True, metavar="HOST[:PORT]", help="the collector; port 7444 unless given"
    )
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--replace", default="", metavar="AGENT_ID", help="take over the identity of this agent, for a re-imaged device"
    )
    how.add_argument(
        "--anew", action="store_true", help="give up the identity that is here, revoked perhaps, and be a new agent"
    )
    parser.add_argument(
        "--timeout",
        default="",
        metavar="TIME",
        help="how long to wait for approval: 10min, 1h (default: without end)",
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="the agent's folder (default /var/lib/fieldwatch/agent)"
    )
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="configuration (default /etc/fieldwatch/agent.toml)"
    )


def enrol(args: argparse.Namespace) -> int:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it would say in its own form, we say in one line
    from fieldwatch_agent.config import load_config
    from fieldwatch_agent.enrolment.enrol import enrol_at
    from fieldwatch_agent.enrolment.identity import EnrolmentError
    from fieldwatch_agent.spool.file import make_folder
    from fieldwatch_agent.spool.items import SpoolError

    if args.token_file is None and not sys.stdin.isatty():
        raise UsageError("enrol: --token-file FILE is missing: the join token is asked for at a terminal only")
    config = load_config(args.config, {"data": args.data}).value
    timeout_s = _seconds(args.timeout) if args.timeout else None
    try:
        make_folder(config.data_dir)
        identity, news = enrol_at(
            config.data_dir,
            args.token_file or "-",
            args.collector,
            replace=args.replace,
            anew=args.anew,
            timeout_s=timeout_s,
            waiting=_say_waiting,
        )
    except (EnrolmentError, SpoolError) as problem:
        raise Failure(str(problem)) from None
    if news:
        print(f"enrolled as {identity.agent_id}" + (f", site {identity.site}" if identity.site else ""))
    else:
        where = f"already enrolled as {identity.agent_id} at {identity.collector}"
        print(f"{where}; nothing was changed (--anew makes it a new agent)")
    return 0


def _say_waiting(fingerprint: str) -> None:
    print(
        f"waiting for approval; on the collector: fieldwatch-collector agents approve {fingerprint}",
        file=sys.stderr,
        flush=True,
    )


def _seconds(text: str) -> float:
    from fieldwatch_proto.quantities import parse_seconds

    try:
        return parse_seconds(text)
    except ValueError as problem:
        raise UsageError(f"--timeout {text}: {problem}") from None
