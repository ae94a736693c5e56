"""What the spool costs: records dropped as they are made, sealed, and committed to a disk.

    ./dev bench spool [--frames N] [--repeat N] [--seed N] [--folder DIR]

The traffic is that of `mixture.py`, the file in the page cache, through the agent's own pipeline with default settings
and every dissector, as fast as it goes. Each stage contains the one before it:

- dropped: records are made and nobody seals them.
- sealed: the agent's own sealer, at its default size and age; sealed batches are dropped.
- spooled: the agent's own spool thread commits them with ``synchronous=FULL`` to a file in --folder. The clock stops
  when the last record is on disk. Nobody sends and acks them, so that no row is deleted.

The stages take turns, --repeat times; figures are medians, a ratio is the median of those of each turn. Nothing may be
lost by being faster than the disk, or the stages would not do the same: what a live agent bounds at 8 MiB, and declares
lost beyond, may wait here without a bound. Octets written are what /proc/self/io says went to the disk, in whole pages;
a file system in memory has none.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from fieldwatch_agent.clock import Clock
from fieldwatch_agent.config import AgentConfig
from fieldwatch_agent.pipeline import Pipeline, make_engine
from fieldwatch_agent.sealer import Sealer
from fieldwatch_agent.spool.items import Loss, Put, Status
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_ext.capture import FileSource
from fieldwatch_proto.records import Records

from bench.measuring import cached, machine, table
from bench.mixture import captures_of, write_mix

STAGES = ("dropped", "sealed", "spooled")
UNBOUND = 1 << 40
SYNC_S = 300.0  # for a slow disk to take what waits


class Turn(NamedTuple):
    """One run of a stage. `records` are those that were made, whatever became of them."""

    cpu_s: float
    elapsed_s: float
    frames: int
    records: int
    batches: int
    commits: int
    sealed_octets: int
    written_octets: int


class Sink:
    """Takes records as a stage does, and counts them."""

    def __init__(self, stage: str, folder: Path) -> None:
        settings = AgentConfig().spool
        self.records = self.commits = self.octets = 0
        self._losses: list[Loss] = []
        self._spool = self.sealer = None
        if stage == "spooled":
            limits = Limits(UNBOUND, 0, settings.max_age)
            self._spool = SpoolThread(folder, limits, queue_bytes=UNBOUND, on_change=self._count_commit)
            self._spool.start()
        if stage != "dropped":
            self.sealer = Sealer(
                self._put,
                self._losses.append,
                seal_bytes=settings.seal_bytes,
                seal_age_s=settings.seal_age,
                stamp=Clock(os.urandom(16)).stamp,
                max_bytes=UNBOUND,
            )
            self.sealer.start()

    def take(self, records: Records) -> None:
        self.records += records.count
        if self.sealer is not None:
            self.sealer.add(records)

    def _put(self, put: Put) -> bool:
        self.octets += len(put.sealed.body)
        return self._spool is None or self._spool.put(put)

    def _count_commit(self) -> None:
        self.commits += 1

    def finish(self) -> None:
        """Everything is sealed, and on disk."""
        if self.sealer is not None:
            self.sealer.flush()
        if self._spool is not None and not self._spool.flush(SYNC_S):
            raise SystemExit(f"{self._spool.folder}: not on disk within {SYNC_S:.0f} s; give a faster --folder")

    def close(self) -> None:
        """Raises SystemExit where not every record went the whole way."""
        held: Status | None = None
        if self.sealer is not None:
            self.sealer.stop()
        if self._spool is not None:
            held = self._spool.call(Store.status)
            self._spool.close(clean=True)
        if self.sealer is not None and (self._losses or self.sealer.sealed_records != self.records):
            sealed = self.sealer.sealed_records
            raise SystemExit(f"{sealed:,} of {self.records:,} records were sealed; lost: {self._losses}")
        if held is not None and (held.records != self.records or held.memory_only):
            kept = f"{held.records:,} of {self.records:,} records are in the spool"
            raise SystemExit(f"{kept}; {held.memory_only or 'the others were evicted'}: give a --folder with more room")


def run(stage: str, path: Path, top: Path | None = None) -> Turn:
    """The capture through one stage; making the tables and opening the spool is not in it."""
    with tempfile.TemporaryDirectory(dir=top, prefix="fieldwatch-bench-") as folder, path.open("rb") as stream:
        sink = Sink(stage, Path(folder))
        engine = make_engine(AgentConfig())
        pipeline = Pipeline(engine, "bench", sink.take)
        source = FileSource(stream.fileno(), name=path.name)
        written, cpu_s, elapsed_s = _written(), time.process_time(), time.perf_counter()
        while pipeline.step(source) >= 0:
            pass
        pipeline.finish()
        sink.finish()
        elapsed_s = time.perf_counter() - elapsed_s
        cpu_s = time.process_time() - cpu_s
        written = _written() - written
        sink.close()
        batches = sink.sealer.sealed_batches if sink.sealer else 0
        frames = engine.counters().frames
        return Turn(cpu_s, elapsed_s, frames, sink.records, batches, sink.commits, sink.octets, written)


def _written() -> int:
    """Octets that this process had the kernel send to a disk."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["write_bytes"])


def report(turns: dict[str, list[Turn]]) -> str:
    """A row for each stage: medians, and the median of what a turn takes of its first stage."""
    rows = []
    for stage, taken in turns.items():
        beside = list(zip(taken, turns["dropped"], strict=True))
        cpu = statistics.median(one.cpu_s / bare.cpu_s for one, bare in beside)
        elapsed = statistics.median(one.elapsed_s / bare.elapsed_s for one, bare in beside)
        rows.append(
            (
                stage,
                statistics.median(one.cpu_s / one.frames * 1e9 for one in taken),
                f"{cpu:.2f}",
                f"{statistics.median(one.elapsed_s for one in taken):.2f}",
                f"{elapsed:.2f}",
                round(statistics.median(one.frames / one.elapsed_s for one in taken)),
                round(statistics.median(one.records / one.elapsed_s for one in taken)),
                round(statistics.median(one.batches for one in taken)),
                round(statistics.median(one.commits for one in taken)),
                statistics.median(one.sealed_octets / one.records for one in taken),
                statistics.median(one.written_octets / one.records for one in taken),
            )
        )
    head = ["records are", "ns of CPU a frame", "x dropped", "elapsed, s", "x dropped", "frames/s", "records/s"]
    return table([*head, "batches", "commits", "octets a record, sealed", "written"], rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=3_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the spool stands for the time; the default is for /tmp")
    options = parser.parse_args()
    corpus = os.environ.get("FIELDWATCH_CORPUS")
    print(f"{machine()}\n")
    print(
        f"Made from {'the captures of FIELDWATCH_CORPUS' if corpus else 'the sample capture: no FIELDWATCH_CORPUS'}.\n"
    )
    turns: dict[str, list[Turn]] = {stage: [] for stage in STAGES}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mix.pcap")
        write_mix(path, captures_of(corpus), frames=options.frames, seed=options.seed)
        cached(path)
        for _ in range(options.repeat):
            for stage in STAGES:
                turns[stage].append(run(stage, path, options.folder))
    print(report(turns))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
