"""Columns of places become columns of texts: which places are in use, and where each row finds its own among them."""

from __future__ import annotations

from array import array

from fieldwatch_ext.text import used_places
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.integers(0, 65_535), max_size=300))
def test_rows_find_their_places(places: list[int]) -> None:
    """The places rise, each once, and every row names its own."""
    used, indices = used_places(array("H", places).tobytes())

    assert sorted(set(places)) == used
    assert places == [used[index] for index in array("I", indices)]


def test_all_places_at_once() -> None:
    """As many distinct places as 16 bits can name."""
    used, indices = used_places(array("H", reversed(range(1 << 16))).tobytes())

    assert list(range(1 << 16)) == used
    assert array("I", reversed(range(1 << 16))).tobytes() == indices
