"""What live capture costs on a wire of this machine's own, and whether the ring loses frames.

    ./dev bench live [--seconds S] [--repeat N]      as root: it makes two namespaces with a veth pair between them

On one end senders of frames of 60 octets (10,000 conversations; sendmmsg, past the queueing discipline, each kept to a
core); on the other the agent's own sources, engines and dissectors in a process of their own, default ring, records
dropped. A sender pays for what the kernel does with its frames, up to the ring: what it costs more than without a
listener is the kernel's part of the capture. Reader and kernel are shown as the share of a core that 0.5 million frames
a second take, by CPU time.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from support.net import Wire, wire

from bench.measuring import machine, table

TESTS = Path(__file__).resolve().parents[1]
UNIT = 500_000  # frames a second
WORKERS = (1, 2)


class Load(NamedTuple):
    """How many senders, and the frames a second of each; 0 = as fast as it can."""

    senders: int
    rate: int


class Outcome(NamedTuple):
    """Of one run."""

    sent: int
    sent_per_s: float
    received: int
    drops: int
    freezes: int
    reader_s: float  # CPU seconds a frame
    sender_s: float


class _End:
    """A process of `live_ends.py`."""

    def __init__(self, stack: ExitStack, over: Wire, namespace: str, *arguments: str) -> None:
        command = over.run_in(namespace, sys.executable, "-m", "bench.live_ends", *arguments)
        self._process = stack.enter_context(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TESTS)
        )
        stack.callback(self._process.kill)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        if self._out.readline() != "ready\n":
            sys.exit(f"bench live: {arguments[0]} did not start")

    def go_on(self) -> None:
        self._in.write("\n")
        self._in.flush()

    def told(self) -> dict[str, Any]:
        outcome: dict[str, Any] = json.loads(self._out.readline())
        return outcome


def run(load: Load, workers: int, seconds: float) -> Outcome:
    """With no worker: nobody listens."""
    with wire() as over, ExitStack() as stack:
        taker = _End(stack, over, over.near, "take", over.interface, f"--workers={workers}") if workers else None
        options = (f"--rate={load.rate}", f"--seconds={seconds}")
        senders = [
            _End(stack, over, over.far, "send", over.interface, f"--cpu={number}", *options)
            for number in range(load.senders)
        ]
        for end in [taker, *senders] if taker else senders:
            end.go_on()
        sent = [sender.told() for sender in senders]
        frames = sum(one["frames"] for one in sent)
        taken: dict[str, Any] = {"frames": 0, "drops": 0, "freezes": 0, "cpu_s": 0.0}
        if taker:
            taker.go_on()
            taken = taker.told()
    return Outcome(
        frames,
        sum(one["frames"] / one["seconds"] for one in sent),
        taken["frames"],
        taken["drops"],
        taken["freezes"],
        taken["cpu_s"] / frames,
        sum(one["cpu_s"] for one in sent) / frames,
    )


def _row(load: Load, workers: int, outcomes: list[Outcome], alone_s: float) -> tuple[object, ...]:
    reader = statistics.median(outcome.reader_s for outcome in outcomes) * UNIT * 100
    kernel = (statistics.median(outcome.sender_s for outcome in outcomes) - alone_s) * UNIT * 100
    return (
        f"{load.senders}, {f'{load.rate:,} a second' if load.rate else 'as fast as can be'}",
        workers,
        round(statistics.median(outcome.sent_per_s for outcome in outcomes)),
        sum(outcome.sent for outcome in outcomes),
        sum(outcome.received for outcome in outcomes),
        sum(outcome.drops for outcome in outcomes),
        sum(outcome.freezes for outcome in outcomes),
        reader,
        kernel,
        reader + kernel,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("ip") is None:
        print("bench live: needs root for network namespaces, and iproute2", file=sys.stderr)
        return 2
    print(f"{machine()}\n")
    rows = []
    for load in (Load(1, UNIT), Load(1, 0), Load(os.cpu_count() or 1, 0)):
        alone = [run(load, 0, arguments.seconds).sender_s for _ in range(arguments.repeat)]
        for workers in WORKERS:
            outcomes = [run(load, workers, arguments.seconds) for _ in range(arguments.repeat)]
            rows.append(_row(load, workers, outcomes, statistics.median(alone)))
    head = ["senders", "workers", "frames sent/s", "sent", "received", "drops", "freezes"]
    print(table([*head, "reader, % of a core", "kernel, %", "together, %"], rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
