"""Row 47: ten minutes of everything at random."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.net import require_namespaces

from system.soak import run

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(1_200)]
MINUTES = float(os.environ.get("FIELDWATCH_SOAK_MINUTES", "10"))


def test_row_47_soak(tmp_path: Path) -> None:
    """sent = stored + declared lost, nothing twice, a fresh record after each fault, no growth; the seed is in the
    output of a failure.
    """
    require_namespaces()
    seed = int.from_bytes(os.urandom(4))
    print(f"seed {seed}")

    outcome = run(tmp_path, minutes=MINUTES, seed=seed)

    print("\n".join(outcome.lines()))
    assert outcome.verdict.holds, outcome.verdict
    assert outcome.grew == []
    assert len(outcome.happened) >= 7  # of nine sorts of faults
