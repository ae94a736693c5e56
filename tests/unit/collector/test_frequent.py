"""What one agent does again and again is an event now and then, and none of it goes uncounted."""

from __future__ import annotations

from fieldwatch_collector import frequent
from fieldwatch_collector.frequent import AT_ONCE, EVERY_S, Frequent, counted

HERE, THERE = "agent-1", "agent-2"


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_so_many_at_once_then_one_now_and_then() -> None:
    """The next one that is told counts those that were not; another agent and another type have their own."""
    clock = Clock()
    told = Frequent(clock)
    first = [told.due(HERE, "a") for _ in range(AT_ONCE + 30)]
    others = [told.due(THERE, "a"), told.due(HERE, "b")]
    clock.now += EVERY_S
    later = [told.due(HERE, "a"), told.due(HERE, "a")]

    assert [1] * AT_ONCE + [0] * 30 == first
    assert [1, 1] == others
    assert [31, 0] == later
    assert ({"times": 31}, {}) == (counted(31), counted(1))


def test_a_day_of_it_is_bounded() -> None:
    """Once a second, all day long."""
    clock = Clock()
    told = Frequent(clock)
    times = []
    for _ in range(86_400):
        clock.now += 1.0
        times.append(told.due(HERE, "a"))

    assert sum(bool(one) for one in times) <= AT_ONCE + 86_400 / EVERY_S + 1
    assert 86_400 - EVERY_S <= sum(times) <= 86_400


def test_what_is_remembered_is_bounded() -> None:
    """The one that was told longest ago goes."""
    told = Frequent(Clock())
    for number in range(frequent.MAX_KEYS + 5):
        told.due(str(number), "a")

    assert len(told._told) == frequent.MAX_KEYS
