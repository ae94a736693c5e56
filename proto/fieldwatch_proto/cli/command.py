"""The base of every Fieldwatch program: sub-commands, help, exit codes.

A module of commands has a light top (argparse and this module only) and a function ``register``; what is
heavy is imported inside the function that does the work, so that ``--help`` answers at once::

    # agent/fieldwatch_agent/cli/spool.py
    def register(program: Program) -> None:
        program.group("spool", "the local queue of batches that wait for their ack")
        program.add(
            "spool status", status, "how much waits, and since when",
            example="fieldwatch-agent spool status", arguments=_arguments,
        )

    def _arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--data", type=Path, metavar="DIR", help="the data folder")

    def status(args: argparse.Namespace) -> int | None:      # None is 0
        from fieldwatch_agent.spool import ...

The program's ``main`` lists the modules::

    def main(argv: Sequence[str] | None = None) -> int:
        program = Program("fieldwatch-agent", "…", failures=(CaptureError,))
        program.register("fieldwatch_agent.cli", ["read", "run", "spool"])
        return program.main(argv)

==================================================  ===========  =========================================
what the function does                              exit code    standard error
==================================================  ===========  =========================================
returns a number, or None                           it, or 0
raises `Failure`, one of `failures`, or OSError     1            one line
raises `UsageError` or `ConfigError`                2            one line a problem
is interrupted (Ctrl-C)                             130
writes to a pipe that nobody reads any more         0
==================================================  ===========  =========================================

Anything else is a defect of ours and shows its traceback (exit code 1).
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import errno
import importlib
import io
import os
import pwd
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any, NoReturn

from fieldwatch_proto.logs import printable
from fieldwatch_proto.settings import ConfigError, UsageError
from fieldwatch_proto.version import VERSION

__all__ = ["ConfigError", "Failure", "Program", "UsageError", "explain"]

HELP_COLUMNS = 78
EXAMPLES = 3

Run = Callable[[argparse.Namespace], int | None]
Arguments = Callable[[argparse.ArgumentParser], object]


class Failure(Exception):  # noqa: N818 - the word that users of this module read
    """The work failed: one line that says what, and how to mend it; exit code 1."""


class _Parser(argparse.ArgumentParser):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs["allow_abbrev"] = False
        super().__init__(*args, **kwargs)

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {printable(message)} (see {self.prog} --help)\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        # argparse offers no public place for the message of an unknown sub-command.
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            names = list(action.choices)
            near = difflib.get_close_matches(str(value), names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else f"commands: {', '.join(names)}"
            raise argparse.ArgumentError(None, f"unknown command {value!r}; {hint}")
        super()._check_value(action, value)


class Program:
    """A program made of sub-commands. `failures`: further exceptions that end in one line and exit code 1."""

    def __init__(self, name: str, description: str, *, failures: Iterable[type[Exception]] = ()) -> None:
        self.name = name
        self._failures: tuple[type[Exception], ...] = (Failure, *failures)
        self.parser = _Parser(prog=name, description=description)
        self.parser.add_argument("--version", action="version", version=f"{name} {VERSION}")
        self._commands = self.parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
        self._groups: dict[str, argparse._SubParsersAction[argparse.ArgumentParser]] = {}
        self._group_parsers: dict[str, argparse.ArgumentParser] = {}
        self._shown: dict[argparse.ArgumentParser, list[str]] = {}
        self.parser.set_defaults(run=self._help_of(self.parser))

    def register(self, package: str, modules: Iterable[str]) -> None:
        """Import each module of `package` and let its ``register`` add the commands, in this order."""
        for module in modules:
            importlib.import_module(f"{package}.{module}").register(self)

    def group(self, name: str, summary: str) -> None:
        """A command that only holds others: "spool" for "spool status"; "agents config" in a group made before."""
        above, _, last = name.rpartition(" ")
        commands = self._groups[above] if above else self._commands
        parser = commands.add_parser(last, help=summary, description=_sentence(summary))
        parser.set_defaults(run=self._help_of(parser))
        self._group_parsers[name] = parser
        self._groups[name] = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)

    def add(
        self,
        name: str,
        run: Run,
        summary: str,
        *,
        example: str,
        description: str = "",
        arguments: Arguments | None = None,
    ) -> None:
        """A command: "read", or "spool status" in a group made before. Each one shows an example.

        Group and program show the first example of each of their first `EXAMPLES` commands.
        """
        group, _, last = name.rpartition(" ")
        lines = [line.strip() for line in example.strip().splitlines()]
        for above in (self.parser, *([self._group_parsers[group]] if group else [])):
            shown = self._shown.setdefault(above, [])
            if len(shown) < EXAMPLES:
                shown.append(lines[0])
                above.epilog = _examples(shown)
        parser = (self._groups[group] if group else self._commands).add_parser(
            last,
            help=summary,
            description=fill(_sentence(description or summary), HELP_COLUMNS),
            epilog=_examples(lines),
        )
        if arguments is not None:
            arguments(parser)
        parser.set_defaults(run=run, parser_of_command=parser)

    def _help_of(self, parser: argparse.ArgumentParser) -> Run:
        def show(args: argparse.Namespace) -> int:
            parser.print_help(sys.stderr)
            return 2

        return show

    def main(self, argv: Sequence[str] | None = None) -> int:
        """Run the command of `argv` (by default the process's own) and give the exit code."""
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # a name that the locale cannot write is no error
        try:
            args, strange = self.parser.parse_known_args(argv)
            if strange:
                _refuse(getattr(args, "parser_of_command", self.parser), strange)
            code = args.run(args) or 0
            sys.stdout.flush()
            return int(code)
        except SystemExit as leave:  # argparse: help, version, wrong usage
            return leave.code if isinstance(leave.code, int) else 0
        except ConfigError as problem:
            for line in problem.problems:
                self._say(line)
            return 2
        except UsageError as problem:
            self._say(str(problem))
            return 2
        except KeyboardInterrupt:
            return 130
        except BrokenPipeError:
            # Whoever read us has seen enough (`| head`). What is still buffered must not raise again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except self._failures as problem:
            self._say(str(problem))
            return 1
        except OSError as problem:
            if problem.strerror is None:
                raise
            self._say(explain(problem))
            return 1

    def _say(self, text: str) -> None:
        print(f"{self.name}: {printable(' '.join(text.split()))}", file=sys.stderr)


def _examples(lines: Sequence[str]) -> str:
    return "\n  ".join([f"example{'s' if len(lines) > 1 else ''}:", *lines])


def _refuse(parser: argparse.ArgumentParser, strange: list[str]) -> NoReturn:
    """The command's own parser says it, and names the flag that was probably meant."""
    flags = [name for action in parser._actions for name in action.option_strings if name.startswith("--")]
    near = difflib.get_close_matches(strange[0].partition("=")[0], flags, n=1, cutoff=0.6)
    parser.error(f"unrecognized arguments: {' '.join(strange)}" + (f"; did you mean {near[0]}?" if near else ""))


def explain(problem: OSError) -> str:
    """The file, the system's word for what is wrong, and what mends it where that is plain."""
    names = [str(name) for name in (problem.filename, problem.filename2) if name is not None]
    remedy = _remedy(problem)
    return ": ".join([*names, str(problem.strerror)]) + (f"; {remedy}" if remedy else "")


def _remedy(problem: OSError) -> str:
    """What mends an error of the system, where that is plain."""
    if problem.errno == errno.ENOSPC:
        return "free some space and try again"
    if problem.errno == errno.EROFS:
        return "the file system is mounted read-only; choose a place that can be written"
    if problem.errno not in (errno.EACCES, errno.EPERM) or not isinstance(problem.filename, str | os.PathLike):
        return ""
    path = Path(problem.filename).absolute()
    for place in (path, *path.parents):  # the nearest one that may be looked at
        with contextlib.suppress(OSError):
            uid = place.stat().st_uid
            try:
                owner = pwd.getpwuid(uid).pw_name
            except KeyError:
                owner = f"#{uid}"
            return f"{'it' if place == path else place} belongs to {owner}: run this with sudo -u {owner}"
    return ""


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if text.endswith(".") else ".")
