"""Real captures cut off anywhere: what stands before the cut is told as in the whole file, and the cut in one line.

Each capture is cut at the ends of its records, one octet before and one behind them, and at 200 seeded places: all of
the core set, and a seeded sample of the rest. The cuts go through source and engine, and some of them through `read`.
"""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from fieldwatch_agent.cli.main import main
from fieldwatch_ext.capture import FileSource, Frame, MemorySource, Source
from fieldwatch_ext.engine import Engine, Slow
from fieldwatch_ext.errors import CaptureError
from support.capture_files import ENHANCED_PACKET, OBSOLETE_PACKET, PCAP_MODIFIED, SECTION, SIMPLE_PACKET
from support.capture_reading import drain
from support.read_promise import broken_promise

CORPUS = os.environ.get("FIELDWATCH_CORPUS")
SEED = 3
SEEDED_PLACES = 200
MOST_ENDS = 400  # of one file, seeded: the work for a file grows with the square of them
WIDE_FILES = 100
LARGEST_WIDE = 1 << 20  # octets
READ_PLACES = 3  # of a file, through `read`
COMMANDS = 12

FRAME_BLOCKS = (OBSOLETE_PACKET, SIMPLE_PACKET, ENHANCED_PACKET)
PCAP_HEADER_LEN = 24


def captures(folder: str) -> list[Path]:
    return sorted(path for path in Path(CORPUS, folder).rglob("*.pcap*") if path.is_file()) if CORPUS else []


CORE = captures("core")
SMALL = [path for path in captures("wide") if path.stat().st_size <= LARGEST_WIDE]
WIDE = sorted(random.Random(SEED).sample(SMALL, min(WIDE_FILES, len(SMALL))))

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.skipif(not CORE, reason="external captures: set FIELDWATCH_CORPUS"),
]


def record_ends(octets: bytes) -> list[tuple[int, int]]:
    """(where a record or block ends, frames up to there), as far as the file makes sense."""
    return list(_block_ends(octets) if octets[:4] == SECTION.to_bytes(4, "big") else _pcap_ends(octets))


def _pcap_ends(octets: bytes) -> Iterator[tuple[int, int]]:
    order = "<" if octets[0] in (0xD4, 0x4D, 0x34) else ">"
    magic = struct.unpack_from(order + "I", octets)[0]
    at, frames = PCAP_HEADER_LEN, 0
    while at <= len(octets):
        yield at, frames
        if len(octets) - at < 16:
            return
        at += (24 if magic == PCAP_MODIFIED else 16) + struct.unpack_from(order + "I", octets, at + 8)[0]
        frames += 1


def _block_ends(octets: bytes) -> Iterator[tuple[int, int]]:
    order, at, frames = "<", 0, 0
    while len(octets) - at >= 12:
        if octets[at : at + 4] == SECTION.to_bytes(4, "big"):
            order = "<" if octets[at + 8] == 0x4D else ">"
        kind, length = struct.unpack_from(order + "II", octets, at)
        at += max(length, 12)
        if at > len(octets):
            return
        frames += kind in FRAME_BLOCKS
        yield at, frames


class Told(NamedTuple):
    """Everything that an engine hands out of some frames, its records in no particular order."""

    counted: dict[str, Any]
    flows: list[tuple[bytes, ...]]
    sightings: list[tuple[bytes, ...]]
    slow: list[Slow]
    tunnels: list[str]


def tell(*sources: Source) -> Told:
    engine = Engine(seed=SEED, max_flows=4_096, max_sightings=4_096)
    flows: list[tuple[bytes, ...]] = []
    slow: list[Slow] = []
    for source in sources:
        while engine.process(source) >= 0:
            slow += engine.take_slow()
            flows += _rows(*engine.take_flows())
    while engine.flush():
        flows += _rows(*engine.take_flows())
    slow += engine.take_slow()
    return Told(
        engine.counters()._asdict(),
        sorted(flows),
        sorted(_rows(*engine.take_sightings())),
        sorted(slow),
        engine.tunnels,
    )


def _rows(count: int, columns: dict[str, bytes]) -> Iterator[tuple[bytes, ...]]:
    slices = []
    for data in columns.values():
        width = len(data) // max(count, 1)
        slices.append([data[at : at + width] for at in range(0, len(data), width)] if count else [])
    return zip(*slices, strict=True)


class Cuts:
    """One capture, in pieces that start with it; each of them stands in a file that is nowhere on disk."""

    def __init__(self, path: Path) -> None:
        self.octets = path.read_bytes()
        self.chance = random.Random(path.name)
        self.ends = record_ends(self.octets)
        with path.open("rb") as stream, FileSource(stream.fileno()) as source:
            self.frames: list[Frame] = drain(source)
        self.makes_sense = bool(self.ends) and self.ends[-1] == (len(self.octets), len(self.frames))
        self._expected: dict[int, Told] = {}  # the last one asked for
        self._file = os.memfd_create("capture")
        with open(self._file, "wb", closefd=False) as file:
            file.write(self.octets)

    def close(self) -> None:
        os.close(self._file)

    def places(self) -> list[int]:
        """Where it is cut, from the end to the start."""
        ends = [end for end, _ in self.ends]
        if len(ends) > MOST_ENDS:
            ends = self.chance.sample(ends, MOST_ENDS)
        near = {end + step for end in ends for step in (-1, 0, 1)}
        seeded = {self.chance.randrange(len(self.octets)) for _ in range(SEEDED_PLACES)}
        return sorted((place for place in near | seeded if 0 <= place <= len(self.octets)), reverse=True)

    def frames_before(self, place: int) -> int:
        return max((frames for end, frames in self.ends if end <= place), default=0)

    def wrong(self, place: int) -> str:
        """Why the first octets of the file, so many, are not told as they should be; empty when they are."""
        os.ftruncate(self._file, place)
        os.lseek(self._file, 0, os.SEEK_SET)
        try:
            with FileSource(self._file, name="cut") as source:
                told = tell(source)
        except CaptureError as problem:
            return "" if place < self.ends[0][0] and "\n" not in str(problem) else f"cut at {place}: {problem}"
        count = self.frames_before(place) if self.makes_sense else source.frames
        if self.makes_sense and source.complete != any(end == place for end, _ in self.ends):
            return f"cut at {place}: complete = {source.complete}, {source.problem}"
        return "" if told == self._expect(count) else f"cut at {place}: not what the first {count} frames tell"

    def _expect(self, count: int) -> Told:
        if count not in self._expected:
            groups = groupby(self.frames[:count], key=lambda frame: frame.linktype)
            sources = [
                MemorySource([(frame.ts_ns, frame.octets, frame.original) for frame in group], linktype=linktype)
                for linktype, group in groups
            ]
            self._expected = {count: tell(*sources)}  # places come in order: the ones before are done with
        return self._expected[count]


def test_there_are_captures() -> None:
    """The corpus is the one that was meant; the walk through records finds the frames that the project finds."""
    senseless = []
    for path in CORE:
        cuts = Cuts(path)
        senseless += [] if cuts.makes_sense else [path.name]
        cuts.close()

    assert (len(CORE) > 20, len(WIDE), senseless) == (True, WIDE_FILES, [])


@pytest.mark.parametrize("path", CORE + WIDE, ids=lambda path: path.stem)
def test_what_stands_before_the_cut_is_told_as_in_the_whole_file(path: Path) -> None:
    """Records, counters, payloads for dissectors; complete only where a record ends; refused only within a header."""
    try:
        cuts = Cuts(path)
    except CaptureError:
        pytest.skip("no capture")
    wrong = [problem for problem in map(cuts.wrong, cuts.places()) if problem]
    cuts.close()

    assert wrong == []


def cut_files(paths: list[Path], places: int, folder: Path) -> Iterator[Path]:
    """Seeded beginnings of captures, as files."""
    for path in paths:
        octets = path.read_bytes()
        chance = random.Random(path.name)
        for _ in range(places):
            cut = folder / f"{path.stem}.{chance.randrange(len(octets))}"
            cut.write_bytes(octets[: int(cut.suffix[1:])])
            yield cut


def test_a_cut_capture_is_read_as_promised(tmp_path: Path) -> None:
    """Exit 0 with frames == decoded + rejected and the cut in one line, or exit 1 with one line; nothing raised."""
    broken = []
    for path in cut_files(CORE + WIDE, READ_PLACES, tmp_path):
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            code = main(["read", "--json", str(path)])
        problem = broken_promise(out.getvalue(), err.getvalue(), code)
        broken += [(path.name, problem)] if problem else []

    assert broken == []


def test_the_command_itself(tmp_path: Path) -> None:
    """The same holds for whole processes."""
    broken = []
    for path in cut_files(WIDE[:COMMANDS], 1, tmp_path):
        command = [sys.executable, "-m", "fieldwatch_agent.cli.main", "read", "--json", str(path)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        problem = broken_promise(result.stdout, result.stderr, result.returncode)
        broken += [(path.name, problem)] if problem else []

    assert broken == []
