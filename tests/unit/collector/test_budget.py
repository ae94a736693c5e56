"""The bound on octets in flight: in line, and nobody's room is lost."""

from __future__ import annotations

import asyncio

import pytest
from fieldwatch_collector.ingest.budget import Budget


async def begun(budget: Budget, *costs: int) -> list[asyncio.Task[None]]:
    """A `take` for each cost, in this order, each as far as it comes."""
    tasks = [asyncio.create_task(budget.take(cost)) for cost in costs]
    await asyncio.sleep(0)
    return tasks


async def test_first_come_first_served_also_where_a_later_one_would_fit() -> None:
    budget = Budget(10)
    await budget.take(8)
    large, small = await begun(budget, 5, 1)
    assert (False, False) == (large.done(), small.done())

    budget.give(8)
    await asyncio.gather(large, small)
    assert 6 == budget.used


async def test_one_over_the_limit_passes_alone() -> None:
    budget = Budget(10)
    await budget.take(1)
    (huge,) = await begun(budget, 50)
    assert not huge.done()

    budget.give(1)
    await huge
    assert 50 == budget.used


@pytest.mark.parametrize("had_its_turn", [False, True])
async def test_who_gives_up_in_line_takes_nothing(*, had_its_turn: bool) -> None:
    budget = Budget(10)
    await budget.take(10)
    first, second = await begun(budget, 10, 4)
    if had_its_turn:
        budget.give(10)  # the future is set, its task has not run since
    first.cancel()
    await asyncio.wait({first})
    if not had_its_turn:
        budget.give(10)
    await second
    assert 4 == budget.used


async def test_room_waits_its_turn_and_takes_nothing() -> None:
    budget = Budget(10)
    await budget.take(10)
    waiting = asyncio.create_task(budget.room(3))
    (behind,) = await begun(budget, 10)
    assert not waiting.done()

    budget.give(10)
    await waiting
    await behind
    assert 10 == budget.used
