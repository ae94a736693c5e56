"""Row 17 of the failure matrix over real TCP on a real bad link: ``python -m system.bad_link``, as root, by hand.

A daemon in one namespace, a collector in the other, between them packets that are lost, late and squeezed. It ends with
one line; the exit code is 1 unless every record that was put is stored once.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from fieldwatch_proto.schema import Kind
from support.capture_files import pcap
from support.lossy import lossy
from support.shipping import agent_id_of, fill, flows, marks, stored_records
from support.stack import Agent, Collector, wait_for


def run(
    folder: Path, *, batches: int, records: int, loss: float, round_trip_s: float, bytes_per_s: float, seed: int
) -> str:
    with lossy(loss=loss, round_trip_s=round_trip_s, bytes_per_s=bytes_per_s, seed=seed) as (link, carrier):
        collector = Collector(folder / "collector", link.run_in(link.far))
        collector.spawn(
            "serve", "--data", str(collector.data), f"--grpc={link.far_ip}:0",
            "--public-grpc=127.0.0.1:0", "--http=127.0.0.1:0",
        )  # fmt: skip
        ports = collector.data / "ports.json"
        wait_for(ports.exists, "the collector listens", 30)
        collector.ports = json.loads(ports.read_text())
        agent = Agent(folder / "agent", link.run_in(link.far))
        agent.enrol(collector)
        put = fill(agent.data, (flows(number, records) for number in range(batches)))
        agent.prefix = link.run_in(link.near)
        pipe = folder / "nothing"
        os.mkfifo(pipe)
        begun = time.monotonic()
        address = f"{link.far_ip}:{collector.ports['grpc']}"
        agent.spawn("run", "--data", str(agent.data), "--replay", str(pipe), "--collector", address)
        try:
            with pipe.open("wb") as feed:
                feed.write(pcap([]))
                feed.flush()
                wait_for(lambda: bool(marks(collector, agent_id_of(agent))), "the first batch is stored", 600)
                first = time.monotonic() - begun
                wait_for(
                    lambda: stored_records(collector, agent_id_of(agent), Kind.FLOW) >= put, "all is stored", 3_000
                )
                took = time.monotonic() - begun
            connects = agent.log.read_text().count('"connected to the collector"')
        finally:
            agent.kill()
            collector.kill()
        stored = stored_records(collector, agent_id_of(agent), Kind.FLOW)
        octets = collector.ask("SELECT sum(length(body)) FROM batch")[0][0]
        line = (
            f"records {put} stored {stored} lost {put - stored} octets {octets} first {first:.0f} s all {took:.0f} s"
            f" connections {connects} packets {carrier.carried} lost {carrier.lost}"
        )
        print(line)
        return line if stored != put else ""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m system.bad_link")
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--records", type=int, default=200, help="of a batch")
    parser.add_argument("--loss", type=float, default=0.3)
    parser.add_argument("--round-trip", type=float, default=2.0, help="seconds")
    parser.add_argument("--rate", type=float, default=64_000, help="bits a second")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fieldwatch-bad-link-") as folder:
        sys.exit(
            run(
                Path(folder),
                batches=options.batches,
                records=options.records,
                loss=options.loss,
                round_trip_s=options.round_trip,
                bytes_per_s=options.rate / 8,
                seed=options.seed,
            )
        )


if __name__ == "__main__":
    main()
