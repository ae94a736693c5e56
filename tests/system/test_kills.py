"""A hundred kills of each, in mid-stream: nothing lost without being declared, nothing stored twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.net import require_namespaces

from system.kills import run

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(900)]


@pytest.mark.parametrize(("seed", "workers", "kills"), [(1, 1, 70), (2, 3, 30)])
def test_row_01_kills_at_random(tmp_path: Path, seed: int, workers: int, kills: int) -> None:
    """sent = stored + declared lost (+ nothing buffered at the end), by the sender's own count."""
    require_namespaces()

    verdict = run(tmp_path, kills=kills, seed=seed, workers=workers)

    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict
    assert verdict.kills == 2 * kills
    # Frames pass while the agent is down, longer on a loaded machine; most of the rest must be there.
    assert verdict.stored > verdict.sent // 4
