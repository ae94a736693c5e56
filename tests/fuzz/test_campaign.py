"""A minute of hostile input against the instrumented kernel and the decoders."""

from __future__ import annotations

import pytest

from fuzz.campaign import build, campaign

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def test_a_minute_finds_nothing() -> None:
    """No read out of bounds, no undefined behaviour, no exception, no frame unaccounted for."""
    build()

    assert campaign(60, seed=20_231_114) == []
