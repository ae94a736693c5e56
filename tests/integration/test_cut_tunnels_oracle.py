"""Tunnels whose inside is cut off, by the capture or by the end of their datagram: the verdict is what tshark says."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support import tshark
from support.capture_files import pcap
from support.engine_compare import Captured, run
from support.frames import Datagram, ethernet, geneve, gtpu, ipv4, vxlan
from support.traffic import SYN_FRAME

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

BEHIND_UDP = 14 + 20 + 8
TCP_OPTIONS_LEN = 4  # payload to the verdict, a header to tshark
TUNNELS: dict[str, Callable[[bytes], Datagram]] = {
    "vxlan": lambda packet: vxlan(ethernet(packet), 7),
    "geneve": lambda packet: geneve(ethernet(packet), 7, options=bytes(8)),
    "gtpu": lambda packet: gtpu(packet, 7, extensions=[(0x85, b"\0\x09")]),
}
TOO_SHORT = "_ws.malformed or ip.bogus_ip_length"


def told(records: list[Captured], display_filter: str, folder: Path) -> list[bool]:
    """Which of the frames tshark lets pass."""
    capture = folder / "cut.pcap"
    capture.write_bytes(pcap(records))
    passing = {int(row["frame.number"]) for row in tshark.innermost_rows(capture, display_filter, ("frame.number",))}
    return [number in passing for number in range(1, len(records) + 1)]


def verdicts(records: list[Captured], verdict: str) -> list[bool]:
    return [getattr(run([record]).counters, verdict) == 1 for record in records]


def outer(datagram: Datagram) -> bytes:
    return ethernet(ipv4("10.0.0.8", "10.0.0.9", datagram))


@pytest.mark.parametrize("name", TUNNELS)
def test_cut_by_the_capture(name: str, tmp_path: Path) -> None:
    whole = outer(TUNNELS[name](SYN_FRAME))
    records = [(0, whole[:end], len(whole)) for end in range(BEHIND_UDP, len(whole) - TCP_OPTIONS_LEN)]

    assert told(records, "_ws.short", tmp_path) == verdicts(records, "truncated") == [True] * len(records)


@pytest.mark.parametrize("name", TUNNELS)
def test_ended_by_the_datagram(name: str, tmp_path: Path) -> None:
    frames = [outer(TUNNELS[name](SYN_FRAME[:end])) for end in range(len(SYN_FRAME) + 1)]
    records = [(0, frame, len(frame)) for frame in frames]

    assert told(records, TOO_SHORT, tmp_path) == verdicts(records, "malformed")
