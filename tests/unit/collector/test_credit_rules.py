"""Credit: what an agent may have in flight follows its rate, the crowd, what waits and how the store does."""

from __future__ import annotations

import pytest
from fieldwatch_collector.config import Limits
from fieldwatch_collector.ingest.budget import Budget
from fieldwatch_collector.ingest.credit import IN_FLIGHT, MESSAGE_BYTES, PAUSE, PUSHING_S, Allowance, Credit

UNLIMITED = Limits(agent_records_per_s=0, agent_bytes_per_s=0)


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class StoreState:
    """What credit looks at of a store."""

    problem = ""
    committing_s = 0.0


class Stream:
    def __init__(self) -> None:
        self.looked = 0

    def look_again(self) -> None:
        self.looked += 1


class Site:
    def __init__(self, limits: Limits = UNLIMITED) -> None:
        self.clock, self.store, self.total = Clock(), StoreState(), Budget(1_000)
        self.credit = Credit(self.store, self.total, limits, self.clock)  # type: ignore[arg-type]
        self.allowance = self.credit.allowance("a")

    def messages(self, *, uses_it_up: bool = False) -> int:
        messages, octets = self.credit.window(self.allowance, uses_it_up=uses_it_up)
        assert octets == messages * MESSAGE_BYTES
        return messages


def test_the_window_grows_for_who_uses_it_up_and_shrinks_with_what_waits() -> None:
    site = Site()
    granted = []
    for waiting in (0, 250, 251, 500, 501, 800, 801, 1_000, 5_000):
        site.total.used = waiting
        granted.append((site.messages(), site.messages(uses_it_up=True)))

    assert [(8, 16), (8, 16), (8, 8), (8, 8), (4, 4), (4, 4), (2, 2), (2, 2), (2, 2)] == granted


def test_a_commit_that_takes_long_leaves_one_message() -> None:
    site = Site()
    site.store.committing_s = 1.5

    assert (1, 1) == (site.messages(), site.messages(uses_it_up=True))


def test_a_store_that_takes_nothing_is_a_pause() -> None:
    site = Site()
    site.store.problem = "the disk is full"

    assert PAUSE == site.credit.window(site.allowance)


@pytest.mark.parametrize(("agents", "share"), [(1, 16), (16, 16), (32, 8), (200, 1), (5_000, 1)])
def test_a_crowd_shares_what_may_be_in_flight(agents: int, share: int) -> None:
    """Never less than one message; quiet agents leave their share to the others after a second."""
    site = Site()
    for _ in range(agents):
        site.credit.pushes(Stream())
    crowded = site.messages(uses_it_up=True)
    site.clock.now += PUSHING_S + 0.1
    site.credit.look()

    assert share == crowded == max(1, min(16, IN_FLIGHT // agents))
    assert 16 == site.messages(uses_it_up=True)


@pytest.mark.parametrize("limits", [Limits(1_000, 0), Limits(0, 1_000)], ids=["records", "octets"])
def test_a_rate_is_kept_on_average_and_a_debt_is_waited_for(limits: Limits) -> None:
    """Two seconds' worth at once after a quiet time, then as much as the rate gives; more than that is owed."""
    clock = Clock()
    allowance = Allowance(limits, clock)
    allowance.take(2_000, 2_000)
    spent = allowance.wait_s()
    allowance.take(500, 500)
    owed = allowance.wait_s()
    clock.now += 0.4
    less = allowance.wait_s()
    clock.now += 1_000
    allowance.take(2_001, 2_001)
    after_a_rest = allowance.wait_s()

    assert (0.0, 0.5) == (spent, owed)
    assert (0.1, 0.001) == (pytest.approx(less), pytest.approx(after_a_rest))


def test_an_overdrawn_agent_pauses_and_goes_on() -> None:
    """Over all its connections: the allowance is the agent's. Another agent is not concerned."""
    site = Site(Limits(1_000, 0))
    site.allowance.take(3_000, 1)
    paused = site.messages()
    other = site.credit.window(site.credit.allowance("b"))
    again = site.credit.allowance("a")
    site.clock.now += 1.0

    assert (0, 8) == (paused, other[0])
    assert again is site.allowance
    assert 8 == site.messages()


def test_streams_look_when_their_window_may_be_another() -> None:
    """Who pushes or pauses at each look; who is quiet only when what holds for all is new."""
    site = Site()
    pushing, paused, quiet = Stream(), Stream(), Stream()
    with site.credit.following(pushing), site.credit.following(paused), site.credit.following(quiet):
        site.credit.look()
        first = [stream.looked for stream in (pushing, paused, quiet)]
        site.credit.pushes(pushing)
        site.credit.told(paused, PAUSE)
        site.credit.look()
        second = [stream.looked for stream in (pushing, paused, quiet)]
        site.credit.told(paused, (8, 8 * MESSAGE_BYTES))
        site.store.problem = "the disk is full"
        site.credit.look()
        third = [stream.looked for stream in (pushing, paused, quiet)]
    site.store.problem = ""
    site.credit.look()

    assert [[1, 1, 1], [2, 2, 1], [3, 3, 2]] == [first, second, third]
    assert [3, 3, 2] == [stream.looked for stream in (pushing, paused, quiet)]  # they have left
