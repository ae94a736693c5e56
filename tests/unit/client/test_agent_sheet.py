"""What `agents show` says of an agent in words."""

from __future__ import annotations

import pytest
from fieldwatch_proto.cli.agents_show import clock_text


@pytest.mark.parametrize(
    ("clock", "offset_ns", "text"),
    [
        ("", 0, "not known"),
        ("", 3_000_000_000, "3 s behind the collector's"),
        ("synced", 400_000, "kept by a time service, as the collector's"),
        ("unsynced", 0, "kept by no time service"),
        ("unsynced", -250_000_000, "kept by no time service, 250 ms ahead of the collector's"),
        ("corrected", 7_200_000_000_000, "wrong, its times are corrected here, 2 h behind the collector's"),
    ],
)
def test_a_clock_is_told_with_who_keeps_it_and_how_far_off_it_is(clock: str, offset_ns: int, text: str) -> None:
    assert clock_text(clock, offset_ns) == text
