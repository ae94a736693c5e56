"""Some hundred hostile streams to a running collector, always the same ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from fuzz.ingest import run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(200)]


async def test_hostile_messages_harm_nobody(tmp_path: Path) -> None:
    """The collector lives, another agent is served after each, nothing is stored twice, the log holds no error."""
    assert await run(tmp_path, seed=20_231_114, cases=300) == []
