"""Portable capture: what method "libpcap" gives is what the ring gives, and its troubles are one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_agent.sources import DECODED_LINKTYPES, _unwound
from fieldwatch_agent.spool.control import ask_daemon
from fieldwatch_ext.capture import MemorySource
from fieldwatch_ext.engine import Engine
from fieldwatch_proto.schema import METRIC_FRAMES_OUTSIDE_FLOWS, Kind
from support.net import Wire, require_namespaces, wire
from support.sample import write_sample
from support.spooling import spooled
from support.stack import Agent, wait_for

RATE = 4_000  # frames a second
METHOD = "FIELDWATCH_AGENT__CAPTURE__METHOD"
RING = {"FIELDWATCH_AGENT__CAPTURE__RING_BYTES": "32 MiB"}  # lasts while the agent waits for a core


@pytest.fixture
def link() -> Iterator[Wire]:
    require_namespaces()
    with wire() as made:
        yield made


def test_the_linktypes_are_those_of_the_kernel_module() -> None:
    """An octet of a linktype that is decoded is truncated; of any other it is unsupported."""

    def is_decoded(linktype: int) -> bool:
        engine = Engine()
        engine.process(MemorySource([(0, b"\x45")], linktype=linktype), 1)
        return engine.counters().unsupported == 0

    assert {linktype for linktype in range(300) if is_decoded(linktype)} == DECODED_LINKTYPES


def test_counters_of_32_bits_are_unwound() -> None:
    """A count goes on over the end of what libpcap can tell, and stays where nothing was added."""
    top = (1 << 32) - 10
    counted = [top, 5, 5, 4, top]
    total, told = 0, []
    for counter in counted:
        total = _unwound(total, counter)
        told.append(total)

    assert told == [top, (1 << 32) + 5, (1 << 32) + 5, (2 << 32) + 4, (2 << 32) + top]


def test_a_wrong_method_is_refused(tmp_path: Path) -> None:
    """One line with the key, the value seen and what is accepted."""
    agent = Agent(tmp_path / "agent", environ={METHOD: "pcap"})
    done = subprocess.run(
        agent.command("run", "--data", str(agent.data)), capture_output=True, text=True, env=agent.environ
    )

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert all(word in done.stderr for word in (METHOD, "pcap", "ring", "libpcap"))


class Run:
    """An agent on the near end of the wire, by one method, with what it kept."""

    def __init__(self, folder: Path, link: Wire, method: str, *arguments: str) -> None:
        self.agent = Agent(folder / method, link.run_in(link.near), {METHOD: method, **RING})
        self.agent.spawn("run", "--data", str(self.agent.data), "--local-only", *arguments)

    def until(self, event: str) -> dict[str, Any]:
        """The first log line of an event."""

        def found() -> dict[str, Any] | None:
            assert self.agent.running or event == "stopped", self.agent.tail()
            lines = self.agent.log.read_text().splitlines()
            return next((line for text in lines if (line := json.loads(text))["event"] == event), None)

        return wait_for(found, f"the agent says {event!r}")

    def stop(self) -> dict[str, Any]:
        assert self.agent.stop() == 0, self.agent.tail()
        return self.until("stopped")

    def picture(self) -> dict[str, Any]:
        """Sums that do not depend on time: directed flows, sightings, facts, frames outside flows."""
        flows: Counter[tuple[Any, ...]] = Counter()
        for row in spooled(self.agent, Kind.FLOW):
            there = (row["protocol"], row["src"], row["src_port"], row["dst"], row["dst_port"])
            flows[(*there, "frames")] += row["packets"] + row["reply_packets"]
            flows[(*there, "octets")] += row["bytes"] + row["reply_bytes"]
        sightings: Counter[tuple[Any, ...]] = Counter()
        for row in spooled(self.agent, Kind.SIGHTING):
            sightings[(row["vlans"], row["mac"], row["ip"], row["source"])] += row["frames"]
        facts = {(row["subject"], row["key"], row["value"], row["source"]) for row in spooled(self.agent, Kind.FACT)}
        outside = sum(
            row["value"] for row in spooled(self.agent, Kind.METRIC) if row["name"] == METRIC_FRAMES_OUTSIDE_FLOWS
        )
        return {"flows": flows, "sightings": sightings, "facts": facts, "outside": outside}


@pytest.fixture
def runs() -> Iterator[Callable[..., Run]]:
    made: list[Run] = []

    def run(*arguments: Any) -> Run:
        made.append(Run(*arguments))
        return made[-1]

    yield run
    for one in made:
        if one.agent.running:
            one.agent.kill()


@pytest.mark.slow
@pytest.mark.live
def test_both_methods_keep_the_same(link: Wire, tmp_path: Path, runs: Callable[..., Run]) -> None:
    """One site, sent once, heard by two agents: the same flows, sightings and facts; nothing dropped, a clean stop."""
    capture = tmp_path / "sample.pcap"
    write_sample(capture)
    both = [runs(tmp_path, link, method, "-i", link.interface) for method in ("ring", "libpcap")]
    for run in both:
        run.until("capturing")

    send = link.run_in(link.far, "tcpreplay", "-q", "-i", link.interface, f"--pps={RATE}", str(capture))
    subprocess.run(send, check=True, capture_output=True)
    frames = link.counters()[0]
    for run in both:
        wait_for(lambda run=run: run.agent.spool()["frames_seen"] == frames, "every frame was seen")  # type: ignore[misc]
    imported = ["pcapy" in next(ask_daemon(run.agent.data, "modules")) for run in both]
    stopped = [run.stop() for run in both]
    ring, libpcap = (run.picture() for run in both)

    assert libpcap == ring
    assert len(ring["facts"]) > 5
    assert [line["frames"] for line in stopped] == [frames, frames]
    assert [run.agent.spool()["declared_frames"] for run in both] == [0, 0]
    assert imported == [False, True]


@pytest.mark.slow
@pytest.mark.live
def test_what_passed_between_two_runs_is_counted(link: Wire, tmp_path: Path, runs: Callable[..., Run]) -> None:
    """The books hold with method libpcap as well: frames that nobody heard are declared at the next start, exactly."""
    arguments = (tmp_path, link, "libpcap", "-i", link.interface)
    run = runs(*arguments)
    run.until("capturing")
    send(link, 100)
    wait_for(lambda: run.agent.spool()["frames_seen"] == 100, "every frame was seen")
    run.stop()
    send(link, 30)
    run.agent.log.unlink()

    again = runs(*arguments)
    again.until("capturing")
    send(link, 5)
    wait_for(lambda: again.agent.spool()["frames_seen"] == 5, "every frame was seen")
    again.stop()

    status = again.agent.spool()
    assert (status["frames"], status["declared_frames"]) == (105, 30)


@pytest.mark.slow
@pytest.mark.live
def test_an_interface_that_vanishes_is_waited_for(link: Wire, tmp_path: Path, runs: Callable[..., Run]) -> None:
    """The agent says so in one line, keeps what it had, goes on with the other interface, and stops clean."""
    run = runs(tmp_path, link, "libpcap", "-i", link.interface, "-i", "lo")
    run.until("capturing")
    send(link, 50)
    wait_for(lambda: run.agent.spool()["frames_seen"] == 50, "every frame was seen")

    subprocess.run(["ip", "-n", link.near, "link", "del", link.interface], check=True)
    said = run.until("cannot capture; trying again")
    run.stop()

    assert said["interface"] == link.interface
    assert len(said["problem"].splitlines()) == 1
    assert (run.agent.spool()["frames"], run.agent.spool()["declared_frames"]) == (50, 0)


@pytest.mark.live
def test_an_interface_that_is_not_there(link: Wire, tmp_path: Path, runs: Callable[..., Run]) -> None:
    """It is waited for, and the line names what libpcap lists."""
    run = runs(tmp_path, link, "libpcap", "-i", "nope0")
    said = run.until("waiting for an interface")
    run.stop()

    assert said["problem"].startswith("no interface 'nope0' for libpcap; there are: ")
    assert {link.interface, "lo", "any"} == set(said["problem"].partition("there are: ")[2].split(", "))


@pytest.mark.live
def test_a_kind_that_is_not_decoded(link: Wire, tmp_path: Path) -> None:
    """netfilter's log is no network: one line, exit 1."""
    code = (
        "from fieldwatch_agent.config import Capture\nfrom fieldwatch_agent.sources import open_source\n"
        "from fieldwatch_ext.errors import CaptureError\n"
        "try:\n    open_source('nflog', Capture(method='libpcap'), None)\nexcept CaptureError as problem:\n"
        "    print(problem)"
    )
    command = link.run_in(link.near, sys.executable, "-c", code)
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert said == (
        "interface nflog gives frames of linktype NFLOG, which are not decoded; name another:"
        " fieldwatch-agent doctor lists them\n"
    )


@pytest.mark.slow
@pytest.mark.live
@pytest.mark.parametrize("method", ["ring", "libpcap"])
def test_a_filter_fits_the_linktype(link: Wire, tmp_path: Path, runs: Callable[..., Run], method: str) -> None:
    """A tun interface gives bare IP: the offsets of the filter are not those of Ethernet."""
    subprocess.run(["ip", "-n", link.near, "tuntap", "add", "tun7", "mode", "tun"], check=True)
    subprocess.run(["ip", "-n", link.near, "addr", "add", "198.51.100.1/24", "dev", "tun7"], check=True)
    feeder = subprocess.Popen(
        link.run_in(link.near, sys.executable, "-c", FEEDER), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert feeder.stdin is not None
        assert feeder.stdout is not None
        feeder.stdout.readline()
        subprocess.run(["ip", "-n", link.near, "link", "set", "tun7", "up"], check=True)
        run = runs(tmp_path, link, method, "-i", "tun7", "--filter", "udp port 9")
        run.until("capturing")
        feeder.stdin.write("go\n")
        feeder.stdin.flush()
        wait_for(lambda: run.agent.spool()["frames_seen"] == 3, "three of the six frames match")
        run.stop()
    finally:
        feeder.kill()
        feeder.wait()

    assert [value for key, value in run.picture()["flows"].items() if key[-1] == "frames"] == [3]


@pytest.mark.live
def test_drops_are_counted(link: Wire) -> None:
    """A handle that nobody reads loses frames, and says how many: handed out + dropped = sent."""
    frames = 20_000
    child = subprocess.Popen(
        link.run_in(link.near, sys.executable, "-c", LISTENER, link.interface),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        send(link, frames)
        said = json.loads(child.communicate("go\n", timeout=30)[0])
    finally:
        child.kill()
        child.wait()

    assert said["packets"] == frames
    assert said["drops"] > 0
    assert said["frames"] + said["drops"] == frames
    assert said["after_close"] == [said["packets"], said["drops"], 0]


LISTENER = """
import json, sys
from fieldwatch_agent.config import Capture
from fieldwatch_agent.sources import open_source
source = open_source(sys.argv[1], Capture(method="libpcap", ring_bytes=1 << 20), None)
print("open", flush=True)
sys.stdin.readline()
first = source.stats()
while source.frames < first.packets - first.drops and source.read_block() is not None:
    pass
last = source.stats()
source.close()
counted = {"packets": last.packets, "drops": last.drops, "frames": source.frames}
print(json.dumps({**counted, "after_close": source.stats()}))
"""

FEEDER = """
import fcntl, os, struct, sys
tun = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun7", 0x1001))
print("open", flush=True)
sys.stdin.readline()
for port in (9, 10, 9, 10, 9, 10):
    udp = struct.pack(">HHHH", 1024, port, 8, 0)
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, bytes((192, 0, 2, 1)), bytes((192, 0, 2, 2)))
    os.write(tun, ip + udp)
sys.stdin.readline()
"""


def send(link: Wire, frames: int) -> None:
    """Frames from the far end; returns when the near end has received them all."""
    before = link.counters()[0]
    code = (
        "import socket, sys\nfrom support.sender import frame\n"
        "out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)\nout.bind((sys.argv[1], 0))\n"
        "for number in range(int(sys.argv[2])): out.send(frame(number))"
    )
    tests = str(Path(__file__).parents[2])
    command = link.run_in(link.far, sys.executable, "-c", code, link.interface, str(frames))
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": tests})
    wait_for(lambda: link.counters()[0] == before + frames, "the frames have arrived")
