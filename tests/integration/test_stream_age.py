"""No stream lives for ever: after half an hour, more or less, its agent is sent away, and opens another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fieldwatch_agent.enrolment.identity import Credentials, store_identity
from fieldwatch_agent.enrolment.identity import Identity as AgentIdentity
from fieldwatch_collector.ingest import stream as ingest_stream
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.collector import Identity, Running, enrol, pem, running, talk
from support.shipping import flows, ship
from support.stack import wait_for

EPOCH, STREAMS, AGE_S = 0xA6E, 8, 1.0


@pytest.fixture
async def collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """Its streams are old after a second."""
    assert ingest_stream.STREAM_AGE_S == 30 * 60
    monkeypatch.setattr(ingest_stream, "STREAM_AGE_S", AGE_S)
    async with running(tmp_path / "data") as made:
        yield made


async def test_streams_that_began_together_end_one_after_the_other(collector: Running) -> None:
    """Each within a fifth of its age, by a GoAway that says why, so that agents do not come back in step."""
    identity = await enrol(collector)

    async def life() -> tuple[float, float]:
        """Seconds since it was asked for, and since its Welcome was here: how old the stream is lies between them."""
        async with talk(collector, identity) as stream:
            asked = time.monotonic()
            await stream.hello((EPOCH, 1, 1))
            begun = time.monotonic()
            away = await stream.read()
            ended = time.monotonic()
            assert isinstance(away, pb.GoAway)
            assert away.reason == "the stream is old; open another"
            assert 0 < away.retry_ms <= 3_000
            assert await stream.read() is None
            return ended - asked, ended - begun

    lives = await asyncio.gather(*(life() for _ in range(STREAMS)))

    since_asked, since_begun = zip(*lives, strict=True)
    assert min(since_asked) > 0.79 * AGE_S
    assert max(since_begun) - min(since_begun) > 0.02 * AGE_S


async def test_an_agent_that_is_sent_away_loses_and_repeats_nothing(collector: Running, tmp_path: Path) -> None:
    """The real shipper goes on over one stream after the other; each batch is stored once, and no number is missing."""
    folder = tmp_path / "agent"
    folder.mkdir()
    keep_identity(folder, await enrol(collector), collector)

    sealed_batches, streams = await asyncio.to_thread(ship_over_streams, folder, collector, 3)

    assert streams >= 3
    assert collector.rows("SELECT count(*), count(DISTINCT digest) FROM batch") == [(sealed_batches, sealed_batches)]
    assert collector.rows("SELECT high_water, sparse FROM stream") == [(sealed_batches, "[]")]
    assert collector.rows("SELECT count(*) FROM gap") == [(0,)]


def keep_identity(folder: Path, mine: Identity, collector: Running) -> None:
    """As the command `enrol` leaves it."""
    place = AgentIdentity(
        mine.agent_id,
        mine.site,
        "127.0.0.1",
        collector.server.ports["grpc"],
        collector.server.ports["public_grpc"],
        0,
        1 << 40,
    )
    key = mine.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    store_identity(folder, place, Credentials(key, pem(mine.certificate_der), pem(mine.ca_der)))


def ship_over_streams(folder: Path, collector: Running, streams: int) -> tuple[int, int]:
    """Seal without a pause until so many streams were opened; how many batches, and streams, there were."""
    number = 0
    with ship(folder, f"127.0.0.1:{collector.server.ports['grpc']}") as line:
        deadline = time.monotonic() + 60
        while line.shipper.tries < streams:
            assert time.monotonic() < deadline, "no stream is ended"
            line.seal(flows(number, 2))
            number += 1
        wait_for(lambda: line.is_empty, "all is acked")
        return number, line.shipper.tries
