"""The live benchmark counts what it sends and takes."""

from __future__ import annotations

import pytest
from bench.live import Load, run
from support.net import require_namespaces

pytestmark = pytest.mark.live


@pytest.mark.parametrize("workers", [1, 2])
def test_every_frame_sent_is_taken_or_dropped(workers: int) -> None:
    """By the sender's count; at a rate that any machine takes, none is dropped."""
    require_namespaces()

    outcome = run(Load(1, 20_000), workers, 0.3)

    assert (outcome.sent > 1_000, outcome.drops) == (True, 0)
    assert outcome.sent == outcome.received
    assert (outcome.reader_s > 0, outcome.sender_s > 0) == (True, True)
