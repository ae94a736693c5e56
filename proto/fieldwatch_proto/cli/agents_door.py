"""How the commands on agents reach a collector: over gRPC (`fieldwatch`), or through its data folder.

Both programs have the same commands; each brings a `Door`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from fieldwatch_proto.cli.command import Arguments, Program, UsageError


class Fleet(Protocol):
    """A collector's agents. Answers are the objects that REST serves; see query.proto."""

    def agent(self, agent: str) -> Mapping[str, Any]: ...

    def run(
        self, name: str, arguments: Mapping[str, Any], *, select: str, timeout_s: int
    ) -> list[Mapping[str, Any]]: ...

    def commands(self, *, agent: str, state: str, limit: int) -> Iterable[Mapping[str, Any]]: ...

    def command(self, command_id: str) -> Mapping[str, Any]: ...

    def cancel(self, command_id: str) -> Mapping[str, Any]: ...

    def file(self, command_id: str) -> Iterator[bytes]: ...

    def tag(self, agent: str, tags: Mapping[str, str | None]) -> Mapping[str, Any]: ...

    def settings(self) -> Iterable[Mapping[str, Any]]: ...

    def configure(
        self, select: str, settings: Mapping[str, Mapping[str, Any]], unset: Sequence[str]
    ) -> Mapping[str, Any]: ...


@dataclass(frozen=True)
class Door:
    """`program` stands in examples; `arguments` adds the flags that name the place."""

    program: str
    open: Callable[[argparse.Namespace], AbstractContextManager[Fleet]]
    arguments: Callable[[argparse.ArgumentParser], object]

    def add(
        self,
        program: Program,
        name: str,
        run: Callable[[Door, argparse.Namespace], int | None],
        summary: str,
        *,
        example: str,
        arguments: Arguments,
        description: str = "",
    ) -> None:
        """A command that goes through this door; each line of `example` is without the program's name."""

        def every(parser: argparse.ArgumentParser) -> None:
            arguments(parser)
            self.arguments(parser)

        lines = "\n".join(f"{self.program} {line.strip()}" for line in example.strip().splitlines())
        program.add(name, partial(run, self), summary, example=lines, description=description, arguments=every)


def add_select(parser: argparse.ArgumentParser) -> None:
    """``--select``. Whatever words follow the first one are the command's own: see `selected`."""
    parser.add_argument(
        "--select",
        nargs="+",
        default=[""],
        metavar="WHICH",
        help="*, an agent (id or name), or terms that must all hold: site=hq,role=edge",
    )


def selected(args: argparse.Namespace, words: Sequence[str]) -> tuple[str, list[str]]:
    """(selector, the command's words). argparse gives a positional list the words of one place only, and people write
    them before and after the flag. Raises UsageError where nobody is selected."""
    if not args.select[0]:
        raise UsageError("which agents? Give --select pi-attic, --select site=hq,role=edge, or --select '*' for all")
    return args.select[0], [*words, *args.select[1:]]
