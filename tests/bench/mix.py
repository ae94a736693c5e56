"""What a frame of real traffic costs, up to every dissector.

    ./dev bench mix [--frames N] [--repeat N] [--seed N]

CPU seconds of the process through the agent's own pipeline with default settings, the file in the page cache, records
made and dropped, the flows that still stand at the end among them. The traffic is that of `mixture.py`: the Ethernet
captures of $FIELDWATCH_CORPUS, or without it the sample capture that the code generates.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from fieldwatch_agent.config import AgentConfig
from fieldwatch_agent.dissectors import dissect
from fieldwatch_agent.pipeline import Pipeline, make_engine
from fieldwatch_ext.capture import FileSource
from fieldwatch_ext.engine import STAGE_ALL, STAGE_DECODE, STAGE_FLOWS, Counters, Slow
from fieldwatch_proto.records import Records

from bench.measuring import cached, machine, measure, table
from bench.mixture import captures_of, write_mix

STAGES = {
    "decode": (STAGE_DECODE, False),
    "decode+flows+sightings": (STAGE_FLOWS, False),
    "everything, the dissectors' ring unread": (STAGE_ALL, False),
    "dissectors": (STAGE_ALL, True),
}
SAMPLE_MESSAGES = 20_000  # of each protocol, for what a message costs


def _drop(records: Records) -> None:
    """Records that nobody seals."""


def run(path: Path, stage: int, dissects: bool) -> tuple[float, Counters]:
    """CPU seconds and what was counted; making the tables is not in it."""
    engine = make_engine(AgentConfig(), stage=stage)
    pipeline = Pipeline(engine, "bench", _drop, dissect=dissects)
    with path.open("rb") as stream:
        source = FileSource(stream.fileno(), name=path.name)
        start_s = time.process_time()
        while pipeline.step(source) >= 0:
            pass
        pipeline.finish()
        return time.process_time() - start_s, engine.counters()


def dissector_rows(path: Path) -> list[tuple[object, ...]]:
    """What each dissector costs on the first messages of its protocol, the dearest in this traffic first."""
    engine = make_engine(AgentConfig())
    messages: dict[str, list[Slow]] = {}
    counts: dict[str, int] = {}
    with path.open("rb") as stream:
        source = FileSource(stream.fileno(), name=path.name)
        while engine.process(source) >= 0:
            for frame in engine.take_slow():
                counts[frame.protocol] = counts.get(frame.protocol, 0) + 1
                kept = messages.setdefault(frame.protocol, [])
                if len(kept) < SAMPLE_MESSAGES:
                    kept.append(frame)
            engine.take_flows()
            engine.take_sightings()
    frames = engine.counters().frames
    costs = []
    for protocol, kept in messages.items():
        start_s = time.process_time()
        for frame in kept:
            dissect(frame)
        costs.append(((time.process_time() - start_s) / len(kept) * 1e6, protocol))
    costs.sort(key=lambda cost: -cost[0] * counts[cost[1]])
    return [(name, counts[name], micros, micros * 1e3 * counts[name] / frames) for micros, name in costs]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=3_000_000)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    corpus = os.environ.get("FIELDWATCH_CORPUS")
    print(f"{machine()}\n")
    print(
        f"Made from {'the captures of FIELDWATCH_CORPUS' if corpus else 'the sample capture: no FIELDWATCH_CORPUS'}.\n"
    )
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mix.pcap")
        write_mix(path, captures_of(corpus), frames=arguments.frames, seed=arguments.seed)
        cached(path)
        for name, (stage, dissects) in STAGES.items():
            counted: list[Counters] = []

            def once(
                stage: int = stage, dissects: bool = dissects, counted: list[Counters] = counted
            ) -> tuple[float, int]:
                seconds, counters = run(path, stage, dissects)
                counted.append(counters)
                return seconds, counters.frames

            cost = measure(once, arguments.repeat)
            of = counted[-1]
            row = (name, cost.median, cost.best, round(cost.frames_per_s))
            rows.append((*row, of.flows_exported, of.slow_frames, of.slow_silent, of.slow_repeated, of.slow_limited))
        spared = ["tell nothing", "said again", "refused"]
        head = ["stage", "ns a frame, median", "best", "frames/s", "flows", "messages", *spared]
        print(table(head, rows))
        print("\nWhat one message of a protocol costs, and its share in a frame of the mix:\n")
        print(table(["dissector", "messages", "us a message", "ns a frame"], dissector_rows(path)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
