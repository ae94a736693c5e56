"""On real captures, the names and fingerprints of hellos over TCP and QUIC are those of the fields that tshark reads.

The payloads come from tshark, too: what is put together here is what the kernel hands over. JA4 stands here a second
time, from its definition. Where the two differ for a reason, the difference stands in `EXCEPTIONS` with who is right.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from fieldwatch_agent.dissectors import dissect, quic, tls
from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_agent.facts import Fact
from fieldwatch_ext.capture import FileSource
from fieldwatch_ext.engine import Engine, Slow
from support import tshark
from support.tshark import Said, Tree, addresses, every, first, inner

# A record with a ClientHello, or the long header of a version that is read.
LOOKS_LIKE = rb"\x16\x03[\x00-\x04]..\x01\x00|[\xc0-\xff](?:\x00\x00\x00\x01|\x6b\x33\x43\xcf)[\x00-\x14]"
CAPTURES = tshark.captures(LOOKS_LIKE)

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not CAPTURES, reason="external captures: set FIELDWATCH_CORPUS"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

MAX_SIDE = 8192  # octets of one side of a TCP flow that the kernel hands over
IP_FIELDS = ("ip.src", "ipv6.src", "ip.dst", "ipv6.dst")
TCP_FIELDS = ("tcp.stream", "tcp.srcport", "tcp.dstport", "tcp.flags.syn", "tcp.seq", "tcp.payload")
FIELDS = (*IP_FIELDS, *TCP_FIELDS, "udp.srcport", "udp.dstport", "udp.payload")
QUIC_VERSIONS = {"0x00000001", "0x6b3343cf"}
DNS_NAME = re.compile(r"([a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
VERSIONS = {"0x0304": "13", "0x0303": "12", "0x0302": "11", "0x0301": "10", "0x0300": "s3", "0x0002": "s2"}

# capture -> what only tshark has, what only this project has, who is right and why.
EXCEPTIONS: dict[str, tuple[Said, Said, str]] = {
    "32_gnutella.pcap": (
        set(),
        {("tls", "10.0.2.15", "ja4", "t12i700800_738c12401e81_7448b1316cd7")},
        "this project: tshark takes the flow for BitTorrent, by its port",
    ),
    "tests__cfgs__default__pcap__anydesk.pcapng": (
        set(),
        {("tls", "192.168.149.129", "ja4", "t12i640500_9197985d2161_a1e935682795")},
        "this project: tshark takes the flow for HTTP, by its port",
    ),
    "tests__cfgs__default__pcap__quic-forcing-vn-with-data.pcapng": (
        set(),
        {("quic", "192.168.56.103", "ja4", "q13i0307h3_55b375c5d22e_f0736a66fa6b")},
        "this project: tshark keeps the keys of the version that the server refused",
    ),
    "testing__btest__Traces__quic__chromium-dpd-custom-port-4433.pcap": (
        set(),
        {
            ("quic", "110.213.53.115", "tls_name", "api.cirrus-ci.com"),
            ("quic", "82.239.54.117", "ja4", "q13d0311h3_55b375c5d22e_3512bcbbc9ec"),
        },
        "this project: tshark does not put together what a browser has scattered over one packet",
    ),
    "tests__cfgs__default__pcap__tls_cipher_lens.pcap": (
        {("tls", "192.168.11.11", "ja4", "t10i000000_000000000000_000000000000")},
        set(),
        "this project: the list of ciphers is longer than its hello, which has no fingerprint then",
    ),
    "tests__cfgs__default__pcap__tls_invalid_reads.pcap": (
        {
            ("tls", "10.191.139.17", "ja4", "t12d200500_6e20beb92e8e_354730cf0bf0"),
            ("tls", "192.168.10.101", "ja4", "t10i110000_c384039f30c5_000000000000"),
        },
        set(),
        "this project: the hellos contradict their lengths and have no fingerprint then",
    ),
    "tests__cfgs__default__pcap__tls_with_huge_ch.pcapng": (
        {("tls", "172.30.84.193", "ja4", "t13i1811h2_f71e3e15ae0d_5c3a8cf9b2bc")},
        set(),
        "tshark: the hello is longer than what the kernel hands over",
    ),
}


def name_of(handshake: Tree) -> str:
    """As DNS writes it; empty for an address and for what no host is called."""
    name = first(handshake, "tls.handshake.extensions_server_name").lower().removesuffix(".")
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return name if DNS_NAME.fullmatch(name) else ""
    return ""


def ja4_of(handshake: Tree, carrier: str) -> str:
    def values(field: str, tree: Tree = handshake) -> list[str]:
        found = [int(value, 0) for value in every(tree, field)]
        return [f"{value:04x}" for value in found if not re.fullmatch(r"(.a)\1", f"{value:04x}")]

    ciphers = sorted(values("tls.handshake.ciphersuite"))
    extensions = sorted(values("tls.handshake.extension.type"))
    rest = [value for value in extensions if value not in ("0000", "0010")]
    # The field is there in other extensions as well (delegated credentials).
    own = {key: value for key, value in handshake.items() if key.startswith("Extension: signature_algorithms (")}
    algorithms = values("tls.handshake.sig_hash_alg", own)
    offered = sorted(values("tls.handshake.extensions.supported_version"))
    version = f"0x{offered[-1]}" if offered else first(handshake, "tls.handshake.version")
    protocol = first(handshake, "tls.handshake.extensions_alpn_str").encode()
    ends = (protocol[:1] + protocol[-1:]).decode()
    if protocol and not re.fullmatch("[0-9A-Za-z]{2}", ends):
        ends = protocol.hex()[0] + protocol.hex()[-1]
    hashed = [",".join(ciphers), ",".join(rest) + ("_" + ",".join(algorithms) if algorithms else "")]
    return "_".join(
        [
            f"{carrier}{VERSIONS.get(version, '00')}{'d' if '0000' in extensions else 'i'}"
            f"{min(len(ciphers), 99):02}{min(len(extensions), 99):02}{ends or '00'}",
            *(hashlib.sha256(text.encode()).hexdigest()[:12] if text else "0" * 12 for text in hashed),
        ]
    )


def is_host(ip: str) -> bool:
    address = ipaddress.ip_address(ip)
    kinds = (
        address.is_multicast,
        address.is_unspecified,
        address.is_loopback,
        address.version == 4 and address.is_reserved,
    )
    return not any(kinds)


@cache
def heard(capture: Path) -> list[tuple[str, Tree, Tree]]:
    """(tls or quic, packet, handshake) of every ClientHello that tshark reads."""
    return [
        ("quic" if "quic" in packet else "tls", packet, handshake)
        for packet in tshark.trees(capture, "tls.handshake.type==1", "ip ipv6 tcp udp tls quic")
        for handshake in every(packet, "tls.handshake")
        if isinstance(handshake, dict) and handshake.get("tls.handshake.type") == "1"
    ]


def frames(capture: Path) -> Iterator[tuple[str, Slow]]:
    """(TCP stream or "", frame) as the kernel hands them over."""
    sides: dict[tuple[str, str], tuple[dict[str, str], dict[int, bytes]]] = {}
    with_payload = "tcp.len > 0 || quic"  # at any port: which ones are handed over is the kernel's matter
    for row in tshark.innermost_rows(capture, with_payload, FIELDS):
        if row["tcp.stream"]:
            pieces = sides.setdefault((row["tcp.stream"], row["tcp.srcport"]), (row, {}))[1]
            at = int(row["tcp.seq"]) - (0 if row["tcp.flags.syn"] in ("1", "True") else 1)
            pieces.setdefault(at, bytes.fromhex(row["tcp.payload"]))
        elif int(row["udp.payload"][:2] or "0", 16) & 0x80:
            yield "", slow("quic", row, "udp", bytes.fromhex(row["udp.payload"]))
    for (stream, _), (row, pieces) in sides.items():
        side = bytearray()
        for at in sorted(pieces):
            if at <= len(side):
                side += pieces[at][len(side) - at :]
        if side[:2] == b"\x16\x03" and side[5:6] == b"\1":
            yield stream, slow("tls", row, "tcp", bytes(side[:MAX_SIDE]))


def slow(protocol: str, row: dict[str, str], transport: str, payload: bytes) -> Slow:
    source, destination = (ipaddress.ip_address(row[f"ip.{end}"] or row[f"ipv6.{end}"]) for end in ("src", "dst"))
    source_port, destination_port = (int(row[f"{transport}.{end}port"]) for end in ("src", "dst"))
    return Slow(1, 1, protocol, b"", b"", 0, source.packed, destination.packed, source_port, destination_port, payload)


def said(capture: Path) -> dict[str, Said]:
    """Facts by TCP stream; those of QUIC under ""."""
    found: dict[str, Said] = {}
    for stream, frame in frames(capture):
        facts = found.setdefault(stream, set())
        try:
            for item in (tls if frame.protocol == "tls" else quic).dissect(frame):
                assert isinstance(item, Fact)
                if item.subject:
                    facts.add((item.source, item.subject, item.key, item.value))
        except MalformedError:
            pass
    return found


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_hellos_are_those_that_tshark_reads(capture: Path) -> None:
    quic._waiting.begun.clear()
    found = said(capture)
    actual = {fact for facts in found.values() for fact in facts}
    expected: Said = set()
    streams: set[str] = set()
    for carrier, packet, handshake in heard(capture):
        stream = first(inner(packet, "tcp"), "tcp.stream")
        if carrier == "tls":
            # Of a TCP flow that begins with a hello, that one; hellos behind others are not handed over.
            if stream not in found or stream in streams:
                continue
            streams.add(stream)
        elif first(inner(packet, "udp"), "udp.dstport") != "443" or not QUIC_VERSIONS & set(
            every(packet, "quic.version")
        ):
            continue
        source, destination = addresses(packet)
        expected.add((carrier, destination, "tls_name", name_of(handshake)))
        expected.add((carrier, source, "ja4", ja4_of(handshake, carrier[0])))
    expected = {fact for fact in expected if fact[-1] and is_host(fact[1])}
    missing, extra, _ = EXCEPTIONS.get(capture.name, (set(), set(), ""))

    assert (missing, extra) == (expected - actual, actual - expected)


def handed_over(capture: Path) -> Said:
    """Facts of what the kernel hands over, without the subject: it may know a MAC."""
    found: Said = set()
    engine = Engine()

    def take() -> None:
        for frame in engine.take_slow():
            if frame.protocol in ("tls", "quic"):
                found.update((item.source, item.key, item.value) for item in dissect(frame) if isinstance(item, Fact))
        engine.take_flows()
        engine.take_sightings()

    fd = os.open(capture, os.O_RDONLY)
    try:
        source = FileSource(fd)
        while engine.process(source) >= 0:
            take()
        while engine.flush():
            take()
        take()
    finally:
        os.close(fd)
    return found


def test_the_kernel_hands_over_what_there_is_to_read() -> None:
    """The same facts as from the streams and datagrams that tshark puts together, at whatever port."""
    agreed = 0
    differences = {}
    for capture in CAPTURES:
        quic._waiting.begun.clear()
        ours = handed_over(capture)
        quic._waiting.begun.clear()
        theirs = {(fact[0], *fact[2:]) for facts in said(capture).values() for fact in facts}
        agreed += len(ours & theirs)
        if ours != theirs:
            differences[capture.name] = (theirs - ours, ours - theirs)

    # Inside CAPWAP, which is not decoded.
    only_there = {
        ("tls", "ja4", "t12d140800_c866b44c5a26_b39be8c56a14"),
        ("tls", "tls_name", "alt2-mtalk.google.com"),
    }
    assert differences == {"tests__cfgs__default__pcap__capwap_data.pcapng": (only_there, set())}
    assert agreed > 230


def test_the_captures_hold_hellos_of_both() -> None:
    """Else an oracle that has gone blind would agree with everything."""
    assert {carrier for capture in CAPTURES for carrier, _, _ in heard(capture)} == {"quic", "tls"}
