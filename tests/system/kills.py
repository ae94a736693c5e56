"""Kill -9 of agent and collector in mid-stream, judged by the sender's own count.

``python -m system.kills --kills N`` kills each of the two N times. The last line of output is
``kills K records R lost L duplicated D``; the exit code is 1 unless L and D are 0.

The equation, in frames: sent = stored + declared lost + still buffered. Stored is what the collector's flow records and
its metric of frames outside flows hold; the run ends with the spool empty, so nothing is buffered. The sender pauses
while the agent starts, because a frame that passes in that instant is seen by the interface's counter and the ring in
no fixed order; it does not pause while anything is killed.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from fieldwatch_proto.schema import METRIC_FRAMES_OUTSIDE_FLOWS
from support.net import Wire, wire
from support.sender import ARP_EVERY, FRAMES_A_FLOW, flow_of
from support.stack import Site

RATE = 3000  # frames a second
# A ring lasts as many times 20 ms as it has blocks, however few frames come: the default one 0.6 s, this one 5 s. What
# is lost while the agent waits for a core would be declared, and few of the tests are about that.
RING = {"FIELDWATCH_AGENT__CAPTURE__RING_BYTES": "32 MiB"}
QUICK = {
    **RING,
    "FIELDWATCH_AGENT__SPOOL__SEAL_AGE": "200 ms",
    "FIELDWATCH_AGENT__SPOOL__SEAL_BYTES": "4 KiB",
    "FIELDWATCH_AGENT__FLOWS__IDLE": "1 s",
    "FIELDWATCH_AGENT__FLOWS__ACTIVE": "1 s",
    "FIELDWATCH_AGENT__COLLECTOR__RETRY_MIN": "50 ms",
    "FIELDWATCH_AGENT__COLLECTOR__RETRY_MAX": "500 ms",
}


@dataclass(frozen=True)
class Verdict:
    """What a run came to, in frames where not said otherwise."""

    kills: int
    sent: int
    stored: int
    declared: int
    records: int
    duplicated: int

    @property
    def lost(self) -> int:
        """Frames that are neither stored nor declared; negative when more was declared than was lost."""
        return self.sent - self.stored - self.declared

    def line(self) -> str:
        return f"kills {self.kills} records {self.records} lost {self.lost} duplicated {self.duplicated}"

    @property
    def holds(self) -> bool:
        return self.lost == 0 and self.duplicated == 0


class Sender:
    """The counted sender on the far end of the wire."""

    def __init__(self, over: Wire, rate: int) -> None:
        self.process = subprocess.Popen(
            over.run_in(over.far, sys.executable, "-m", "support.sender", over.interface, "--rate", str(rate)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[1],
        )
        self.sent = 0

    def say(self, word: str) -> int:
        """Tell it to go, pause or stop; the number of frames it has sent by then."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        self.sent = int(json.loads(self.process.stdout.readline())["sent"])
        return self.sent

    def close(self) -> None:
        self.process.kill()
        self.process.wait(10)


class TargetSite(Site):
    """A site whose wire is fed by the counted sender."""

    def __init__(self, folder: Path, over: Wire, environ: Mapping[str, str], rate: int) -> None:
        super().__init__(folder, over, dict(environ))
        self.sender = Sender(over, rate)

    def finish(self) -> None:
        """Everything that was sent is at the collector, or declared; both have stopped as they should."""
        self.sender.say("pause")
        self.drain()

    def verdict(self, kills: int) -> Verdict:
        ask = self.collector.ask
        in_flows = ask("SELECT coalesce(sum(packets + reply_packets), 0) FROM flow")[0][0]
        outside = ask("SELECT coalesce(sum(total), 0) FROM metric WHERE name = ?", METRIC_FRAMES_OUTSIDE_FLOWS)[0][0]
        declared = ask("SELECT coalesce(sum(frames), 0) FROM gap")[0][0]
        records = ask("SELECT coalesce(sum(records), 0) FROM batch")[0][0]
        # No flow can hold more frames than were sent of it: numbers n with n // FRAMES_A_FLOW = flow, ARP excepted.
        surplus = 0
        flows = "SELECT src, src_port, sum(packets) FROM flow WHERE dst_port = 9 GROUP BY src, src_port"
        for source, port, frames in ask(flows):
            flow = flow_of(source, port)
            numbers = range(flow * FRAMES_A_FLOW, (flow + 1) * FRAMES_A_FLOW)
            surplus += max(0, frames - sum(1 for n in numbers if n % ARP_EVERY and n < self.sender.sent))
        twice = ask("SELECT coalesce(sum(n - 1), 0) FROM (SELECT count(*) n FROM batch GROUP BY agent, digest)")[0][0]
        return Verdict(kills, self.sender.sent, int(in_flows + outside), declared, records, surplus + twice)

    def close(self) -> None:
        self.sender.close()
        super().close()


@contextmanager
def target_site(
    folder: Path, environ: Mapping[str, str] = MappingProxyType(QUICK), rate: int = RATE
) -> Iterator[TargetSite]:
    """A site that captures, on a wire of its own; nothing is sent yet."""
    with wire() as over:
        made = TargetSite(folder, over, environ, rate)
        try:
            made.start()
            yield made
        finally:
            made.close()


def strike(made: TargetSite, victim: str, dice: random.Random) -> None:
    """Let it run for a random while, kill one of the two while frames flow, and start it again."""
    made.sender.say("go")
    time.sleep(dice.uniform(0.1, 2.0))  # the moment of the kill is the random input, nothing is awaited
    if victim == "collector":
        made.collector.kill()
        time.sleep(dice.uniform(0.0, 0.2))
        made.collector.start()
        return
    made.agent.kill()
    time.sleep(dice.uniform(0.0, 0.1))  # frames pass while nobody listens
    made.sender.say("pause")
    made.start_agent()


def run(folder: Path, *, kills: int, seed: int = 0, workers: int = 1) -> Verdict:
    """`kills` kills of each; the verdict."""
    dice = random.Random(seed)
    with target_site(folder, {**QUICK, "FIELDWATCH_AGENT__CAPTURE__WORKERS": str(workers)}) as made:
        plan = ["agent", "collector"] * kills
        dice.shuffle(plan)
        for victim in plan:
            strike(made, victim, dice)
        made.finish()
        return made.verdict(len(plan))


def main() -> None:
    parser = argparse.ArgumentParser(prog="./dev kills")
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--workers", type=int, default=1, help="capture threads of the agent")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="work in DIR, a new folder, and leave it when the run fails"
    )
    options = parser.parse_args()
    print(f"seed {options.seed}", file=sys.stderr)
    folder = options.keep or Path(tempfile.mkdtemp(prefix="fieldwatch-kills-"))
    folder.mkdir(parents=True, exist_ok=True)
    holds = False
    try:
        verdict = run(folder, kills=options.kills, seed=options.seed, workers=options.workers)
        holds = verdict.holds
    finally:
        if holds or options.keep is None:
            shutil.rmtree(folder)
        else:
            print(f"databases and logs are in {folder}", file=sys.stderr)
    print(f"frames sent {verdict.sent} stored {verdict.stored} declared lost {verdict.declared}")
    print(verdict.line())
    sys.exit(0 if holds else 1)


if __name__ == "__main__":
    main()
