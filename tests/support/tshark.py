"""What tshark reads in a capture: the oracle that this project did not write.

A packet comes as the tree of its layers (`trees`), as the values of single fields (`fields`), or as the octets of its
layers (`octets`); a layer that is there twice (a tunnel) stands outermost first. From a tree or from fields, `slow_of`
and `slow_with` make the frame that the kernel would hand to a dissector.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import dpkt
from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_agent.facts import Binding, Fact
from fieldwatch_ext.engine import Slow

CORPUS = os.environ.get("FIELDWATCH_CORPUS")
FOLDERS = ("core", "wide")
TOO_LARGE = 4_000_000  # octets of a file; tshark would take minutes
TIMEOUT_S = 120
TS_NS = 1_700_000_000_000_000_000  # of every slow frame

# Every packet and segment by itself: the kernel joins none.
IN_PIECES = (
    *("-o", "tcp.desegment_tcp_streams:FALSE"),
    *("-o", "ip.defragment:FALSE"),
    *("-o", "ipv6.defragment:FALSE"),
)

Said = set[tuple[str, ...]]
Tree = dict[str, Any]
Fields = dict[str, list[str]]

ADDRESSES = ("frame.number", "eth.src", "eth.dst", "ip.src", "ip.dst", "ipv6.src", "ipv6.dst")


# ---- captures


def captures(pattern: bytes = b"") -> list[Path]:
    """The corpus by name; with a pattern, the files that hold it anywhere: a quick sieve before tshark looks."""
    if not CORPUS:
        return []
    found = (path for folder in FOLDERS for path in Path(CORPUS, folder).rglob("*") if path.is_file())
    wanted = re.compile(pattern, re.DOTALL)
    return sorted(p for p in found if p.stat().st_size < TOO_LARGE and (not pattern or wanted.search(p.read_bytes())))


def run(capture: Path, *options: str) -> bytes:
    """The output of one call."""
    command = ["tshark", "-n", "-r", str(capture), *options]
    return subprocess.run(command, capture_output=True, timeout=TIMEOUT_S, check=False).stdout


def _layers(capture: Path, *options: str) -> list[dict[str, Any]]:
    return [packet["_source"]["layers"] for packet in json.loads(run(capture, "-T", "json", *options) or b"[]")]


# ---- trees


def trees(capture: Path, display_filter: str, layers: str, *options: str) -> list[Tree]:
    """The named layers of every packet that passes."""
    return _layers(capture, "-Y", display_filter, "--no-duplicate-keys", "-J", layers, *options)


def messages(capture: Path, display_filter: str, layers: str) -> list[Tree]:
    """The named layers, with addresses and transport, of every packet that passes, each by itself."""
    return trees(capture, display_filter, f"frame eth ip ipv6 tcp udp {layers}", *IN_PIECES)


def every(tree: Any, name: str) -> Iterator[Any]:
    """All values of a field, however deep."""
    if isinstance(tree, list):
        for item in tree:
            yield from every(item, name)
    elif isinstance(tree, dict):
        for key, value in tree.items():
            if key == name:
                yield from value if isinstance(value, list) else [value]
            elif isinstance(value, dict | list):
                yield from every(value, name)


def first(tree: Any, name: str) -> str:
    return next(every(tree, name), "")


def inner(packet: Tree, layer: str) -> Tree:
    """The innermost layer of its kind."""
    found = packet.get(layer, {})
    innermost: Tree = found[-1] if isinstance(found, list) else found
    return innermost


def records(layer: Tree, section: str) -> list[Tree]:
    """Of a section that lists them by their text; records of the same text stand in one list."""
    listed = layer.get(section)
    if not isinstance(listed, dict):  # a text where there was nothing to list
        return []
    return [record for found in listed.values() for record in (found if isinstance(found, list) else [found])]


def addresses(packet: Tree) -> tuple[str, str]:
    """Source and destination of the innermost IP header."""
    for layer in ("ipv6", "ip"):
        header = inner(packet, layer)
        if header:
            return first(header, f"{layer}.src"), first(header, f"{layer}.dst")
    return "", ""


# ---- fields and octets


@cache
def fields(capture: Path, display_filter: str, names: tuple[str, ...]) -> list[Fields]:
    """The values of the named fields and of `ADDRESSES` in each packet that passes."""
    options = [option for name in (*ADDRESSES, *names) for option in ("-e", name)]
    return _layers(capture, "-Y", display_filter, *options)


def last(packet: Fields, name: str) -> str:
    """The value of the innermost layer; "" where there is none."""
    return packet.get(name, [""])[-1]


def octets(capture: Path, display_filter: str, *layers: str) -> Iterator[dict[str, bytes]]:
    """The octets of the named layers in each packet that passes, each of the innermost of its kind."""
    for packet in _layers(capture, "-Y", display_filter, "-x", "-j", " ".join(layers)):
        found = {layer: packet.get(f"{layer}_raw", [""]) for layer in layers}
        innermost = {layer: raw[-1] if isinstance(raw[0], list) else raw for layer, raw in found.items()}
        yield {layer: bytes.fromhex(str(raw[0])) for layer, raw in innermost.items()}


def innermost_rows(capture: Path, display_filter: str, names: tuple[str, ...]) -> list[dict[str, str]]:
    """The named fields of the innermost layers, "" where there is none, of each packet that passes."""
    wanted = [option for name in names for option in ("-e", name)]
    told = run(capture, "-Y", display_filter, "-T", "fields", "-E", "occurrence=l", *wanted).decode()
    return [dict(zip(names, line.split("\t"), strict=True)) for line in told.splitlines()]


# ---- what a dissector is given, and what it says


def octets_of(text: str) -> bytes:
    """Of "0a:0b:0c"."""
    return bytes.fromhex(text.replace(":", ""))


def slow_of(packet: Tree, protocol: str) -> Slow:
    """The payload of a packet as the kernel would hand it over, VLANs aside."""
    transport = "udp" if "udp" in packet else "tcp"
    layer = inner(packet, transport)
    source, destination = (ipaddress.ip_address(text).packed for text in addresses(packet))
    ethernet = inner(packet, "eth")
    return Slow(
        int(first(packet, "frame.number")),
        TS_NS,
        protocol,
        octets_of(first(ethernet, "eth.src")),
        octets_of(first(ethernet, "eth.dst")),
        0,
        source,
        destination,
        int(first(layer, f"{transport}.srcport")),
        int(first(layer, f"{transport}.dstport")),
        octets_of(first(layer, f"{transport}.payload")),
    )


def slow_with(packet: Fields, protocol: str, payload: bytes) -> Slow:
    """The payload as the kernel would hand it over, with the addresses of the packet and without VLANs and ports."""
    src_mac, dst_mac = (octets_of(last(packet, name)) for name in ("eth.src", "eth.dst"))
    family = "ipv6" if last(packet, "ipv6.src") else "ip"
    src_ip, dst_ip = (ipaddress.ip_address(last(packet, f"{family}.{side}")).packed for side in ("src", "dst"))
    return Slow(int(last(packet, "frame.number")), TS_NS, protocol, src_mac, dst_mac, 0, src_ip, dst_ip, 0, 0, payload)


def facts(dissector: Callable[[Slow], Iterator[Fact | Binding]], frame: Slow) -> list[Fact]:
    """Those that `dissect` would keep, without its bound."""
    found: list[Fact] = []
    with suppress(MalformedError, dpkt.Error):
        found.extend(item for item in dissector(frame) if isinstance(item, Fact) and item.subject and item.value)
    return found
