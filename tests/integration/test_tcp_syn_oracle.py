"""On real captures, the fingerprint of a SYN is what tshark's fields of it make."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest
from fieldwatch_agent.dissectors import tcp_syn
from fieldwatch_agent.dissectors.notes import MalformedError
from support import tshark

SAMPLE_EVERY = 12  # of the wide set: tshark takes a second a capture, twice

ALL = tshark.captures()
CAPTURES = [path for path in ALL if path.parent.name == "core"] + [p for p in ALL if p.parent.name != "core"][
    ::SAMPLE_EVERY
]

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not CAPTURES, reason="external captures: set FIELDWATCH_CORPUS"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

# Whole and without tunnel: octets of the innermost header would be another's than the fields.
FILTER = "tcp.flags.syn == 1 && tcp.flags.ack == 0 && !icmp && !icmpv6 && !_ws.malformed"
FIELDS = (
    "ip.ttl",
    "ip.flags.df",
    "ip.hdr_len",
    "ipv6.hlim",
    "tcp.window_size_value",
    "tcp.option_kind",
    "tcp.options.mss_val",
    "tcp.options.wscale.shift",
    "tcp.flags.ae",
    "tcp.flags.cwr",
    "tcp.flags.ece",
    "tcp.flags.urg",
    "tcp.flags.push",
    "tcp.flags.reset",
    "tcp.flags.fin",
)
LETTERS = {"0": "E", "1": "N", "2": "M", "3": "W", "4": "S", "8": "T", "19": "D", "29": "A", "30": "P", "34": "F"}
FLAGS = {"ae": "ae", "cwr": "cwr", "ece": "ece", "urg": "urg", "push": "psh", "reset": "rst", "fin": "fin"}


def expected(packet: tshark.Fields) -> str:
    """The signature, put together a second time from the documentation."""
    four = "ip.ttl" in packet
    ttl = int(tshark.last(packet, "ip.ttl" if four else "ipv6.hlim"))
    text = f"ip{4 if four else 6} ttl{min(first for first in (32, 64, 128, 255) if first >= ttl)}"
    if four and tshark.last(packet, "ip.flags.df") in ("1", "True"):
        text += " df"
    if four and tshark.last(packet, "ip.hdr_len") != "20":
        text += f" opt{int(tshark.last(packet, 'ip.hdr_len')) - 20}"
    window = int(tshark.last(packet, "tcp.window_size_value"))
    mss = int(tshark.last(packet, "tcp.options.mss_val") or -1)
    shown = str(window)
    ethernet = 1460 if four else 1440
    for unit in (ethernet, mss) if 0 <= mss < ethernet else (mss,):
        if unit >= 100 and window and window % unit == 0:
            shown = "max*mss" if window + unit > 65535 else f"{window // unit}*mss"
    text += f" win={shown}"
    if mss >= 0:
        text += " mss=" + ("low" if mss < 537 else "high" if mss > 1460 else "link")
    if "tcp.options.wscale.shift" in packet:
        text += " ws=" + tshark.last(packet, "tcp.options.wscale.shift")
    kinds = packet.get("tcp.option_kind", [])
    kinds = kinds[: kinds.index("0") + 1] if "0" in kinds else kinds
    if kinds:
        text += " opts=" + "".join(LETTERS.get(kind, f"?{kind}") for kind in kinds)
    others = [word for name, word in FLAGS.items() if tshark.last(packet, f"tcp.flags.{name}") in ("1", "True")]
    return text + (" " + "".join(f"+{word}" for word in others) if others else "")


def compare(capture: Path) -> tuple[list[str], list[tuple[str, ...]]]:
    """The signatures that agree, and (capture, frame, theirs, ours) where they do not."""
    agreed = []
    differences: list[tuple[str, ...]] = []
    packets = tshark.fields(capture, FILTER, FIELDS)
    if not packets:
        return [], []
    for packet, raw in zip(packets, tshark.octets(capture, FILTER, "ip", "ipv6", "tcp"), strict=True):
        if len(packet.get("ip.src", [])) + len(packet.get("ipv6.src", [])) != 1:
            continue
        frame = tshark.slow_with(packet, "tcp_syn", raw["ip"] + raw["ipv6"] + raw["tcp"])
        theirs = expected(packet)
        try:
            (item,) = tcp_syn.dissect(frame)
        except MalformedError:
            differences.append((capture.name, packet["frame.number"][0], theirs, "malformed"))
            continue
        digits = hashlib.sha256(theirs.encode()).hexdigest()[:12]
        ours = (item[2], item[4].split(",")[0])
        if ours == (theirs, f"TCP SYN {digits}"):
            agreed.append(theirs)
        else:
            differences.append((capture.name, packet["frame.number"][0], theirs, str(ours)))
    return agreed, differences


def test_fingerprints_are_what_tsharks_fields_make() -> None:
    """Over all captures at once: how many agree is part of what is pinned, lest the oracle go blind."""
    agreed: list[str] = []
    differences: list[tuple[str, ...]] = []
    for capture in CAPTURES:
        same, other = compare(capture)
        agreed += same
        differences += other

    assert differences == []
    assert (len(agreed) > 500, len(set(agreed)) > 20) == (True, True)
