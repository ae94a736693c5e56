"""A disk whose syncs and writes fail, an agent that is killed: nothing is stored twice, and each frame is told of once.

What a failed sync has written may be there after a kill, and may not. The processes, the disk and the kills are real;
the collector is a model that holds numbers as the real one does.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from support.disk import WatchedDisk
from support.model_collector import ranges_of
from support.spooling import body, put

PROGRAM = Path(__file__).with_name("failing_spool.py")


class Collector:
    """What is held under which number, and what a gap says less what had come of its range."""

    def __init__(self) -> None:
        self.held: dict[int, set[int]] = {}
        self.batches: dict[tuple[int, int], tuple[str, int, int]] = {}
        self.gaps: dict[tuple[int, int, int], tuple[int, int]] = {}

    def receive(self, kind: str, epoch: int, low: int, high: int, octets: str, frames: int, records: int) -> None:
        held, span = self.held.setdefault(epoch, set()), set(range(low, high + 1))
        if kind == "batch":
            if low not in held:
                self.batches[epoch, low] = (octets, frames, records)
            elif (epoch, low) in self.batches:
                assert self.batches[epoch, low][0] == octets, "a number with other octets"
        elif not span <= held:
            for key in [key for key in self.gaps if key[0] == epoch and low <= key[1] and key[2] <= high]:
                del self.gaps[key]
            for number in span & held:
                if (epoch, number) in self.batches:
                    frames -= self.batches[epoch, number][1]
                    records -= self.batches[epoch, number][2]
            self.gaps[epoch, low, high] = (frames, records)
        held |= span

    def totals(self) -> tuple[int, int]:
        """Frames and records, stored or declared."""
        told = [(frames, records) for _, frames, records in self.batches.values()] + list(self.gaps.values())
        return sum(frames for frames, _ in told), sum(records for _, records in told)


class Site:
    """The agent's process, its disk, the collector, and what was taken from the wire."""

    def __init__(self) -> None:
        self.scratch = Path(tempfile.mkdtemp(prefix="fieldwatch-failing-"))
        self.folder = self.scratch / "data"
        self.folder.mkdir()
        self.disk = WatchedDisk(self.folder, self.scratch, logs=False)
        self.collector = Collector()
        self.frames = self.records = self.number = 0
        self.place = [0, 0]
        self.start()

    def start(self) -> None:
        python_path = os.pathsep.join([str(PROGRAM.parents[2]), *sys.path])
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **self.disk.environ, "PYTHONPATH": python_path},
        )
        self.place = [0, 0]
        self._answer()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return json.loads(line) if line else "gone"

    def say(self, command: str, *arguments: object) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([command, *arguments]) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def seal(self) -> None:
        self.number += 1
        self.frames += put(self.number).frames
        self.records += put(self.number).sealed.records
        self.say("seal", self.number)

    def lose(self, frames: int) -> None:
        self.frames += frames
        self.records += 1
        self.say("lose", frames)

    def drop(self, frames: int) -> None:
        self.frames += frames
        self.say("drop", frames)

    def lose_and_die(self, frames: int) -> None:
        self.frames += 2 * frames
        self.records += 1
        if self.say("lose_and_die", frames) != "gone":  # the commit failed
            self.process.kill()
        self._end()

    def send(self, items: int, arrive: int) -> int:
        found = self.say("lease", *self.place, items)
        for count, (ordinal, seq, *item) in enumerate(found):
            if count < arrive:
                self.collector.receive(*item)
            self.place = [ordinal, seq]
        return len(found)

    def ack(self) -> None:
        for epoch, held in self.collector.held.items():
            runs = ranges_of(held)
            upto = runs[0][1] if runs[0][0] == 1 else 0
            self.say("ack", epoch, upto, [run for run in runs if run[0] > upto + 1])

    def fail(self, what: str) -> None:
        setattr(self.disk.faults, f"{what}_errno", errno.EIO)

    def heal(self) -> None:
        self.disk.faults.sync_errno = self.disk.faults.write_errno = 0

    def kill(self) -> None:
        self.process.kill()
        self._end()

    def _end(self) -> None:
        self.process.wait(30)
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.heal()

    def check(self) -> None:
        """Killed, begun anew on a disk that is well, and sent to the end: all of it is there once, or declared."""
        if self.process.returncode is None:
            self.kill()
        self.start()
        for _ in range(3):
            self.say("turn", True)
            while self.send(50, 50):
                pass
            self.ack()
            self.place = [0, 0]
        bodies = [octets for octets, _, _ in self.collector.batches.values()]
        assert len(bodies) == len(set(bodies)), "stored twice"
        assert set(bodies) <= {body(number).hex() for number in range(1, self.number + 1)}
        assert self.collector.totals() == (self.frames, self.records)

    def close(self) -> None:
        if self.process.returncode is None:
            self.kill()
        shutil.rmtree(self.scratch)


@pytest.fixture
def site() -> Any:
    made = Site()
    yield made
    made.close()


def saving(site: Site) -> None:
    """In saver mode, with a batch that the collector has not acked."""
    site.say("saver")
    site.say("turn", False)
    site.seal()
    assert site.say("memory").startswith("saver mode")


def test_a_loss_whose_sync_failed_is_declared_once(site: Site) -> None:
    """In saver mode a loss goes to the disk: where that does not say that it is safe, it may come back."""
    saving(site)
    site.fail("sync")
    site.lose(7)
    site.drop(3)
    site.say("turn", False)
    site.seal()
    site.send(9, 9)
    site.check()


def test_a_loss_whose_sync_failed_and_then_every_write(site: Site) -> None:
    """The spool goes on in memory; the loss waits for the disk, where it may be."""
    saving(site)
    site.fail("sync")
    site.lose(7)
    site.fail("write")
    site.say("turn", False)
    site.lose(5)
    site.seal()
    site.say("turn", False)
    site.send(9, 9)
    site.check()


def test_batches_whose_sync_failed_and_then_every_write(site: Site) -> None:
    """They are not sent from memory under other numbers: a kill may bring them back under the first."""
    site.seal()
    site.fail("sync")
    site.seal()
    site.lose(2)
    site.fail("write")
    site.say("turn", False)
    site.seal()
    site.say("turn", False)
    site.send(9, 9)
    site.check()


def test_killed_between_the_commit_of_a_loss_and_the_ledger(site: Site) -> None:
    """The file knows of it, the ledger does not."""
    saving(site)
    site.lose_and_die(7)
    site.check()


def test_what_came_to_the_disk_by_a_failed_sync_and_went_on_in_memory(site: Site) -> None:
    """Batches are moved from memory, the sync fails, more are sealed; a kill brings back the first, not the others."""
    saving(site)
    site.seal()
    site.fail("sync")
    site.say("turn", True)
    site.seal()
    site.send(2, 2)
    site.seal()
    site.check()


def test_sent_from_memory_while_something_always_waits(site: Site) -> None:
    """What the collector has acked is not at risk, though newer batches always wait."""
    saving(site)
    for _ in range(4):
        site.seal()
        site.send(1, 1)
        site.ack()
    site.check()


class FailingMachine(RuleBasedStateMachine):
    """Everything that may happen to a spool whose disk fails, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.site = Site()

    def teardown(self) -> None:
        try:
            self.site.check()
        finally:
            self.site.close()

    @rule()
    def saver(self) -> None:
        self.site.say("saver")
        self.site.say("turn", False)

    @rule(count=st.integers(1, 3))
    def seal(self, count: int) -> None:
        for _ in range(count):
            self.site.seal()

    @rule(frames=st.integers(1, 9))
    def lose(self, frames: int) -> None:
        self.site.lose(frames)

    @precondition(lambda self: not self.site.disk.faults.write_errno)
    @rule(frames=st.integers(1, 9))
    def drop(self, frames: int) -> None:
        self.site.drop(frames)

    @rule(items=st.integers(1, 4), arrive=st.integers(0, 4))
    def send(self, items: int, arrive: int) -> None:
        self.site.send(items, arrive)

    @rule()
    def reconnect(self) -> None:
        self.site.place = [0, 0]

    @rule()
    def ack(self) -> None:
        self.site.ack()

    @rule(spills=st.booleans())
    def turn(self, spills: bool) -> None:
        self.site.say("turn", spills)

    @rule(what=st.sampled_from(["sync", "write"]))
    def fail(self, what: str) -> None:
        self.site.fail(what)

    @rule()
    def heal(self) -> None:
        self.site.heal()

    @rule()
    def kill(self) -> None:
        self.site.kill()
        self.site.start()

    @rule(frames=st.integers(1, 9))
    def lose_and_die(self, frames: int) -> None:
        self.site.lose_and_die(frames)
        self.site.start()


TestFailingMachine = pytest.mark.slow(pytest.mark.timeout(400)(FailingMachine.TestCase))
TestFailingMachine.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
