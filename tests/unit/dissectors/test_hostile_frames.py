"""Frames cut at every octet, with flipped bits, with lengths at their edges: from the wire to the facts nothing raises.

Whether kernel and twin agree on such frames is for `test_engine_agreement`; here they pass the dissectors as well.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from fieldwatch_ext.capture import MemorySource
from fieldwatch_ext.engine import Engine
from support.conversions import captured
from support.hostile import at_the_edges, flipped, judge, on_the_wire, prefixes
from support.sample import sample_frames
from support.traffic import ETHERNET_FRAMES, OTHER_LINKS
from test_dissect import GOLDEN

CORPUS = os.environ.get("FIELDWATCH_CORPUS")
CAPTURES = sorted(Path(CORPUS, "core").glob("*.pcap")) if CORPUS else []
HEADERS = 128  # octets in which a length field is looked for
FLIPPED_FRAMES = 10_000
SPOKEN = [on_the_wire(message) for message in GOLDEN]
MADE = [*SPOKEN, *(frame for frames in ETHERNET_FRAMES.values() for frame in frames)]

external = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not CAPTURES, reason="external captures: set FIELDWATCH_CORPUS"),
]


def judge_all(frames: Iterable[tuple[bytes, int]], *, linktype: int = 1) -> int:
    """Judge frames by the thousand; how many there were."""
    count = 0
    portion: list[tuple[bytes, int]] = []
    for frame in frames:
        portion.append(frame)
        if len(portion) == 10_000:
            count += judge(portion, linktype=linktype).frames
            portion.clear()
    return count + judge(portion, linktype=linktype).frames


def core_frames() -> Iterator[bytes]:
    for path in CAPTURES:
        yield from (octets for _, octets, _ in captured(path)[1])


def repeated(frames: list[bytes], count: int) -> Iterator[bytes]:
    for number in range(count):
        yield frames[number % len(frames)]


def test_golden_messages_come_out_as_they_went_in() -> None:
    """Else what follows would damage frames that never reach their dissectors."""
    engine = Engine()
    engine.process(MemorySource([(1, frame) for frame in SPOKEN]))
    engine.flush()

    assert {slow.protocol for slow in engine.take_slow()} == {message.protocol for message in GOLDEN}


def test_every_prefix_of_what_we_make() -> None:
    expected = sum(2 * (len(frame) + 1) for frame in MADE)

    assert judge_all(prefix for frame in MADE for prefix in prefixes(frame)) == expected


@pytest.mark.parametrize("linktype", OTHER_LINKS)
def test_every_prefix_on_other_links(linktype: int) -> None:
    frames = OTHER_LINKS[linktype]
    expected = sum(2 * (len(frame) + 1) for frame in frames)

    assert judge_all((p for frame in frames for p in prefixes(frame)), linktype=linktype) == expected


def test_flipped_bits_in_what_we_make() -> None:
    """One bit in each of ten thousand frames."""
    dice = random.Random(5)
    frames = [*MADE, *(octets for _, octets in sample_frames())]

    assert judge_all(f for frame in repeated(frames, FLIPPED_FRAMES) for f in flipped(frame, dice, 1)) == FLIPPED_FRAMES


def test_lengths_at_their_edges_in_what_we_make() -> None:
    """Any two neighbouring octets may be a length: each pair is set to 0, 1 and 65,535."""
    expected = sum(3 * (len(frame) - 1) for frame in MADE)

    assert judge_all(f for frame in MADE for f in at_the_edges(frame, range(len(frame) - 1))) == expected


class TestCoreSet:
    """The same on real frames."""

    pytestmark = external

    def test_every_prefix(self) -> None:
        expected = sum(2 * (len(frame) + 1) for frame in core_frames())

        assert judge_all(prefix for frame in core_frames() for prefix in prefixes(frame)) == expected

    def test_flipped_bits(self) -> None:
        """One bit in each of ten thousand frames: some frames come twice, with different bits."""
        dice = random.Random(6)
        frames = list(core_frames())

        assert judge_all(f for frame in repeated(frames, FLIPPED_FRAMES) for f in flipped(frame, dice, 1)) == (
            FLIPPED_FRAMES
        )

    def test_lengths_at_their_edges(self) -> None:
        """Every pair of octets in the headers."""
        expected = sum(3 * len(_places(frame)) for frame in core_frames())

        assert judge_all(f for frame in core_frames() for f in at_the_edges(frame, _places(frame))) == expected


def _places(frame: bytes) -> range:
    return range(min(len(frame), HEADERS) - 1)
