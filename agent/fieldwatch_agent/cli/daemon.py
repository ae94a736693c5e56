"""The process of the daemon: `run` ends its preparations by beginning anew as this one.

The command line, its parser and what the preparations read stay behind, and glibc and Python take the settings that
they read at the start of a process. Nothing is imported before `become_lean`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from fieldwatch_agent.lean import ENVIRONMENT, become_lean

if TYPE_CHECKING:
    import argparse

    from fieldwatch_agent.daemon import Daemon

HANDED_OVER = "FIELDWATCH_RUN"


def hand_over(config_file: str | None, flags: dict[str, Any], options: dict[str, Any]) -> NoReturn:
    """The same program with the same command line; what it says is in the environment, as JSON."""
    handed = json.dumps([config_file, flags, options])
    command = [sys.executable, *sys.orig_argv[1:]]
    os.execve(sys.executable, command, {**ENVIRONMENT, **os.environ, HANDED_OVER: handed})  # noqa: S606


def handed_over() -> str | None:
    """What `hand_over` gave this process; None in any other. Children do not get it."""
    return os.environ.pop(HANDED_OVER, None)


def main(handed: str) -> int:
    """The daemon to its end: the exit code."""
    become_lean()
    config_file, flags, options = json.loads(handed)
    try:
        daemon = _daemon(config_file, flags, options)
        code = daemon.run()
        if daemon.again and not daemon.told_to_stop:
            # A signal that comes from here on waits until the process that begins can hear it.
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
            hand_over(config_file, flags, {**options, "clean_flows_days": None})
        return code
    except BaseException as problem:
        return _explain(problem)


def _daemon(config_file: str | None, flags: dict[str, Any], options: dict[str, Any]) -> Daemon:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what it would say in its own form, we say in one line
    from pathlib import Path

    from fieldwatch_agent.control.settings import Settings
    from fieldwatch_agent.daemon import Daemon, Options

    return Daemon(Settings(Path(config_file) if config_file else None, flags), Options(**options))


def _explain(problem: BaseException) -> int:
    """As every command does: one line for whom it concerns, and the exit code."""
    from fieldwatch_ext.errors import CaptureError
    from fieldwatch_proto.cli.command import Program

    from fieldwatch_agent.enrolment.identity import EnrolmentError
    from fieldwatch_agent.spool.items import SpoolError

    def fail(_: argparse.Namespace) -> NoReturn:
        raise problem

    program = Program("fieldwatch-agent", "", failures=(CaptureError, EnrolmentError, SpoolError))
    program.parser.set_defaults(run=fail)
    return program.main([])
