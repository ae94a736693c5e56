"""`bench`: what each stage of the agent costs, in CPU time of this process, on a capture in the page cache."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from fieldwatch_proto.cli.command import Failure, Program

if TYPE_CHECKING:
    from fieldwatch_proto.records import Records

REPETITIONS = 5
READ_BYTES = 1 << 20


def register(program: Program) -> None:
    program.add(
        "bench",
        bench,
        "frames per second of each stage, on captures",
        description=(
            "CPU seconds of the process (not wall clock), the capture in the page cache; the best of the repetitions, "
            "and the median beside it. Stages: read, decode, decode+flows+sightings, dissectors (everything on), "
            "pipeline (to sealed batches), and with --peer the same capture through a loop over dpkt"
        ),
        example="fieldwatch-agent bench --json capture.pcap",
        arguments=_arguments,
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("captures", nargs="+", type=Path, metavar="CAPTURE", help="pcap or pcapng file")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--repeat", type=_positive, default=REPETITIONS, metavar="N", help=f"repetitions (default: {REPETITIONS})"
    )
    parser.add_argument("--peer", action="store_true", help="measure a loop over dpkt beside it (once: it is slow)")


def _positive(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) <= 1_000:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 to 1000")
    return int(text)


def bench(args: argparse.Namespace) -> int:
    from fieldwatch_proto.cli.tables import Column, count_text, json_line, write

    columns = [
        Column("stage"),
        Column("capture"),
        Column("frames", align="right", show=count_text),
        Column("flows", align="right", show=count_text),
        Column("ns_per_frame", "NS/FRAME", align="right"),
        Column("median_ns_per_frame", "MEDIAN", align="right"),
        Column("frames_per_s", "FRAMES/S", align="right", show=count_text),
        Column("cpu_s", "CPU S", align="right"),
        Column("rss_mb", "RSS MB", align="right"),
    ]
    rows = []
    for capture in args.captures:
        _warm(capture)
        for stage, run in _stages(args.peer):
            row = _measure(stage, run, capture, 1 if stage == "dpkt" else args.repeat)
            if args.json:
                sys.stdout.write(json_line(row))
                sys.stdout.flush()
            rows.append(row)
    if not args.json:
        write(rows, columns)
    return 0


Run = Callable[[Path], tuple[int, int]]  # frames, flows


def _stages(peer: bool) -> list[tuple[str, Run]]:
    from fieldwatch_ext.engine import STAGE_ALL, STAGE_DECODE, STAGE_FLOWS, STAGE_READ

    stages: list[tuple[str, Run]] = [
        ("read", lambda capture: _engine_run(capture, STAGE_READ)),
        ("decode", lambda capture: _engine_run(capture, STAGE_DECODE)),
        ("decode+flows+sightings", lambda capture: _engine_run(capture, STAGE_FLOWS)),
        ("dissectors", lambda capture: _engine_run(capture, STAGE_ALL, dissect=True)),
        ("pipeline", lambda capture: _engine_run(capture, STAGE_ALL, dissect=True, seal=True)),
    ]
    return [*stages, ("dpkt", _dpkt_run)] if peer else stages


def _engine_run(capture: Path, stage: int, *, dissect: bool = False, seal: bool = False) -> tuple[int, int]:
    """The capture through the agent's own pipeline with default settings."""
    from fieldwatch_ext.capture import FileSource

    from fieldwatch_agent.config import AgentConfig
    from fieldwatch_agent.pipeline import Pipeline, make_engine

    sealer = _Sealer() if seal else None
    engine = make_engine(AgentConfig(), stage=stage)
    pipeline = Pipeline(engine, "bench", sealer.take if sealer else _drop, dissect=dissect)
    fd = os.open(capture, os.O_RDONLY | os.O_CLOEXEC)
    try:
        source = FileSource(fd, name=str(capture))
        while pipeline.step(source) >= 0:
            pass
        pipeline.finish()
        source.close()
    finally:
        os.close(fd)
    if sealer is not None:
        sealer.finish()
    counters = engine.counters()
    return counters.frames, counters.flows_exported


def _drop(records: Records) -> None:
    """Records that this stage does not go on with."""


class _Sealer:
    """Seals batches of one kind at about the size at which the agent does."""

    RECORDS = 2_000  # 48 KiB at 24 octets a record

    def __init__(self) -> None:
        self._waiting: dict[int, list[Records]] = {}

    def take(self, records: Records) -> None:
        waiting = self._waiting.setdefault(int(records.kind), [])
        waiting.append(records)
        if sum(part.count for part in waiting) >= self.RECORDS:
            self._seal(waiting)

    def finish(self) -> None:
        for waiting in self._waiting.values():
            if waiting:
                self._seal(waiting)

    def _seal(self, waiting: list[Records]) -> None:
        from fieldwatch_proto.columns import seal
        from fieldwatch_proto.records import concat

        seal(concat(waiting))
        waiting.clear()


def _dpkt_run(capture: Path) -> tuple[int, int]:
    """What a plain loop over dpkt does for the same end: addresses, ports and octets of each flow."""
    import dpkt

    flows: dict[tuple[Any, ...], list[int]] = {}
    frames = 0
    with capture.open("rb") as stream:
        try:
            reader = dpkt.pcap.UniversalReader(stream)
        except ValueError as problem:
            raise Failure(f"{capture}: dpkt cannot read it: {problem}") from None
        for ts, octets in reader:
            frames += 1
            try:
                ip = dpkt.ethernet.Ethernet(octets).data
                if not isinstance(ip, dpkt.ip.IP | dpkt.ip6.IP6):
                    continue
                ports = (getattr(ip.data, "sport", 0), getattr(ip.data, "dport", 0))
                key = (min((ip.src, ports[0]), (ip.dst, ports[1])), max((ip.src, ports[0]), (ip.dst, ports[1])), ip.p)
            except (dpkt.Error, AttributeError):
                continue
            seen = flows.get(key)
            if seen is None:
                flows[key] = [1, len(octets), ts]
            else:
                seen[0] += 1
                seen[1] += len(octets)
                seen[2] = ts
    return frames, len(flows)


def _measure(stage: str, run: Run, capture: Path, repetitions: int) -> dict[str, Any]:
    frames = flows = 0
    spent: list[float] = []
    for _ in range(repetitions):
        start_s = time.process_time()
        frames, flows = run(capture)
        spent.append(time.process_time() - start_s)
    best_s = max(min(spent), 1e-9)
    if not frames:
        raise Failure(f"{capture}: holds no frames, so there is nothing to measure")
    return {
        "stage": stage,
        "capture": capture.name,
        "frames": frames,
        "flows": flows,
        "ns_per_frame": round(best_s * 1e9 / frames, 1),
        "frames_per_s": round(frames / best_s),
        "cpu_s": round(best_s, 6),
        "rss_mb": _rss_mb(),
        "median_ns_per_frame": round(median(spent) * 1e9 / frames, 1),
        "repetitions": repetitions,
    }


def _rss_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def _warm(capture: Path) -> None:
    with capture.open("rb", buffering=0) as stream:
        while stream.read(READ_BYTES):
            pass
