"""What who keeps to no rule costs the collector: an enrolled agent, and anybody at the public ports.

Each figure of memory is the highest of the real process that is resident, above what it had before. The bounds of what
one may do are tested in `tests/integration/`: `test_hostile_agents.py`, `test_callers.py`, `test_http_connections.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import struct
from collections.abc import Iterator
from pathlib import Path

import grpc.aio
import pytest
from fieldwatch_collector.config import ENV_PREFIX
from fieldwatch_proto.columns import digest
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc
from support.collector import batch, sealed, sighting
from support.deaf import deaf_channel, say
from support.raw_http2 import connection
from support.remote import forget_peak, joined, memory_kib, stream_of
from support.stack import Collector

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]
EPOCH = 0xBAD0
UNKNOWN_KIND = 99
SIGHTING = sealed(Kind.SIGHTING, [sighting(1)])
LITTLE_CACHE = {f"{ENV_PREFIX}__LIMITS__CACHE_BYTES": str(2 << 20)}
DEAF_STREAMS, DEAF_OCTETS = 4, 3 << 20
MOST_DEAF_KIB = 160 << 10  # 372 MiB are sent, of which 64 MiB may wait for a commit
MOST_KIB = 64 << 10
HALF_SENT, HALF_OCTETS = 1_500, 100_000  # 143 MiB
FEW_DESCRIPTORS = ["prlimit", "--nofile=1024:1024"]  # what systemd gives
CONNECTIONS = 1_200


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    made = Collector(tmp_path / "data", environ=LITTLE_CACHE)
    made.start()
    yield made
    made.kill()


async def test_batches_are_not_kept_for_an_agent_that_reads_no_acks(collector: Collector) -> None:
    """Four streams that take no octet of an answer, each with as many batches as are read of it."""
    identity = await joined(collector)
    before = memory_kib(collector, "VmRSS")
    forget_peak(collector)

    async def push(channel: grpc.aio.Channel, epoch: int) -> None:
        call = agent_pb2_grpc.IngestStub(channel).Push()
        await say(call, pb.Hello(protocol=1))
        for seq in range(1, 100):
            body = random.Random(seq).randbytes(DEAF_OCTETS)
            await say(call, batch(epoch, seq, SIGHTING, kind=UNKNOWN_KIND, body=body, digest=digest(body)))

    async with contextlib.AsyncExitStack() as opened:
        channels = [
            await opened.enter_async_context(deaf_channel(identity, collector.ports["grpc"]))
            for _ in range(DEAF_STREAMS)
        ]
        pushing = [asyncio.create_task(push(channel, EPOCH + n)) for n, channel in enumerate(channels)]
        stored, quiet = 0, 0
        while quiet < 20:  # nothing more is taken for two seconds
            await asyncio.sleep(0.1)
            now = collector.ask("SELECT count(*) FROM batch")[0][0]
            stored, quiet = now, quiet + 1 if now == stored and stored else 0
        grown = memory_kib(collector, "VmHWM") - before
        for task in pushing:
            task.cancel()
        await asyncio.gather(*pushing, return_exceptions=True)

    assert stored > DEAF_STREAMS
    assert grown < MOST_DEAF_KIB


async def test_a_status_of_millions_of_parts_costs_little(collector: Collector) -> None:
    """Two octets each on the wire, an object each in memory; the call ends with what is wrong."""
    identity = await joined(collector)
    before = memory_kib(collector, "VmRSS")
    forget_peak(collector)
    empty_health = b"\x8a\x01\x00"  # field 17, no octets
    codes = []
    async with identity.channel(collector.ports["grpc"]) as channel:
        for _ in range(3):
            call = channel.stream_stream("/fieldwatch.v1.Control/Session", bytes, bytes)()
            await call.write(empty_health * (8_000_000 // len(empty_health)))
            codes.append(await asyncio.wait_for(call.code(), 20))
    grown = memory_kib(collector, "VmHWM") - before

    assert [grpc.StatusCode.INVALID_ARGUMENT] * 3 == codes
    assert grown < MOST_KIB


async def test_requests_sent_by_halves_do_not_fill_the_memory(collector: Collector) -> None:
    """One connection of nobody in particular, and as many calls as it may have, none of which is ever complete."""
    before = memory_kib(collector, "VmRSS")
    forget_peak(collector)
    beginning = b"\0" + struct.pack(">I", HALF_OCTETS + 1) + bytes(HALF_OCTETS)
    async with connection(collector.ports["public_grpc"]) as nobody:
        for _ in range(HALF_SENT):
            await nobody.send(nobody.call("/fieldwatch.v1.Query/ListDevices"), beginning)
        grown = memory_kib(collector, "VmHWM") - before
    async with asyncio.timeout(20):
        while not await is_let_in(collector):  # its calls end with its connection
            await asyncio.sleep(0.1)

    assert nobody.sent_octets > 100 * HALF_OCTETS
    assert grown < MOST_KIB


async def is_let_in(collector: Collector) -> bool:
    """Whether a new agent is."""
    try:
        await joined(collector)
    except grpc.aio.AioRpcError as refused:
        if refused.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
            raise
        return False
    return True


@pytest.mark.parametrize("port", ["http", "public_grpc"])
async def test_connections_of_nobody_leave_descriptors_for_agents(tmp_path: Path, port: str) -> None:
    """More than there are descriptors, and nothing is said on any: another port answers, and an agent is let in."""
    collector = Collector(tmp_path / "data", FEW_DESCRIPTORS)
    collector.start()
    try:
        identity = await joined(collector)
        async with contextlib.AsyncExitStack() as opened:
            for _ in range(CONNECTIONS):
                _, writer = await asyncio.open_connection("127.0.0.1", collector.ports[port])
                opened.callback(writer.transport.abort)
            async with stream_of(collector, identity) as stream:
                await stream.hello((EPOCH, 1, 2))
                await stream.send(batch(EPOCH, 1, SIGHTING))
                await stream.acked(EPOCH, 1)
            used = len(os.listdir(f"/proc/{collector.process.pid}/fd")) if collector.process else 0
        assert collector.running
    finally:
        collector.kill()

    assert used < 1_024 - 256
