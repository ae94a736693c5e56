"""Payloads of real captures as the kernel hands them to dissectors, cut out by tshark beside what it reads in them."""

from __future__ import annotations

import ipaddress
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import dpkt
import tshark_oracle as oracle
from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_agent.facts import Binding, Fact
from fieldwatch_ext.engine import Slow

CORPUS = os.environ.get("FIELDWATCH_CORPUS")
FOLDERS = ("core", "wide")
TS_NS = 1_700_000_000_000_000_000

# Every segment by itself: the kernel joins none for these protocols.
OPTIONS = ("-n", "-o", "tcp.desegment_tcp_streams:FALSE", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE")


def captures(mark: bytes) -> list[Path]:
    """Files in which the octets of the pattern stand anywhere: a quick sieve before tshark looks."""
    assert CORPUS is not None
    files = sorted(path for folder in FOLDERS for path in Path(CORPUS, folder).rglob("*.pcap*"))
    return [path for path in files if re.search(mark, path.read_bytes(), re.DOTALL)]


def packets(capture: Path, only: str, layers: str) -> list[oracle.Tree]:
    """The layers of every packet that the filter lets pass, addresses and transport among them."""
    command = ["tshark", *OPTIONS, "-r", str(capture), "-Y", only, "-T", "json", "--no-duplicate-keys"]
    command += ["-J", f"frame eth ip ipv6 tcp udp {layers}"]
    result = subprocess.run(command, capture_output=True, timeout=60, check=False)
    return [packet["_source"]["layers"] for packet in json.loads(result.stdout or b"[]")]


def slow(packet: oracle.Tree, protocol: str) -> Slow:
    """The frame as the kernel would hand it over, VLANs aside."""
    transport = "udp" if "udp" in packet else "tcp"
    layer = oracle.inner(packet, transport)
    source, destination = (ipaddress.ip_address(text).packed for text in oracle.addresses(packet))
    ethernet = oracle.inner(packet, "eth")
    return Slow(
        int(oracle.first(packet, "frame.number")),
        TS_NS,
        protocol,
        octets(oracle.first(ethernet, "eth.src")),
        octets(oracle.first(ethernet, "eth.dst")),
        0,
        source,
        destination,
        int(oracle.first(layer, f"{transport}.srcport")),
        int(oracle.first(layer, f"{transport}.dstport")),
        octets(oracle.first(layer, f"{transport}.payload")),
    )


def read(dissector: Callable[[Slow], Iterator[Fact | Binding]], frame: Slow) -> list[Fact]:
    """The facts that `dissect` would keep, without its bound."""
    found: list[Fact] = []
    with suppress(MalformedError, dpkt.Error):
        found.extend(item for item in dissector(frame) if isinstance(item, Fact) and item.subject and item.value)
    return found


def records(layer: oracle.Tree, section: str) -> list[oracle.Tree]:
    """Of a section that lists them by their text; records of the same text stand in one list."""
    listed = layer.get(section)
    if not isinstance(listed, dict):  # a text where there was nothing to list
        return []
    return [record for found in listed.values() for record in (found if isinstance(found, list) else [found])]


def octets(text: str) -> bytes:
    """Of "0a:0b:0c"."""
    return bytes.fromhex(text.replace(":", ""))
