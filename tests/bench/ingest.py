"""How many records a collector takes in and makes durable, and how long an agent waits for its ack.

    ./dev bench ingest [--agents N] [--seconds S] [--repeat N] [--records N] [--folder DIR]

The server is a process of its own, and so is the load: agents over mutual TLS that keep to the credit they are granted
and send flow records of a made-up site (`site_flows.py`), sealed as an agent seals them. Both share the machine. Acks
come after a commit with ``synchronous=FULL`` to a SQLite file in --folder.

- envelope only: the same server without a store. It decrypts, takes the message apart, holds it to the limits, compares
  the digest over the body, and answers at once; nothing is written, and the body stays shut.
- decode only: the same, and every body is opened, down to its columns. Ingest itself never does: the batch log keeps
  bodies as they came, and projections open them later. It is what a collector without a batch log would begin with.
- store: the batch log alone. projections: a collector as it is shipped, tables derived beside.

The modes take turns, --repeat times; figures are medians. CPU time is that of the server and of the load, user and
system, for each batch.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fieldwatch_proto.schema import COLUMNS, Kind

from bench.ingest_server import MODES
from bench.measuring import machine, table
from bench.site_flows import flow_batches

CROWD = 200  # agents at once
RECORDS = 1_600  # a batch: about the 48 KiB at which an agent seals
TESTS = Path(__file__).resolve().parents[1]
AIM_RECORDS_S, AIM_SHARE, AIM_HALF_MS, AIM_CROWD_MS = 750_000, 0.9, 100, 250


class BenchServer:
    """A server in one of the modes, with agents enrolled."""

    def __init__(self, folder: Path, agents: int, mode: str) -> None:
        self.data = folder / "data"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.ingest_server", str(self.data), str(agents), mode],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(folder / "log").open("w"),
            text=True,
            cwd=TESTS,
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit((folder / "log").read_text()[-4_000:])
        self.port: int = json.loads(line)["grpc"]

    def push(self, agents: int, seconds: float, records: int, rate: float = 0.0) -> dict[str, Any]:
        """Figures of the load (see `pushers.Figures`), with `server_cpu_s` beside them."""
        before = self._cpu_s()
        arguments = [f"--agents={agents}", f"--seconds={seconds}", f"--records={records}", f"--rate={rate}"]
        command = [sys.executable, "-m", "bench.pushers", str(self.data / "identities.json"), str(self.port)]
        done = subprocess.run([*command, *arguments], cwd=TESTS, stdout=subprocess.PIPE, text=True, check=True)
        figures: dict[str, Any] = json.loads(done.stdout)
        figures["server_cpu_s"] = self._cpu_s() - before
        return figures

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self) -> float:
        """Resident memory at its highest."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1_024 / 1e6 for line in lines if line.startswith("VmHWM"))


@contextlib.contextmanager
def serving(top: Path | None, agents: int, mode: str) -> Iterator[BenchServer]:
    """On a folder of its own, which goes away with it."""
    with tempfile.TemporaryDirectory(dir=top, prefix="fieldwatch-bench-") as folder:
        server = BenchServer(Path(folder), agents, mode)
        try:
            yield server
        finally:
            assert server.process.stdin is not None
            server.process.stdin.close()
            server.process.wait(60)


def median(runs: Sequence[dict[str, Any]], name: str) -> float:
    return statistics.median(run[name] for run in runs)


def rate(run: dict[str, Any], name: str) -> float:
    return float(run[name] / run["seconds"])


def measure(options: argparse.Namespace, mode: str) -> dict[str, Any]:
    """One turn of a mode: as fast as it goes, and at half of that speed."""
    with serving(options.folder, options.agents, mode) as server:
        full = server.push(options.agents, options.seconds, options.records)
        half = server.push(options.agents, options.seconds, options.records, rate(full, "batches") / 2)
        return {**_told(full), "half_p50_ms": half["p50_ms"], "half_p99_ms": half["p99_ms"], "mb": server.peak_mb()}


def _told(run: dict[str, Any]) -> dict[str, Any]:
    sent = run["all_batches"]
    per_s = {f"{name}_s": rate(run, name) for name in ("batches", "records", "octets")}
    cpu = {"server_us": run["server_cpu_s"] / sent * 1e6, "load_us": run["cpu_s"] / sent * 1e6}
    return {**run, **per_s, **cpu}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--records", type=int, default=RECORDS, help="of each batch")
    parser.add_argument("--folder", type=Path, help="where the databases stand for the time; the default is for /tmp")
    options = parser.parse_args()
    print(f"{machine()}; {os.statvfs(options.folder or tempfile.gettempdir()).f_bsize} octets a block\n")
    sealed = flow_batches(8, options.records)
    octets = sum(len(batch.body) for batch in sealed) / 8
    print(
        f"A batch holds {options.records:,} flow records of {len(COLUMNS[Kind.FLOW])} columns in {octets:,.0f} octets:"
        f" {octets / options.records:.1f} octets a record on the wire.\n"
    )
    return report(options)


def report(options: argparse.Namespace) -> int:
    runs: dict[str, list[dict[str, Any]]] = {mode: [] for mode in MODES}
    for _ in range(options.repeat):
        for mode in MODES:
            runs[mode].append(measure(options, mode))
    without = {mode: median(runs[mode], "records_s") for mode in ("envelope", "decode")}
    names = {
        "envelope": "envelope only",
        "decode": "decode only",
        "store": "store",
        "projections": "store and projections",
    }
    rows = []
    for mode, measured in runs.items():
        told = {name: median(measured, name) for name, value in measured[0].items() if not isinstance(value, list)}
        shares = [f"{told['records_s'] / rate_:.2f}" for rate_ in without.values()]
        rows.append(
            (
                names[mode],
                round(told["records_s"]),
                *shares,
                round(told["octets_s"] / 1e6),
                told["server_us"],
                told["load_us"],
                told["p50_ms"],
                told["p99_ms"],
                told["half_p50_ms"],
                told["half_p99_ms"],
                told["mb"],
            )
        )
    head = [
        f"{options.agents} agents",
        "records/s",
        "of envelope only",
        "of decode only",
        "MB/s",
        "server, us of CPU a batch",
        "load",
    ]
    head += ["ack p50, ms", "p99", "p50 at half the load", "p99", "resident, MB"]
    print(table(head, rows))
    with serving(options.folder, CROWD, "store") as server:
        crowd = [_told(server.push(CROWD, options.seconds, options.records)) for _ in range(options.repeat)]
    least = min(run["window_least"] for run in crowd)
    print(
        f"\n{CROWD} agents at once: {median(crowd, 'records_s'):,.0f} records/s, ack p50"
        f" {median(crowd, 'p50_ms'):.0f} ms, p99 {median(crowd, 'p99_ms'):.0f} ms; the least credit: {least} messages."
    )
    stored = [median(runs[mode], "records_s") for mode in ("store", "projections")]
    halves = [median(runs[mode], "half_p99_ms") for mode in ("store", "projections")]
    met = {
        f"{AIM_RECORDS_S:,} records/s": min(stored) >= AIM_RECORDS_S,
        f"{AIM_SHARE} of decode only": stored[0] >= AIM_SHARE * without["decode"],
        f"{AIM_SHARE} of envelope only": stored[0] >= AIM_SHARE * without["envelope"],
        f"ack p99 at half the load at most {AIM_HALF_MS} ms": max(halves) <= AIM_HALF_MS,
        f"ack p99 of {CROWD} agents below {AIM_CROWD_MS} ms": median(crowd, "p99_ms") < AIM_CROWD_MS,
    }
    print("\nAims: " + "; ".join(f"{aim}: {'met' if held else 'not met'}" for aim, held in met.items()) + ".")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
