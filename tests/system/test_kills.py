"""Twenty kills of each, in mid-stream: nothing lost without being declared, nothing stored twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.net import require_namespaces

from system.kills import run

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(600)]


@pytest.mark.parametrize(("seed", "workers"), [(1, 1), (2, 3)])
def test_conservation_over_kills(tmp_path: Path, seed: int, workers: int) -> None:
    """sent = stored + declared lost (+ nothing buffered at the end), by the sender's own count."""
    require_namespaces()

    verdict = run(tmp_path, kills=20, seed=seed, workers=workers)

    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict
    assert verdict.kills == 40
    # Frames pass while the agent is down, longer on a loaded machine; most of the rest must be there.
    assert verdict.stored > verdict.sent // 4
