"""What is handed in to the writer: puts, which a group commits together, and work of others in a transaction."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from fieldwatch_collector.store import Item, PutResult


@dataclass(slots=True)
class Job:
    """Something to do in a transaction. `items` counts towards the group; `alone`: no transaction may be open."""

    work: Callable[[sqlite3.Connection], Any]
    items: int = 1
    alone: bool = False
    done: Future[Any] = field(default_factory=Future)
    cost_bytes = 0

    def begin(self) -> bool:
        """False where nobody waits for it any more."""
        return self.done.set_running_or_notify_cancel()


@dataclass(slots=True)
class Put:
    """Items of one agent. The answer is a future of the event loop that handed it in."""

    agent: str
    batch: Sequence[Item]
    done: asyncio.Future[PutResult]
    items: int
    cost_bytes: int

    def begin(self) -> bool:
        return not self.done.cancelled()


Handed = Job | Put
Settled = tuple[Handed, Any, Exception | None]


def tell(settled: Iterable[Settled]) -> None:
    """Give everybody the result or the exception: the puts of an event loop with one call into it."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[PutResult], Any, Exception | None]]]
    loops = defaultdict(list)
    for handed, result, problem in settled:
        if isinstance(handed, Put):
            loops[handed.done.get_loop()].append((handed.done, result, problem))
        elif problem is not None:
            handed.done.set_exception(problem)
        else:
            handed.done.set_result(result)
    for loop, answers in loops.items():
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            loop.call_soon_threadsafe(_settle, answers)


def _settle(answers: Iterable[tuple[asyncio.Future[PutResult], Any, Exception | None]]) -> None:
    for done, result, problem in answers:
        if done.done():
            continue
        if problem is not None:
            done.set_exception(problem)
        else:
            done.set_result(result)
