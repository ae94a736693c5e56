"""The two ends of the wire of `live.py`, each a process in a namespace of its own.

    python -m bench.live_ends send INTERFACE --seconds S --rate N --cpu N     rate 0 = as fast as it can
    python -m bench.live_ends take INTERFACE --workers N

Each says "ready" and begins at a line on standard input; the taker ends at the next one. What it came to is a line of
JSON: frames, and CPU seconds of the process, which for the sender are those of all that its frames pass up to the ring.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import socket
import sys
import threading
import time
from typing import Any

from fieldwatch_agent.config import AgentConfig, Capture
from fieldwatch_agent.pipeline import FactFilter, Pipeline, make_engine
from fieldwatch_agent.sources import LiveSource, open_sources
from fieldwatch_proto.records import Records

from bench.kernel import FRAME, conversation

FLOWS = 10_000
AT_ONCE = 256  # frames in one call of the sender
TICK_S = 1.0
SOL_PACKET, PACKET_QDISC_BYPASS = 263, 20  # packet(7)
LIBC = ctypes.CDLL(None, use_errno=True)


class _Part(ctypes.Structure):  # struct iovec
    _fields_ = (("base", ctypes.c_void_p), ("octets", ctypes.c_size_t))


class _Header(ctypes.Structure):  # struct msghdr
    _fields_ = (
        ("name", ctypes.c_void_p),
        ("name_octets", ctypes.c_uint32),
        ("parts", ctypes.POINTER(_Part)),
        ("part_count", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_octets", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    )


class _Message(ctypes.Structure):  # struct mmsghdr
    _fields_ = (("header", _Header), ("sent", ctypes.c_uint32))


def say(**told: Any) -> None:
    print(json.dumps(told), flush=True)


def send(interface: str, rate: int, seconds: float) -> None:
    """The frames of `FLOWS` conversations, in random order, again and again."""
    frames = [conversation(number)[at : at + FRAME] for number in range(FLOWS) for at in (0, FRAME)]
    random.Random(1).shuffle(frames)
    octets = ctypes.create_string_buffer(b"".join(frames))
    first = ctypes.addressof(octets)
    parts = (_Part * len(frames))()
    messages = (_Message * len(frames))()
    for number in range(len(frames)):
        parts[number] = _Part(first + FRAME * number, FRAME)
        messages[number].header.parts = ctypes.pointer(parts[number])
        messages[number].header.part_count = 1
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    link.bind((interface, 0))
    link.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    print("ready", flush=True)
    sys.stdin.readline()
    sent = 0
    busy_s, start = time.process_time(), time.monotonic()
    now = start
    while now < start + seconds:
        at = sent % len(frames)
        most = min(AT_ONCE, len(frames) - at)
        sent += max(0, LIBC.sendmmsg(link.fileno(), ctypes.byref(messages, at * ctypes.sizeof(_Message)), most, 0))
        now = time.monotonic()
        if rate and now < start + sent / rate:
            time.sleep(start + sent / rate - now)
    say(frames=sent, seconds=now - start, cpu_s=time.process_time() - busy_s)


def _drop(records: Records) -> None:
    """Records that nobody seals."""


class Taker(threading.Thread):
    """A ring, an engine with all dissectors, and the thread that they run in."""

    def __init__(self, source: LiveSource, config: AgentConfig, facts: FactFilter, over: threading.Event) -> None:
        super().__init__()
        self.source, self.engine, self._over = source, make_engine(config), over
        self._pipeline = Pipeline(self.engine, "bench", _drop, facts=facts)

    def run(self) -> None:
        next_tick = time.monotonic() + TICK_S
        while not self._over.is_set():
            self._pipeline.step(self.source)
            if time.monotonic() >= next_tick:
                self._pipeline.tick(time.time_ns())
                next_tick = time.monotonic() + TICK_S
        while self._pipeline.step(self.source) > 0:
            pass
        self._pipeline.finish()


def take(interface: str, workers: int) -> None:
    config = AgentConfig(capture=Capture(workers=workers))
    over = threading.Event()
    facts = FactFilter()
    takers = [Taker(source, config, facts, over) for source in open_sources(interface, config.capture, None)]
    for taker in takers:
        taker.start()
    print("ready", flush=True)
    sys.stdin.readline()
    busy_s = time.process_time()
    sys.stdin.readline()
    over.set()
    for taker in takers:
        taker.join()
    busy_s = time.process_time() - busy_s
    stats = [taker.source.stats() for taker in takers]
    say(
        frames=sum(taker.engine.counters().frames for taker in takers),
        drops=sum(counted.drops for counted in stats),
        freezes=sum(counted.freezes for counted in stats),
        cpu_s=busy_s,
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("end", choices=("send", "take"))
    parser.add_argument("interface")
    parser.add_argument("--rate", type=int, default=0, help="frames a second")
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--cpu", type=int, default=0, help="that the sender keeps to")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    if options.end == "send":
        os.sched_setaffinity(0, {options.cpu})
        send(options.interface, options.rate, options.seconds)
    else:
        take(options.interface, options.workers)


if __name__ == "__main__":
    main()
