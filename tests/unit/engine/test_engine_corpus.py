"""The engine agrees with its twin on every external capture, hostile ones included."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_ext.capture import FileSource, Frame
from fieldwatch_ext.engine import Engine
from fieldwatch_ext.errors import CaptureError
from support.engine_compare import assert_agree, drain
from support.twin import Twin

CORPUS = os.environ.get("FIELDWATCH_CORPUS")
FOLDERS = ("core", "wide/ndpi", "wide/suricata-verify", "wide/tcpdump", "wide/zeek")
LARGEST = 8 << 20  # octets; the twin needs about 20 us a frame

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CORPUS is None, reason="FIELDWATCH_CORPUS names no folder of captures"),
]


def frames_of(path: Path) -> Iterator[Frame]:
    with path.open("rb") as stream:
        source = FileSource(stream.fileno())
        while (block := source.read_block()) is not None:
            yield from block


def compare(path: Path) -> bool:
    """Whether the file is a capture; agreement is asserted."""
    try:
        with path.open("rb") as stream:
            result = drain(Engine(max_flows=1 << 18, max_sightings=1 << 18), FileSource(stream.fileno()))
    except CaptureError:
        return False
    twin = Twin()
    newest, ordered = -(1 << 63), True
    for frame in frames_of(path):
        ordered = ordered and frame.ts_ns >= newest
        newest = max(newest, frame.ts_ns)
        twin.frame(frame.ts_ns, frame.octets, frame.original, frame.linktype)
    assert_agree(result, twin, ordered=ordered)
    return True


@pytest.mark.parametrize("folder", FOLDERS)
def test_engine_equals_twin_on_captures(folder: str) -> None:
    """Verdicts, layers, flow records and sightings are those of the plain-Python twin, file by file."""
    assert CORPUS is not None
    paths = [path for path in sorted(Path(CORPUS, folder).iterdir()) if path.stat().st_size <= LARGEST]
    different = []
    captures = 0
    for path in paths:
        try:
            captures += compare(path)
        except AssertionError as problem:
            different.append(f"{path.name}: {str(problem)[:2000]}")

    assert different == []
    assert captures > 0
