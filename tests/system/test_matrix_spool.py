"""The spool's rows of the failure matrix on real filesystems, real processes and a real wire.

Rows 8, 9, 12, 27 and the cuts of row 7 in this process stand in tests/unit/spool/; the alarms of row 14 in
test_matrix_resources.py.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from fieldwatch_agent.spool.file import FILE_NAME, SOCKET_NAME
from fieldwatch_agent.spool.items import Batch, Gap
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1.agent_pb2 import NOT_RUNNING, UNCLEAN_STOP, GapReason
from support.net import require_namespaces
from support.spooling import WIDE, put
from support.stack import Agent, wait_for

from system.damage import BATCHES, daemon_cuts
from system.kills import QUICK, target_site

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(120)]
NOISE_BYTES = 320 << 20  # looked through in 4 s; what has to happen meanwhile takes one
CUTS = 8  # `python -m system.damage --cuts 500` is the whole run
CGROUPS = (Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup"))


def test_row_07_a_cut_spool_starts_in_the_real_daemon(tmp_path: Path) -> None:
    """Under ten seconds each; every row that is whole is kept, the rest is declared (see `daemon_cuts`)."""
    kept, gone, _ = daemon_cuts(tmp_path, CUTS, seed=7)

    assert 0 < gone < kept < CUTS * BATCHES


def damage_beyond_use(file: Path) -> None:
    """No header any more, and so many octets behind the rest that it takes a while to look through them all."""
    noise = random.Random(7).randbytes(4 << 20)
    with file.open("r+b") as stream:
        stream.write(bytes(100))
        stream.seek(0, os.SEEK_END)
        for _ in range(NOISE_BYTES // len(noise)):
            stream.write(noise)


@pytest.mark.parametrize("killed", [False, True], ids=["whole", "killed"])
def test_row_07_capture_does_not_wait_for_a_salvage(tmp_path: Path, killed: bool) -> None:
    """Frames are taken while a damaged spool is looked through; a kill meanwhile costs no row, and tells none twice."""
    with target_site(tmp_path) as site:
        log, file = site.agent.log, site.agent.data / FILE_NAME
        site.sender.say("go")
        wait_for(lambda: site.collector.ask("SELECT max(position) FROM batch")[0][0], "batches arrive")
        site.collector.stop()
        wait_for(lambda: "not shipping" in log.read_text(), "the spool fills")
        site.sender.say("pause")
        assert site.agent.stop() == 0, site.agent.tail()
        before = Store(site.agent.data, WIDE)
        waiting = before.status().batches
        before.close(clean=True)
        damage_beyond_use(file)
        site.start_agent()
        first = site.sender.say("go")
        wait_for(lambda: site.sender.say("go") > first + 1_000, "frames pass")
        if killed:
            site.agent.kill()
            site.sender.say("pause")
            site.start_agent()
            site.sender.say("go")
        assert "the spool file was damaged" not in log.read_text(), "the salvage is over too soon to tell"
        wait_for(lambda: "the spool file was damaged" in log.read_text(), "the salvage is over", 90)
        kept = [json.loads(line) for line in log.read_text().splitlines() if "the spool file was damaged" in line]
        site.collector.start()
        site.finish()
        verdict = site.verdict(int(killed))

    assert [line["kept_batches"] for line in kept] == [waiting]
    assert waiting > 0
    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict
    assert (verdict.declared > 0) == killed


def on_a_small_disk(folder: Path, scene: str, options: str = "size=8m") -> None:
    """Run a scene of `full_spool` on a filesystem of its own."""
    require_namespaces()
    inside = [sys.executable, str(Path(__file__).with_name("full_spool.py")), scene, str(folder)]
    mounting = f'mount -t tmpfs -o {options} none "$0" && exec "$@"'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", mounting, str(folder), *inside],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])},
    )
    assert done.stdout.splitlines()[-1:] == ["conserved"], done.stdout + done.stderr


def test_row_10_a_disk_that_we_fill(tmp_path: Path) -> None:
    """Twice what it holds: eviction by class, declared to the frame, and it goes on."""
    on_a_small_disk(tmp_path, "ours")


@pytest.mark.parametrize("scene", ["few", "many", "acks"])
def test_row_11_a_disk_that_others_fill(tmp_path: Path, scene: str) -> None:
    """With no octet left: no crash, acks free rows (others stay), and it goes on without a restart when they leave."""
    on_a_small_disk(tmp_path, scene)


def test_row_14_no_inode_is_left(tmp_path: Path) -> None:
    """The running spool needs none; a start says what is missing; nothing is damaged."""
    on_a_small_disk(tmp_path, "inodes", "size=32m,nr_inodes=40")


@contextmanager
def running(folder: Path) -> Iterator[Agent]:
    """An agent that waits for an interface."""
    agent = Agent(folder)
    agent.spawn("run", "--data", str(folder), "--local-only", "-i", "fw-absent0")
    try:
        wait_for(lambda: (folder / SOCKET_NAME).exists(), "the agent is there", 20)
        wait_for(lambda: agent.spool()["state"] == "capturing", "it has started", 20)
        yield agent
    finally:
        if agent.running:
            agent.kill()


def watch_evictions(store: Store, found: list[int]) -> None:
    """Note how many batches each transaction deletes from now on, those that delete none left out."""
    deleted = 0

    def note(statement: str) -> None:
        nonlocal deleted
        if statement.startswith("BEGIN"):
            deleted = 0
        elif statement.startswith("DELETE FROM batch"):
            deleted += 1
        elif statement.startswith("COMMIT") and deleted:
            found.append(deleted)

    store.db.set_trace_callback(note)


def test_row_38_a_quota_below_the_backlog(tmp_path: Path) -> None:
    """It starts at once, evicts to the new bound in bounded transactions, and declares every frame."""
    count, octets = 2_000, 2_000
    store = Store(tmp_path, WIDE)
    for first in range(0, count, 100):
        store.commit([put(n, (Kind.FLOW, Kind.FACT)[n % 10 == 0], octets=octets) for n in range(first, first + 100)])
    store.close(clean=True)
    quota = 500 * octets

    evicted: list[int] = []
    thread = SpoolThread(tmp_path, Limits(quota, 0, 1e9), prepare=lambda store: watch_evictions(store, evicted))
    begun = time.monotonic()
    thread.start()
    thread.put(put(count, octets=octets))
    assert thread.flush()
    started_s = time.monotonic() - begun
    wait_for(lambda: thread.call(Store.status).used_bytes <= quota, "the bound is kept")

    status = thread.call(Store.status)
    items = thread.call(lambda store: [item for _, item in store.peek(max_items=5_000, max_bytes=1 << 30)])
    thread.close(clean=True)
    gone = count + 1 - status.batches
    assert started_s < 5
    assert gone > 1_000
    assert sum(evicted) == gone
    assert max(evicted) <= 256, evicted
    assert status.frames + status.declared_frames == 5 * (count + 1)
    assert sum(item.kind == Kind.FACT for item in items if isinstance(item, Batch)) == count // 10
    assert {gap.reason for gap in items if isinstance(gap, Gap)} == {GapReason.QUOTA}


def test_row_39_a_second_agent_on_the_folder(tmp_path: Path) -> None:
    """It ends with one line that says who has the folder; the first one goes on."""
    with running(tmp_path / "agent") as agent:
        assert agent.process is not None
        command = agent.command("run", "--data", str(agent.data), "--local-only", "-i", "fw-absent0")
        second = subprocess.run(command, capture_output=True, text=True, timeout=30)

        assert (second.returncode, len(second.stderr.splitlines())) == (1, 1), second.stderr
        assert f"in use by another fieldwatch-agent (process {agent.process.pid}); stop it" in second.stderr
        assert agent.spool()["running"] is True
        assert agent.stop() == 0, agent.tail()


def out_of_memory(pid: int) -> str:
    """Have the kernel kill a process for want of memory: in a memory cgroup, beside one that takes all of it, as the
    preferred victim. Where no cgroup can be made, by the same signal. How.
    """
    for base in CGROUPS:
        group = base / f"fieldwatch-test-{pid}"
        with suppress(OSError):
            group.mkdir()
            limit = "memory.limit_in_bytes" if (group / "memory.limit_in_bytes").exists() else "memory.max"
            (group / limit).write_text(str(64 << 20))
            (group / "cgroup.procs").write_text(str(pid))
            Path(f"/proc/{pid}/oom_score_adj").write_text("1000")
            taking = f"echo $$ > {group}/cgroup.procs && exec {sys.executable} -c 'b = bytearray(256 << 20)'"
            subprocess.run(["sh", "-c", taking], capture_output=True, timeout=30)
            return "cgroup"
    os.kill(pid, signal.SIGKILL)
    return "SIGKILL"


def test_row_40_an_agent_that_the_kernel_kills_for_memory(tmp_path: Path) -> None:
    """Killed while frames flow: there again in under ten seconds, and every frame is stored or declared."""
    require_namespaces()
    with target_site(tmp_path) as site:
        site.sender.say("go")
        wait_for(lambda: site.collector.ask("SELECT count(*) FROM batch")[0][0] > 3, "batches arrive")
        assert site.agent.process is not None
        how = out_of_memory(site.agent.process.pid)
        wait_for(lambda: not site.agent.running, f"the agent dies ({how})", 20)
        for base in CGROUPS:
            with suppress(OSError):
                (base / f"fieldwatch-test-{site.agent.process.pid}").rmdir()
        site.sender.say("pause")
        begun = time.monotonic()
        site.start_agent()
        seconds = time.monotonic() - begun
        site.finish()
        verdict = site.verdict(1)

    assert seconds < 10
    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict


def test_row_46_a_stop_in_mid_send(tmp_path: Path) -> None:
    """A clean stop with batches under way: nothing is declared lost for it, and the next start goes on where it was."""
    require_namespaces()
    with target_site(tmp_path) as site:
        site.sender.say("go")
        wait_for(lambda: site.collector.ask("SELECT count(*) FROM batch")[0][0] > 3, "batches arrive")
        assert site.agent.process is not None
        site.agent.process.send_signal(signal.SIGTERM)
        assert site.agent.process.wait(20) == 0, site.agent.tail()
        site.sender.say("pause")
        left = Store(site.agent.data, WIDE)
        clean = left.get_meta("clean_stop")
        left.db.close()
        site.start_agent()
        site.finish()
        verdict = site.verdict(0)
        reasons = {reason for (reason,) in site.collector.ask("SELECT DISTINCT reason FROM gap")}

    assert clean == "1"
    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict
    assert UNCLEAN_STOP not in reasons
    assert reasons <= {NOT_RUNNING}


def test_a_kill_in_saver_mode(tmp_path: Path) -> None:
    """What was in memory alone is declared to the frame, less what the collector had of it; a stop loses nothing."""
    require_namespaces()
    stored = "SELECT coalesce(max(position), 0) FROM batch"
    with target_site(tmp_path, {**QUICK, "FIELDWATCH_AGENT__SPOOL__SAVER": "true"}) as site:
        for _ in range(3):
            seen = site.collector.ask(stored)[0][0]
            site.sender.say("go")
            wait_for(lambda seen=seen: site.collector.ask(stored)[0][0] > seen + 3, "batches arrive")
            wait_for(lambda: site.agent.spool()["memory_only"].startswith("saver mode"), "it spares the disk")
            site.agent.kill()
            site.sender.say("pause")
            site.start_agent()
        site.finish()
        verdict = site.verdict(3)

    assert (verdict.lost, verdict.duplicated) == (0, 0), verdict
    assert verdict.stored > 0
