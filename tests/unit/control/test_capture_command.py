"""`capture`: packets of loopback on their way to a scripted collector as a pcap file."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_agent.control.commands import capture as capture_command
from fieldwatch_agent.control.settings import Settings
from fieldwatch_ext.capture import FileSource, Frame
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.commanding import Commanding, commanding
from support.net import require_namespaces
from support.stack import wait_for

ALLOWED = '[remote]\nallow = ["capture"]\n'
PATIENT = "[capture]\nblock_timeout_ms = 500\n"  # the eight blocks of the ring last four seconds
pytestmark = pytest.mark.live


@contextlib.contextmanager
def talking(octets: int = 100) -> Iterator[int]:
    """Datagrams to a port of loopback, which is given, as long as it goes on."""
    over = threading.Event()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as source,
    ):
        sink.bind(("127.0.0.1", 0))
        port = sink.getsockname()[1]

        def talk() -> None:
            number = 0
            while not over.wait(0.002):
                source.sendto(number.to_bytes(4, "big") * (octets // 4), ("127.0.0.1", port))
                number += 1

        thread = threading.Thread(target=talk)
        thread.start()
        try:
            yield port
        finally:
            over.set()
            thread.join()


def file_of(site: Commanding, command_id: str) -> bytes:
    return b"".join(report.chunk for report in site.collector.reports if report.id == command_id)


def frames_of(octets: bytes) -> list[Frame]:
    """The file as our own reader sees it: complete, with nanoseconds."""
    fd = os.memfd_create("capture")
    try:
        os.write(fd, octets)
        os.lseek(fd, 0, os.SEEK_SET)
        source = FileSource(fd)
        frames: list[Frame] = []
        while (block := source.read_block()) is not None:
            frames += block
        assert (source.complete, source.format, source.linktypes) == (True, "pcap", ["EN10MB"])
        return frames
    finally:
        os.close(fd)


def test_packets_come_as_a_capture_file(tmp_path: Path) -> None:
    """As many as asked for, those that the filter wants, cut at the snaplen, with their length on the wire."""
    require_namespaces()
    with commanding(tmp_path, ALLOWED + PATIENT) as site, talking(octets=400) as port:
        site.give("c1", "capture", interface="lo", packets=300, filter=f"udp dst port {port}", snaplen=60)
        last = site.end("c1")
    frames = frames_of(file_of(site, "c1"))
    result = json.loads(last.result)

    assert last.state == pb.COMMAND_DONE, last.text
    assert len(frames) == 300
    assert {(len(frame.octets), frame.original) for frame in frames} == {(60, 14 + 20 + 8 + 400)}
    numbers = [int.from_bytes(frame.octets[42:46], "big") for frame in frames]
    assert numbers == sorted(set(numbers)), "each once, in the order of the wire"
    assert all(frame.ts_ns for frame in frames)
    assert (result["packets"], result["octets"], result["dropped"], result["ended_by"]) == (
        300,
        len(file_of(site, "c1")),
        0,
        "packets",
    )


def test_a_silent_wire_ends_at_the_time(tmp_path: Path) -> None:
    """An empty file is a file; what was reported meanwhile rises."""
    require_namespaces()
    with commanding(tmp_path, ALLOWED) as site:
        site.give("c1", "capture", interface="lo", seconds=2, filter="udp port 9 and src host 192.0.2.1")
        last = site.end("c1")
    percents = [report.percent for report in site.collector.reports]

    assert frames_of(file_of(site, "c1")) == []
    assert json.loads(last.result)["ended_by"] == "seconds"
    assert percents == sorted(percents)
    assert any(0 < percent < 100 for percent in percents)


def test_a_file_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends before the packet that would not fit any more."""
    require_namespaces()
    monkeypatch.setattr(capture_command, "MAX_FILE_BYTES", 100_000)
    with commanding(tmp_path, ALLOWED) as site, talking(octets=1_000) as port:
        site.give("c1", "capture", interface="lo", packets=10_000, filter=f"udp dst port {port}")
        last = site.end("c1")

    octets = file_of(site, "c1")
    assert json.loads(last.result)["ended_by"] == "octets"
    assert 100_000 - 1_100 < len(octets) <= 100_000
    assert len(frames_of(octets)) == json.loads(last.result)["packets"]


def test_a_capture_is_cancelled(tmp_path: Path) -> None:
    """At once; the ring is given back, and the next one can begin."""
    require_namespaces()
    with commanding(tmp_path, ALLOWED) as site, talking() as port:
        site.give("c1", "capture", interface="lo", packets=10_000, seconds=300, filter="udp port 9")
        wait_for(lambda: "running" in site.collector.states("c1"), "it runs")
        site.give("c2", "capture", interface="lo", packets=1)
        busy = site.end("c2")
        site.collector.command(pb.Command(id="c1", cancel=True))
        cancelled = site.end("c1")
        site.give("c3", "capture", interface="lo", packets=1, filter=f"udp dst port {port}")
        done = site.end("c3")

    states = [report.state for report in (busy, cancelled, done)]
    assert states == [pb.COMMAND_REFUSED, pb.COMMAND_CANCELLED, pb.COMMAND_DONE]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"interface": "eth99"}, "eth99: this agent does not capture it; it captures lo"),
        ({"interface": "lo", "filter": "no such term ("}, "filter 'no such term ('"),
    ],
)
def test_what_cannot_be_captured_says_why(tmp_path: Path, arguments: dict[str, object], text: str) -> None:
    """An interface that the agent does not listen on, an expression that libpcap does not know."""
    with commanding(tmp_path, ALLOWED) as site:
        site.give("c1", "capture", **arguments)
        last = site.end("c1")

    assert (last.state, text in last.text) == (pb.COMMAND_FAILED, True), last.text


def test_capture_is_off_until_it_is_allowed_here() -> None:
    """The default configuration refuses it."""
    assert "capture" not in Settings(None, {}).value.remote.allow
