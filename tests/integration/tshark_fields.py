"""Single fields and octets of packets as tshark gives them, for the oracles of dissectors."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from fieldwatch_ext.engine import Slow

CORPUS = os.environ.get("FIELDWATCH_CORPUS")
TOO_LARGE = 4_000_000  # octets of a file; tshark would take minutes

Packet = dict[str, list[str]]

ADDRESSES = ("frame.number", "eth.src", "eth.dst", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst")


def captures() -> list[Path]:
    """All of the corpus, by name."""
    if not CORPUS:
        return []
    found = (path for folder in ("core", "wide") for path in Path(CORPUS, folder).rglob("*"))
    return sorted(path for path in found if path.is_file() and path.stat().st_size < TOO_LARGE)


def _tshark(capture: Path, *options: str) -> list[dict[str, Any]]:
    command = ["tshark", "-n", "-r", str(capture), "-T", "json", *options]
    result = subprocess.run(command, capture_output=True, timeout=120, check=False)
    return [packet["_source"]["layers"] for packet in json.loads(result.stdout or b"[]")]


@cache
def fields(capture: Path, display_filter: str, names: tuple[str, ...]) -> list[Packet]:
    """The values of the named fields and of `ADDRESSES` in each packet that passes, outermost first."""
    options = [option for name in (*ADDRESSES, *names) for option in ("-e", name)]
    return _tshark(capture, "-Y", display_filter, *options)


def octets(capture: Path, display_filter: str, *layers: str) -> Iterator[dict[str, bytes]]:
    """The octets of the named layers in each packet that passes, each of the innermost of its kind."""
    for packet in _tshark(capture, "-Y", display_filter, "-x", "-j", " ".join(layers)):
        found = {layer: packet.get(f"{layer}_raw", [""]) for layer in layers}
        innermost = {layer: raw[-1] if isinstance(raw[0], list) else raw for layer, raw in found.items()}
        yield {layer: bytes.fromhex(str(raw[0])) for layer, raw in innermost.items()}


def last(packet: Packet, name: str) -> str:
    """The value of the innermost layer; "" where there is none."""
    return packet.get(name, [""])[-1]


def as_slow(packet: Packet, protocol: str, payload: bytes) -> Slow:
    """The packet as the kernel would hand it over, without VLANs and ports."""
    src_mac, dst_mac = (bytes.fromhex(last(packet, name).replace(":", "")) for name in ("eth.src", "eth.dst"))
    family = "ipv6" if last(packet, "ipv6.src") else "ip"
    src_ip, dst_ip = (ipaddress.ip_address(last(packet, f"{family}.{side}")).packed for side in ("src", "dst"))
    return Slow(int(last(packet, "frame.number")), 0, protocol, src_mac, dst_mac, 0, src_ip, dst_ip, 0, 0, payload)
