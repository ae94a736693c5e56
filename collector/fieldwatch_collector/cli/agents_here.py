"""The fleet of a data folder on this machine, through the server where one runs, for the commands on agents."""

from __future__ import annotations

import argparse
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from fieldwatch_collector.cli.common import call

PIECE_BYTES = 256 << 10
PAGE = 1_000


@contextlib.contextmanager
def local_fleet(args: argparse.Namespace) -> Iterator[LocalFleet]:
    yield LocalFleet(args)


class LocalFleet:
    """`fieldwatch_proto.cli.agents_door.Fleet` by operations; they raise AdminError."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args

    def agent(self, agent: str) -> dict[str, Any]:
        return self._one("agents.show", agent=agent)

    def run(self, name: str, arguments: Mapping[str, Any], *, select: str, timeout_s: int) -> list[Mapping[str, Any]]:
        return [*self._list("agents.run", name=name, arguments=dict(arguments), select=select, timeout_s=timeout_s)]

    def commands(self, *, agent: str, state: str, limit: int) -> Iterator[dict[str, Any]]:
        cursor, left = "", limit
        while True:
            page = min(left, PAGE) if limit else PAGE
            found = self._one("agents.commands", agent=agent, state=state, limit=page, cursor=cursor)
            yield from found["results"]
            cursor, left = found["next"], left - len(found["results"])
            if not cursor or (limit and left <= 0):
                return

    def command(self, command_id: str) -> dict[str, Any]:
        return self._one("agents.command", id=command_id)

    def cancel(self, command_id: str) -> dict[str, Any]:
        return self._one("agents.cancel", id=command_id)

    def file(self, command_id: str) -> Iterator[bytes]:
        with Path(self._one("agents.file", id=command_id)["path"]).open("rb") as stream:
            while piece := stream.read(PIECE_BYTES):
                yield piece

    def tag(self, agent: str, tags: Mapping[str, str | None]) -> dict[str, Any]:
        return self._one("agents.tag", agent=agent, tags=dict(tags))

    def settings(self) -> list[dict[str, Any]]:
        return self._list("agents.config.list")

    def configure(self, select: str, settings: Mapping[str, Mapping[str, Any]], unset: Sequence[str]) -> dict[str, Any]:
        return self._one("agents.config.set", select=select, settings=dict(settings), unset=list(unset))

    def _one(self, operation: str, **arguments: Any) -> dict[str, Any]:
        found: dict[str, Any] = call(self._args, operation, **arguments)
        return found

    def _list(self, operation: str, **arguments: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = call(self._args, operation, **arguments)
        return found
