"""A minute and a half of hostile input against instrumented kernels and the decoders."""

from __future__ import annotations

import pytest

from fuzz import guided
from fuzz.campaign import build, campaign

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_seeded_mutations_find_nothing() -> None:
    """No read out of bounds, no undefined behaviour, no exception, no frame unaccounted for."""
    build()

    assert campaign(20, seed=20_231_114) == []


@pytest.mark.skipif(not guided.is_available(), reason="atheris has no wheel for this machine")
def test_a_minute_of_coverage_guided_fuzzing_finds_nothing() -> None:
    """The same, and no input that takes seconds or gigabytes."""
    guided.build()

    assert guided.fuzz(60, seed=20_231_114) == []
