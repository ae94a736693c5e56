"""A network that was away for days, and what comes of the backlog when it is back.

``python -m system.outage --days 7`` by hand; in CI a part of a day. The backlog is what an agent seals in that time at
20 flow records a second, a batch every 5 s, with a batch of facts in between, built at once; the spool's bound is so
small that a part of it is evicted. Then the real agent ships it through a proxy that resets connections now and then.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fieldwatch_agent.spool.control import read_status
from fieldwatch_agent.spool.items import Put
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.rows import ROW_BYTES
from fieldwatch_proto.schema import Kind
from support.capture_files import pcap
from support.proxy import Proxy
from support.shipping import agent_id_of, enrolled, facts, fill, flows, marks, stored_records
from support.stack import Agent, Collector, wait_for

RECORDS_PER_S = 20
SEAL_S = 5
FACTS_EVERY = 20  # batches
BODIES = 256  # different ones
ROOM = 0.75  # of what the batches take is the spool's bound, so that a part is evicted
RESET_EVERY_BYTES = 500_000


@dataclass(frozen=True)
class Verdict:
    """Records where not said otherwise."""

    put: int
    stored: int
    declared: int
    facts_put: int
    facts_stored: int
    resets: int
    seconds: float
    idle_kib: int
    peak_kib: int
    marks: list[tuple[int, str]]

    @property
    def lost(self) -> int:
        return self.put - self.stored - self.declared

    def line(self) -> str:
        return (
            f"records {self.put} stored {self.stored} declared {self.declared} lost {self.lost} resets {self.resets}"
            f" seconds {self.seconds:.1f} idle {self.idle_kib} KiB peak {self.peak_kib} KiB"
        )


def backlog(batches: int) -> Iterator[Put]:
    """What is sealed in `batches` times `SEAL_S`."""
    for number in range(batches):
        if number % FACTS_EVERY == 0:
            yield facts(number)
        yield flows(number % BODIES, RECORDS_PER_S * SEAL_S)


@contextmanager
def running(agent: Agent, address: str, max_bytes: int) -> Iterator[None]:
    """The agent as a process, with nothing to capture and no end."""
    pipe = agent.data.parent / "nothing"
    if not pipe.exists():
        os.mkfifo(pipe)
    agent.environ["FIELDWATCH_AGENT__SPOOL__MAX_BYTES"] = str(max_bytes)
    agent.environ["FIELDWATCH_AGENT__COLLECTOR__RETRY_MAX"] = "200 ms"
    agent.environ["FIELDWATCH_AGENT__COLLECTOR__RETRY_MIN"] = "50 ms"
    agent.spawn("run", "--data", str(agent.data), "--replay", str(pipe), "--collector", address)
    with pipe.open("wb") as feed:
        feed.write(pcap([]))
        feed.flush()
        wait_for(lambda: '"connected' in agent.log.read_text() or not agent.running, "the agent is connected")
        yield
        assert agent.stop() == 0, agent.tail()
    agent.log.unlink()


def is_drained(agent: Agent) -> bool:
    """As `Agent.is_drained`, without a process for each look."""
    status = read_status(agent.data)
    return bool(status["batches"] == 0 and status["gaps"] == 0)


def peak_kib(agent: Agent) -> int:
    """The most resident memory so far (proc_pid_status(5))."""
    assert agent.process is not None
    lines = Path(f"/proc/{agent.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def run(folder: Path, days: float, *, seconds: float = 600.0) -> Verdict:
    """Build the backlog of so many days, let the agent ship it in at most `seconds`."""
    batches = int(days * 86_400 / SEAL_S)
    max_bytes = int(ROOM * batches * (len(flows(0, RECORDS_PER_S * SEAL_S).sealed.body) + ROW_BYTES))
    collector = Collector(folder / "collector")
    collector.start()
    try:
        agent = enrolled(collector, folder / "agent")
        agent_id = agent_id_of(agent)
        with Proxy(collector.ports["grpc"]) as proxy:
            with running(agent, proxy.address, max_bytes):
                idle = peak_kib(agent)
            put = fill(agent.data, backlog(batches), Limits(max_bytes, 0, 1e9))
            facts_put = (batches + FACTS_EVERY - 1) // FACTS_EVERY
            begun = time.monotonic()
            proxy.reset_after(lambda: RESET_EVERY_BYTES)
            with running(agent, proxy.address, max_bytes):
                wait_for(lambda: is_drained(agent), "the backlog is delivered", seconds)
                took, peak = time.monotonic() - begun, peak_kib(agent)
            resets = proxy.resets
        stored = stored_records(collector, agent_id, Kind.FLOW) + stored_records(collector, agent_id, Kind.FACT)
        declared = collector.ask(
            "SELECT coalesce(sum(value), 0) FROM gap, json_each(gap.records) WHERE agent=?", agent_id
        )[0][0]
        facts_stored = stored_records(collector, agent_id, Kind.FACT)
        return Verdict(
            put,
            stored,
            int(declared),
            facts_put,
            facts_stored,
            resets,
            took,
            idle,
            peak,
            marks(collector, agent_id),
        )
    finally:
        collector.kill()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m system.outage")
    parser.add_argument("--days", type=float, default=7.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fieldwatch-outage-") as folder:
        print(run(Path(folder), options.days, seconds=3_600).line())


if __name__ == "__main__":
    main()
