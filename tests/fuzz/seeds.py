"""What the coverage-guided fuzzer begins with: what our own generators write, and the external core set where it is."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from pathlib import Path

from fieldwatch_ext.engine import Slow
from support.capture_files import pcap, pcapng
from support.conversions import MICROSECOND_FORMS, NANOSECOND_FORMS, Captured, captured
from support.hostile import on_the_wire
from support.traffic import ETHERNET_FRAMES, OTHER_LINKS

from fuzz.inputs import frames_input, message_input

CORPUS = os.environ.get("FIELDWATCH_CORPUS")
GOLDEN_OF = Path(__file__).parents[1] / "unit/dissectors"
FRAMES_OF_A_CAPTURE = 12
OCTETS_OF_A_CAPTURE = 4_096


def golden() -> list[Slow]:
    """The messages that the dissectors' own tests are written down with."""
    sys.path.append(str(GOLDEN_OF))
    messages: list[Slow] = import_module("test_dissect").GOLDEN
    return messages


def seeds() -> dict[str, list[bytes]]:
    """Inputs by target."""
    messages = golden()
    core = sorted(Path(CORPUS, "core").glob("*.pcap")) if CORPUS else []
    frames = [frames_input(1, [on_the_wire(message)]) for message in messages]
    frames += [frames_input(1, group) for group in ETHERNET_FRAMES.values()]
    frames += [frames_input(linktype, group) for linktype, group in OTHER_LINKS.items()]
    frames += [frames_input(1, [octets for _, octets, _ in captured(path)[1][:FRAMES_OF_A_CAPTURE]]) for path in core]
    some: list[Captured] = [(n * 10**9, frame, len(frame)) for n, frame in enumerate(ETHERNET_FRAMES["tcp"])]
    captures = [form(some) for form in (*NANOSECOND_FORMS.values(), *MICROSECOND_FORMS.values())]
    captures += [pcap(some, magic=0xA1B2CD34), pcapng(some, tsresol=0x94, tsoffset_s=-1)]
    captures += [path.read_bytes()[:OCTETS_OF_A_CAPTURE] for path in core]
    return {
        "frames": frames,
        "capture": captures,
        "message": [message_input(message) for message in messages],
    }
