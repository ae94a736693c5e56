"""What a coverage-guided fuzzer may feed us with: octets, run through what reads them, judged by invariants.

``python -m fuzz.inputs TARGET [arguments of libFuzzer]`` in the environment of `fuzz.guided`; with a file it
runs that input alone. Each input is judged by itself, so that a finding is repeated by its file.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable
from importlib import import_module

from fieldwatch_agent import dissectors
from fieldwatch_agent.dissectors import quic
from fieldwatch_ext.capture import FileSource, MemorySource
from fieldwatch_ext.engine import Engine, Slow
from fieldwatch_ext.errors import CaptureError
from support.hostile import MAX_FACTS_A_FRAME, run_engine

LINKTYPES = (1, 0, 9, 51, 101, 104, 105, 108, 113, 119, 127, 163, 192, 228, 229, 276)
GAP_UNIT_NS = 500_000_000
MAX_FRAMES = 64
MACS = (b"\x02\0\0\0\0\x0a", b"\x02\0\0\0\0\x0b")


def frames_input(linktype: int, frames: Iterable[bytes]) -> bytes:
    """The input of `run_frames`: place of the linktype, then each frame behind a gap (octet) and its length (two)."""
    parts = [b"\0" + len(frame).to_bytes(2, "big") + frame for frame in frames]
    return bytes([LINKTYPES.index(linktype)]) + b"".join(parts)


def run_frames(data: bytes) -> None:
    """A few frames of one link into small tables, and what they hand over into the dissectors."""
    if not data:
        return
    frames: list[tuple[int, bytes]] = []
    at, now_ns = 1, 0
    while at + 3 <= len(data) and len(frames) < MAX_FRAMES:
        now_ns += data[at] * GAP_UNIT_NS
        end = at + 3 + int.from_bytes(data[at + 1 : at + 3], "big")
        frames.append((now_ns, data[at + 3 : end]))
        at = end
    quic._waiting.begun.clear()
    engine = Engine(max_flows=16, max_sightings=64, active_ns=data[0] >> 4 << 30)
    run_engine(MemorySource(frames, linktype=LINKTYPES[data[0] % 16 % len(LINKTYPES)]), engine)


def run_capture(data: bytes) -> None:
    """A capture file: read to its end, or refused with CaptureError."""
    descriptor = os.memfd_create("capture")
    try:
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        with contextlib.suppress(CaptureError), FileSource(descriptor) as source:
            run_engine(source, Engine(max_flows=16, max_sightings=64))
    finally:
        os.close(descriptor)


def message_input(slow: Slow) -> bytes:
    """The input of `run_message`: place of the protocol, length of the address, then the payload."""
    return bytes([dissectors.DISSECTORS.index(slow.protocol), len(slow.src_ip)]) + slow.payload


def run_message(data: bytes) -> None:
    """One message into its dissector."""
    if len(data) < 2:
        return
    protocol = dissectors.DISSECTORS[data[0] % len(dissectors.DISSECTORS)]
    src_ip, dst_ip = (
        (bytes.fromhex("fe80") + bytes(13) + b"\1", bytes.fromhex("ff02") + bytes(13) + b"\xfb")
        if data[1] == 16
        else (b"\x0a\0\0\1", b"\x0a\0\0\2")
    )
    quic._waiting.begun.clear()
    assert len(dissectors.dissect(Slow(1, 0, protocol, *MACS, 0, src_ip, dst_ip, 53, 443, data[2:]))) <= (
        MAX_FACTS_A_FRAME
    )


TARGETS: dict[str, Callable[[bytes], None]] = {
    "frames": run_frames,
    "capture": run_capture,
    "message": run_message,
}


def main() -> None:
    import atheris  # type: ignore[import-not-found,unused-ignore]  # x86-64 alone, and only with its runtime preloaded

    name, *arguments = sys.argv[1:]
    for protocol in dissectors.DISSECTORS:
        module = import_module(f"{dissectors.__name__}.{protocol}")
        for function in vars(module).values():
            if getattr(function, "__module__", "").startswith(dissectors.__name__) and hasattr(function, "__code__"):
                atheris.instrument_func(function)
    atheris.Setup([sys.argv[0], *arguments], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
