"""The failure matrix, rows of the collector's ingest: slow and full disks, poison, hostile sizes, retention.

Rows 2 and 3 (the collector is killed before the commit, after it, and before the ack) are
`tests/integration/test_collector_commands.py::test_killed_at_a_point_of_ingest`, and with whole agents
`tests/system/test_faults.py::test_row_02_row_03_the_collector_dies_at_every_point`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
import msgpack
import pytest
import zstandard
from fieldwatch_proto.columns import MAX_RAW_BYTES, digest
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.collector import Identity, Talk, batch, sealed, sighting
from support.raw_grpc import message, raw_call
from support.remote import Heard, forget_peak, joined, memory_kib, stream_of
from support.slow_disk import SlowDisk
from support.stack import Collector, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
EPOCH = 0xFEED_BEEF_0000_0003
UNKNOWN_KIND = 99  # kept raw, and nothing is made of it
SIGHTINGS = [sealed(Kind.SIGHTING, [sighting(number, bytes([10, 0, 0, number]))]) for number in range(1, 12)]
GREEDY_AGENTS, SLOW_S = 3, 6
LARGEST_WINDOW_BYTES = 16 * 128 << 10
MOST_GROWTH_KIB = 64 << 10  # 3 MiB at a time: 15 MiB an agent; gRPC's own window made it 28


def opaque(seq: int, octets: int) -> pb.Batch:
    """A batch of random octets, of a kind that nobody knows."""
    body = random.Random(seq).randbytes(octets)
    return batch(EPOCH, seq, SIGHTINGS[0], kind=UNKNOWN_KIND, body=body, digest=digest(body))


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path / "data")
    made.start()
    yield made
    if made.running:
        made.kill()


def is_ready(collector: Collector) -> tuple[int, str]:
    """Status and text of /readyz."""
    answer = httpx.get(f"http://127.0.0.1:{collector.ports['http']}/readyz", timeout=20)
    return answer.status_code, answer.json()["store"]


class Greedy:
    """An agent that does not look at its window: it sends as fast as HTTP/2 lets it."""

    def __init__(self, collector: Collector, identity: Identity, octets: int) -> None:
        self.identity, self.octets = identity, octets
        self.heard = Heard()
        self.sent = 0
        self.task = asyncio.create_task(self._push(collector))

    async def _push(self, collector: Collector) -> None:
        async with stream_of(collector, self.identity) as stream:
            await stream.hello((EPOCH, 1, 1))
            await asyncio.gather(self._listen(stream), self._send(stream))

    async def _send(self, stream: Talk) -> None:
        for seq in range(1, 10_000):
            await stream.send(opaque(seq, self.octets))
            self.sent = seq

    async def _listen(self, stream: Talk) -> None:
        while (down := await stream.call.read()) != grpc.aio.EOF:
            self.heard.take(getattr(down, down.WhichOneof("message")))


@pytest.mark.parametrize("octets", [256 << 10, 3 << 20])
async def test_row_21_slow_disk_lets_credit_fall_and_memory_stays_bounded(tmp_path: Path, octets: int) -> None:
    """Syncs of 1.5 s: a window of one message, bounded memory whatever agents send, no ack without its commit."""
    disk = SlowDisk(tmp_path)
    collector = Collector(tmp_path / "data", environ=disk.environ)
    collector.start()
    try:
        identities = [await joined(collector) for _ in range(GREEDY_AGENTS)]
        polite = await joined(collector)
        before = memory_kib(collector, "VmRSS")
        forget_peak(collector)
        disk.begin()
        async with stream_of(collector, polite) as stream:
            heard = Heard()
            heard.take(await stream.hello((EPOCH, 1, 3)))
            greedy = [Greedy(collector, identity, octets) for identity in identities]
            await stream.send(opaque(1, 1_000))
            await heard.listen(stream, until_window={1})
            await asyncio.sleep(SLOW_S)  # they push all the while
            sent = min(agent.sent for agent in greedy)
            acked = [agent.heard.acked for agent in greedy]
            marks = dict(collector.ask("SELECT agent, high_water FROM stream"))
            grown = memory_kib(collector, "VmHWM") - before
            disk.end()
            await stream.send(opaque(2, 1_000))
            await heard.listen(stream, until_acked=2)
            async with asyncio.timeout(20):
                while max(agent.heard.acked for agent in greedy) <= max(acked):  # it goes on when the disk does
                    await asyncio.sleep(0.05)
            for agent in greedy:
                agent.task.cancel()
            await asyncio.gather(*(agent.task for agent in greedy), return_exceptions=True)
            await heard.listen(stream, until_window={8, 16})
    finally:
        collector.stop()

    assert [8, 1] == heard.windows[:2]
    assert sent * octets > LARGEST_WINDOW_BYTES
    assert all(marks.get(agent.identity.agent_id, 0) >= upto for agent, upto in zip(greedy, acked, strict=True))
    assert grown < MOST_GROWTH_KIB


@pytest.mark.live
@pytest.mark.parametrize("limit", ["floor", "disk"])
def test_row_22_full_disk_pauses_agents_and_recovers(tmp_path: Path, limit: str) -> None:
    """On a filesystem of 32 MiB, at the floor of free space and with no octet left: see `full_store.py`."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a filesystem in a namespace of its own")
    data = tmp_path / "data"
    data.mkdir()
    mounting = 'mount -t tmpfs -o size=32m,mode=700 none "$0" && exec "$@"'
    done = subprocess.run(
        [
            "unshare",
            "--mount",
            "sh",
            "-c",
            mounting,
            str(data),
            sys.executable,
            "-m",
            "system.full_store",
            limit,
            str(data),
        ],
        capture_output=True,
        text=True,
        timeout=100,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )

    assert done.stdout.splitlines()[-1:] == ["conserved"], done.stdout + done.stderr


def packed(content: Any) -> tuple[int, bytes]:
    """(raw octets, body) of a map of columns, or of octets as they are."""
    raw = content if isinstance(content, bytes) else msgpack.packb(content, use_bin_type=True)
    return len(raw), zstandard.ZstdCompressor().compress(raw)


def unsized(octets: bytes) -> bytes:
    """A zstd frame that does not say how much it holds."""
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return packer.compress(octets) + packer.flush()


def poisoned(seq: int, raw_bytes: int, body: bytes, **fields: Any) -> pb.Batch:
    """A batch whose envelope is right, digest and all."""
    return batch(EPOCH, seq, SIGHTINGS[0], body=body, raw_bytes=raw_bytes, digest=digest(body), **fields)


async def test_row_23_poison_is_kept_acked_and_passed_over(collector: Collector) -> None:
    """A right digest over what cannot be decoded: a dead letter each, all acked, what comes between is projected."""
    whole = SIGHTINGS[0].body
    poison = [
        (100, b"\x00not a zstd frame"),
        (SIGHTINGS[0].raw_bytes, whole[: len(whole) // 2]),
        packed([]),
        packed({"mac": ["mac", "plain", b"\x01"]}),
        packed({"mac": ["u8", "plain", b"\x01"]}),
        packed({"mac": ["mac", "plain", bytes(6)], "interface": ["str", "dict", [["eth0"], 1, b"\x07"]]}),
    ]
    identity = await joined(collector)
    count = 2 * len(poison)
    async with stream_of(collector, identity) as stream:
        await stream.hello((EPOCH, 1, count + 1))
        for number, (raw_bytes, body) in enumerate(poison):
            await stream.send(poisoned(2 * number + 1, raw_bytes, body))
            await stream.send(batch(EPOCH, 2 * number + 2, SIGHTINGS[number]))
        await stream.acked(EPOCH, count)
    wait_for(lambda: collector.ask("SELECT min(position) FROM projection") == [(count,)], "the projections go on")

    assert [(seq,) for seq in range(1, count, 2)] == collector.ask(
        "SELECT seq FROM dead_letter JOIN batch USING (position) ORDER BY seq"
    )
    assert [(len(poison),)] == collector.ask("SELECT count(*) FROM device")
    assert [(len(poison),)] == collector.ask("SELECT count(*) FROM event WHERE type = 'agent.dead_letter'")
    assert [(raw, body) for raw, body in poison] == collector.ask(
        "SELECT raw_bytes, body FROM batch WHERE seq % 2 ORDER BY seq"
    )


async def test_row_24_hostile_sizes_cost_little(collector: Collector, tmp_path: Path) -> None:
    """Bombs, absurd counts, deep nesting, lengths of 2 GiB, over real connections: each takes less than 32 MiB."""
    identity = await joined(collector)
    await _push_one(collector, identity, 1)
    bomb = zstandard.ZstdCompressor().compress(bytes(256 << 20))
    column = ["u8", "const", b"\x01"]
    refused = [
        poisoned(2, 256 << 20, bomb),
        poisoned(2, 100, b"x", records=0xFFFF_FFFF),
        poisoned(2, 100, b"x", records=65_537),
        poisoned(2, 0xFFFF_FFFF, b"x"),
        batch(EPOCH, 2, SIGHTINGS[0], body=bytes((4 << 20) + 1)),
    ]
    kept = [
        (MAX_RAW_BYTES, bomb, {}),
        (MAX_RAW_BYTES, unsized(bytes(256 << 20)), {}),
        (*packed(bytes(MAX_RAW_BYTES)), {}),
        (*packed(b"\x91" * 1_000_000 + b"\x90"), {}),  # lists in lists
        (*packed(b"\xdd\xff\xff\xff\xff"), {}),  # a list of 2^32 - 1
        (*packed({f"c{number}": column for number in range(300)}), {}),
        (*packed({"c": ["u64", "const", bytes(1_000_000)]}), {"records": 65_536}),
        (*packed({"t": ["str", "dict", [["x" * 100_000], 1, b"\0"]]}), {}),
        (*packed({"c": ["u64", "plain", bytes(15_000_000)]}), {"records": 65_536}),
        (*packed({f"c{number}": ["ip", "const", bytes(16)] for number in range(256)}), {"records": 65_536}),
    ]
    begun = memory_kib(collector, "VmRSS")
    grown: dict[str, int] = {}
    codes, ended = [], []
    async with stream_of(collector, identity) as stream:
        await stream.hello((EPOCH, 2, 2 + len(kept)))
        for number, message_ in enumerate(refused):
            with growth(collector, f"refused {number}", grown):
                await stream.send(message_)
                codes.append((await stream.read()).code)
        for seq, (raw_bytes, body, fields) in enumerate(kept, 2):
            with growth(collector, f"kept {seq}", grown):
                await stream.send(poisoned(seq, raw_bytes, body, **fields))
                await stream.acked(EPOCH, seq)
                wait_for(
                    lambda seq=seq: collector.ask("SELECT min(position) FROM projection") == [(seq,)], "it is read"
                )
    for name, octets in RAW.items():
        with growth(collector, name, grown):
            ended.append(await asyncio.to_thread(_send_raw, tmp_path, collector, identity, octets))
    stays = memory_kib(collector, "VmRSS") - begun
    last = 1 + len(kept)
    await _push_one(collector, identity, last + 1)

    assert {pb.TOO_BIG} == set(codes)
    assert [True] * len(RAW) == ended, list(RAW)
    assert [(seq,) for seq in range(2, last + 1)] == collector.ask(
        "SELECT seq FROM dead_letter JOIN batch USING (position) ORDER BY seq"
    )
    assert {} == {name: kib for name, kib in grown.items() if kib >= MOST_GROWTH_KIB}
    assert stays < MOST_GROWTH_KIB


@contextlib.contextmanager
def growth(collector: Collector, name: str, into: dict[str, int]) -> Iterator[None]:
    """By how much resident memory was higher meanwhile, at its highest."""
    before = memory_kib(collector, "VmRSS")
    forget_peak(collector)
    yield
    into[name] = memory_kib(collector, "VmHWM") - before


LENGTH_2_GIB = b"\xff\xff\xff\xff\x07"  # 2^31 - 1 as a varint
RAW = {
    "a message that says 2 GiB": message(b"", 0x8000_0000),
    "a message that says 4 GiB": message(b"\x0a\x00", 0xFFFF_FFFF),
    "a field that says 2 GiB": message(b"\x12" + LENGTH_2_GIB + b"x"),
    "a body that says 2 GiB": message(b"\x12\x08\x5a" + LENGTH_2_GIB + b"xx"),
    "nested groups": message(b"\x0b" * 10_000),
    "compressed, with no encoding agreed": message(b"\x78\x9c\x63\x00", compressed=1),
}


def _send_raw(folder: Path, collector: Collector, identity: Identity, octets: bytes) -> bool:
    """Whether the collector ends the call."""
    with raw_call(folder, identity, collector.ports["grpc"]) as call:
        call.send(octets)
        return call.is_ended()


async def _push_one(collector: Collector, identity: Identity, seq: int) -> None:
    async with stream_of(collector, identity) as stream:
        await stream.hello((EPOCH, seq, seq + 1))
        await stream.send(batch(EPOCH, seq, SIGHTINGS[1]))
        await stream.acked(EPOCH, seq)


async def test_row_45_expired_batches_are_still_known(collector: Collector) -> None:
    """Bodies go by `expire`, and after a restart a resend is a duplicate, other octets under its number a conflict."""
    identity = await joined(collector)
    async with stream_of(collector, identity) as stream:
        await stream.hello((EPOCH, 1, 4))
        await stream.send(*(batch(EPOCH, seq, SIGHTINGS[seq]) for seq in (1, 2, 3)))
        await stream.acked(EPOCH, 3)
    wait_for(lambda: collector.ask("SELECT min(position) FROM projection") == [(3,)], "the projections catch up")
    data = str(collector.data)
    said = collector.call("expire", "--older-than", "0 s", "--data", data)
    collector.kill()
    collector.start()
    answers = []
    async with stream_of(collector, identity) as stream:
        await stream.hello((EPOCH, 1, 5))
        for seq, content in ((1, SIGHTINGS[1]), (2, SIGHTINGS[9]), (3, SIGHTINGS[3]), (4, SIGHTINGS[4])):
            await stream.send(batch(EPOCH, seq, content))
            answers.append(await stream.read())
    wait_for(lambda: collector.ask("SELECT min(position) FROM projection") == [(4,)], "the projections catch up")

    assert said.startswith("dropped the bodies of 3 batches, ")
    assert ["Ack", "Nack", "Ack", "Ack"] == [type(answer).__name__ for answer in answers]
    assert (2, pb.CONFLICT) == (answers[1].seq, answers[1].code)
    assert [(1, 0), (2, 0), (3, 0), (4, len(SIGHTINGS[4].body))] == collector.ask(
        "SELECT seq, length(body) FROM batch ORDER BY seq"
    )
    assert [(4, 4)] == collector.ask("SELECT count(*), sum(frames) FROM sighting")
    assert [(0,)] == collector.ask("SELECT count(*) FROM dead_letter")
