"""The same frames live and offline: the same devices, facts and flow totals, through the whole product.

Captures are replayed over a wire between two namespaces on which nothing else speaks, to a real agent and a real
collector; what the collector then holds is compared with what `fieldwatch-agent read` says of the files. Times differ
by nature. So may the side that counts as opener when a pause in the capture is not there in the replay, so flows are
compared as sums per direction: (protocol, from, to) -> frames, octets.
"""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import dpkt
import pytest
from fieldwatch_proto.protocols import protocol_text
from support.net import require_namespaces, wire
from support.sample import write_sample
from support.stack import Site, wait_for

from system.kills import RING

pytestmark = [pytest.mark.slow, pytest.mark.live, pytest.mark.timeout(300)]
RATE = 4000  # frames a second, which two cores sustain with the collector beside

Directed = Counter[tuple[str, str, int, str, int]]


class Picture:
    """What one side says: devices by key, facts, and directed sums."""

    def __init__(self) -> None:
        self.devices: dict[tuple[str, ...], tuple[frozenset[str], str]] = {}
        self.facts: set[tuple[str, str, str, str]] = set()
        self.frames: Directed = Counter()
        self.octets: Directed = Counter()

    def add_flow(self, protocol: str, ends: tuple[str, int, str, int], counts: tuple[int, int, int, int]) -> None:
        src, src_port, dst, dst_port = ends
        if protocol in ("icmp", "ipv6-icmp"):
            src_port = dst_port = 0  # type and code of the opener
        there, back = (protocol, src, src_port, dst, dst_port), (protocol, dst, dst_port, src, src_port)
        self.frames[there] += counts[0]
        self.octets[there] += counts[1]
        self.frames[back] += counts[2]
        self.octets[back] += counts[3]


def offline(captures: list[Path]) -> tuple[Picture, dict[str, Any]]:
    """The picture that `read --json` draws, and its summary."""
    done = subprocess.run(
        [sys.executable, "-m", "fieldwatch_agent.cli.main", "read", "--json", *map(str, captures)],
        capture_output=True,
        text=True,
        check=True,
    )
    picture, summary = Picture(), {}
    for line in done.stdout.splitlines():
        row = json.loads(line)
        if row["type"] == "device":
            name = row["names"][0]["name"] if row["names"] else ""
            key = (row["mac"],) if row["mac"] else (row["ips"][0],)
            picture.devices[key] = (frozenset(row["ips"]), name)
        elif row["type"] == "fact":
            picture.facts.add((row["subject"], row["key"], row["value"], row["source"]))
        elif row["type"] == "flow":
            ends = (row["src"], row.get("src_port") or 0, row["dst"], row.get("dst_port") or 0)
            counts = (row["packets"], row["bytes"], row["reply_packets"], row["reply_bytes"])
            picture.add_flow(row["protocol"], ends, counts)
        else:
            summary = row
    return picture, summary


def live(captures: list[Path], frames: int, folder: Path, workers: int) -> Picture:
    """The picture that the collector holds after the captures went over the wire."""
    with wire() as over:
        site = Site(folder, over, {**RING, "FIELDWATCH_AGENT__CAPTURE__WORKERS": str(workers)})
        try:
            site.start()
            for capture in captures:
                subprocess.run(
                    over.run_in(over.far, "tcpreplay", "-q", "-i", over.interface, f"--pps={RATE}", str(capture)),
                    check=True,
                    capture_output=True,
                )
            assert over.counters()[0] == frames
            wait_for(lambda: site.agent.spool()["frames_seen"] == frames, f"the agent has seen {frames} frames")
            site.drain()
            assert site.collector.ask("SELECT sum(frames) FROM gap") == [(None,)], "frames were declared lost"

            picture, ask = Picture(), site.collector.ask
            for macs, ips, name in ask("SELECT macs, ips, name FROM device"):
                key = tuple(json.loads(macs)) or tuple(json.loads(ips))
                picture.devices[key] = (frozenset(json.loads(ips)), name)
            picture.facts = set(ask("SELECT subject, key, value, source FROM claim"))  # type: ignore[arg-type]
            for protocol, src, src_port, dst, dst_port, *counts in ask(
                "SELECT protocol, src, src_port, dst, dst_port, packets, bytes, reply_packets, reply_bytes FROM flow"
            ):
                ends = (str(ipaddress.ip_address(src)), src_port, str(ipaddress.ip_address(dst)), dst_port)
                picture.add_flow(protocol_text(protocol), ends, tuple(counts))
            return picture
        finally:
            site.close()


def compare(captures: list[Path], folder: Path, workers: int = 1) -> None:
    expected, summary = offline(captures)

    actual = live(captures, summary["frames"], folder, workers)

    assert actual.facts == expected.facts
    assert actual.devices == expected.devices
    assert actual.frames == expected.frames
    assert actual.octets == expected.octets


def replayable(capture: Path) -> bool:
    """Ethernet, a pcap that can be sent as it is: every frame whole, at least a header long."""
    with capture.open("rb") as stream:
        try:
            reader = dpkt.pcap.Reader(stream)
            if reader.datalink() != dpkt.pcap.DLT_EN10MB:
                return False
            sizes = [(len(octets), header.len) for header, octets in _with_headers(reader)]
        except (ValueError, dpkt.Error):
            return False
    return all(captured == original and 14 <= captured <= 65549 for captured, original in sizes)


def _with_headers(reader: dpkt.pcap.Reader) -> list[tuple[Any, bytes]]:
    stream, header_type = reader._Reader__f, reader._Reader__ph  # the reader hides original lengths
    stream.seek(dpkt.pcap.FileHdr.__hdr_len__)
    frames = []
    while octets := stream.read(header_type.__hdr_len__):
        header = header_type(octets)
        frames.append((header, stream.read(header.caplen)))
    return frames


@pytest.mark.parametrize("workers", [1, 2])
def test_sample_site(tmp_path: Path, workers: int) -> None:
    """The generated site: every protocol that makes a device or a fact; also when workers share its frames."""
    require_namespaces()
    capture = tmp_path / "sample.pcap"
    write_sample(capture)

    compare([capture], tmp_path, workers)


@pytest.mark.corpus
def test_core_captures(tmp_path: Path) -> None:
    """Every real Ethernet capture of the core set, one after the other over the same wire."""
    require_namespaces()
    corpus = os.environ.get("FIELDWATCH_CORPUS")
    if not corpus:
        pytest.skip("FIELDWATCH_CORPUS is not set: 32 core captures not replayed")
    captures = [path for path in sorted(Path(corpus, "core").iterdir()) if replayable(path)]
    assert len(captures) > 20

    compare(captures, tmp_path)
