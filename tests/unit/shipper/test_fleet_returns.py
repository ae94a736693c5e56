"""Row 20 of the failure matrix: the collector restarts, 10,000 agents come back by their pauses and its hints."""

from __future__ import annotations

import heapq
import random
from collections import Counter

import pytest
from fieldwatch_agent.shipper.backoff import Backoff
from fieldwatch_collector.ingest.returning import spread_ms, stop_ms

AGENTS = 10_000
MOST_CONNECTS_A_S = 200
P99_S = 120.0


def returns(agents: int, away_s: float, seed: int, *, told: bool, spread: int) -> list[float]:
    """When each agent is connected again, in seconds after the collector was back; it stops at 0 and is back at
    `away_s`. `told`: it had the time to send them away; else the streams just end.
    """
    dice = random.Random(seed)
    pauses = [Backoff(1.0, 300.0, random.Random(dice.random())) for _ in range(agents)]
    tries: list[tuple[float, int]] = []
    for number, pause in enumerate(pauses):
        pause.spread_s = spread / 1000
        tries.append((stop_ms(spread, dice) / 1000 if told else pause.next(), number))
    heapq.heapify(tries)
    back = []
    while tries:
        moment, number = heapq.heappop(tries)
        if moment >= away_s:
            back.append(moment - away_s)
        else:
            heapq.heappush(tries, (moment + pauses[number].next(), number))
    return back


@pytest.mark.parametrize("told", [True, False], ids=["stopped", "killed"])
@pytest.mark.parametrize("away_s", [0.5, 5.0, 20.0, 60.0])
def test_row_20_ten_thousand_agents_come_back(away_s: float, told: bool) -> None:
    """99 of 100 within two minutes, never more than 200 in any second, whether it said goodbye or was killed."""
    back = returns(AGENTS, away_s, 20, told=told, spread=spread_ms(AGENTS))

    in_a_second = max(Counter(int(moment) for moment in back).values())
    assert len(back) == AGENTS
    assert sorted(back)[AGENTS * 99 // 100] < P99_S
    assert in_a_second <= MOST_CONNECTS_A_S


def test_without_the_hint_they_would_come_at_once() -> None:
    """What the hint is for: by their own pauses alone thousands come within a second of a short restart."""
    back = returns(AGENTS, 5.0, 20, told=False, spread=0)

    assert max(Counter(int(moment) for moment in back).values()) > 5 * MOST_CONNECTS_A_S


def test_a_few_agents_are_back_at_once() -> None:
    """A small fleet does not wait for a large one's sake."""
    assert max(returns(3, 0.5, 20, told=False, spread=spread_ms(3))) < 5.0
    assert max(returns(3, 0.5, 20, told=True, spread=spread_ms(3))) <= 3.0
