"""What tests of lists share: a moment to call now, and a walk through all pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

NOW_NS = 1_800_000_000_000_000_000
SECOND_NS = 1_000_000_000
HOUR_NS = 3_600 * SECOND_NS


def walk(ask: Callable[..., dict[str, Any]], limit: int, **arguments: Any) -> list[dict[str, Any]]:
    """Every page of a list, one after the other."""
    found, cursor = [], ""
    while True:
        answer = ask(limit=limit, cursor=cursor, **arguments)
        assert len(answer["results"]) <= limit
        found += answer["results"]
        cursor = answer["next"]
        if not cursor:
            return found
