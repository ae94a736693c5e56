"""Sets of numbers as ranges, against Python's own sets."""

from __future__ import annotations

import itertools

from fieldwatch_agent.spool.numbers import Numbers
from hypothesis import given
from hypothesis import strategies as st

MOST = 40
spans = st.tuples(st.integers(1, MOST), st.integers(0, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@given(st.lists(spans, max_size=20), spans)
def test_numbers_are_a_set(ranges: list[tuple[int, int]], asked: tuple[int, int]) -> None:
    """Whatever is added in whatever order; its ranges neither overlap nor touch."""
    numbers = Numbers(ranges)
    model = {number for low, high in ranges for number in range(low, high + 1)}

    found = numbers.ranges()

    assert {number for low, high in found for number in range(low, high + 1)} == model
    assert all(high + 1 < low for (_, high), (low, _) in itertools.pairwise(found))
    assert numbers.covers(*asked) == model.issuperset(range(asked[0], asked[1] + 1))
    assert numbers.following(asked[0]) == min(set(range(asked[0] + 1, 2 * MOST)) - model)
    missing = {number for low, high in numbers.holes(*asked) for number in range(low, high + 1)}
    assert missing == set(range(asked[0], asked[1] + 1)) - model
    assert len(numbers) == len(model)
    assert Numbers(found).ranges() == found
