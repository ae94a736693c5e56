"""One fuzz case per call: seeded mutations of what our own generators write, judged by invariants.

Every case is a function of (seed, number) alone, so that a failure is repeated by its number:
``python -m fuzz.targets --seed S --only NUMBER``.
"""

from __future__ import annotations

import argparse
import contextlib
import mmap
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path

from fieldwatch_ext.bpf import Program
from fieldwatch_ext.capture import FileSource, MemorySource
from fieldwatch_ext.engine import Engine
from fieldwatch_ext.errors import CaptureError, FilterError
from fieldwatch_proto.columns import DecodeError, open_body, seal
from fieldwatch_proto.records import records_of
from fieldwatch_proto.schema import COLUMNS, WIDTHS, Kind
from support.hostile import run_engine
from support.sample import sample_frames, write_sample

from fuzz.mutation import mutate

LINKTYPES = (1, 1, 1, 1, 0, 12, 101, 105, 108, 113, 119, 127, 163, 192, 276, 9999)


class Cases:
    """The seeds, made once."""

    def __init__(self, folder: Path) -> None:
        self.frames = [octets for _, octets in sample_frames()]
        capture = folder / "seed.pcap"
        write_sample(capture)
        self.capture = capture.read_bytes()[: 24 + 60_000]
        self.scratch = folder / "case"
        self.body = seal(records_of(Kind.FLOW, [_flow_row(number) for number in range(40)]))

    def frame_case(self, dice: random.Random) -> None:
        """A burst of damaged frames of any linktype into a small table."""
        frames = []
        for number in range(64):
            octets = mutate(dice, dice.choice(self.frames))
            frames.append((number * 10**8, octets, len(octets) + dice.choice((0, 0, 0, 1, 1000))))
        engine = Engine(max_flows=64, max_sightings=64, active_ns=dice.choice((0, 10**9)))
        run_engine(MemorySource(frames, linktype=dice.choice(LINKTYPES)), engine)

    def capture_case(self, dice: random.Random) -> None:
        """A damaged capture file: read to its end, or refused with CaptureError."""
        self.scratch.write_bytes(mutate(dice, self.capture[: dice.randrange(24, len(self.capture))]))
        descriptor = os.open(self.scratch, os.O_RDONLY)
        try:
            run_engine(FileSource(descriptor), Engine(max_flows=64, max_sightings=64))
        except CaptureError:
            pass
        finally:
            os.close(descriptor)

    def body_case(self, dice: random.Random) -> None:
        """A damaged sealed body: opened or refused with DecodeError."""
        with contextlib.suppress(DecodeError):
            open_body(Kind.FLOW, self.body.records, self.body.raw_bytes, mutate(dice, self.body.body))

    def filter_case(self, dice: random.Random) -> None:
        """A random BPF program: refused, or run to an answer."""
        codes = (
            0x20,
            0x28,
            0x30,
            0x40,
            0x48,
            0x50,
            0xB1,
            0x15,
            0x25,
            0x35,
            0x45,
            0x05,
            0x06,
            0x16,
            0x04,
            0x34,
            0x94,
            0x60,
        )
        program = [
            (dice.choice(codes), dice.randrange(4), dice.randrange(4), dice.choice((0, 1, 12, 14, 23, 1 << 31)))
            for _ in range(dice.randrange(1, 12))
        ]
        try:
            compiled = Program([*program, (0x06, 0, 0, 1)])
        except FilterError:
            return
        assert compiled.matches(dice.choice(self.frames)) in (True, False)

    def all(self) -> list[Callable[[random.Random], None]]:
        return [self.frame_case, self.capture_case, self.body_case, self.filter_case]


def _flow_row(number: int) -> dict[str, object]:
    row: dict[str, object] = {}
    for column in COLUMNS[Kind.FLOW]:
        if column.type == "str":
            row[column.name] = f"{column.name}-{number % 3}"
        else:
            width = WIDTHS[column.type]
            row[column.name] = number if column.type not in ("mac", "ip") else number.to_bytes(width, "little")
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--only", type=int, help="run this case alone")
    parser.add_argument("--folder", type=Path, required=True)
    options = parser.parse_args()
    cases = Cases(options.folder)
    kinds = cases.all()
    at = options.folder / "at"
    at.write_bytes(bytes(8))
    with at.open("r+b") as stream, mmap.mmap(stream.fileno(), 8) as mark:
        numbers = [options.only] if options.only is not None else range(1 << 62)
        deadline = time.monotonic() + options.seconds
        for number in numbers:
            mark[:] = number.to_bytes(8, "little")  # a MAP_SHARED page: it survives a crash
            kinds[number % len(kinds)](random.Random(f"{options.seed}:{number}"))
            if time.monotonic() > deadline:
                break
    print(f"{number + 1} cases", file=sys.stderr)


if __name__ == "__main__":
    main()
