"""Credit over real streams: who is too fast pauses and loses nothing, a full disk stops the flow and is told."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_collector.config import Limits
from fieldwatch_collector.store import space
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.collector import Talk, batch, enrol, running, sealed, sighting, talk, until

EPOCH = 0xFEED_BEEF_0000_0002
BATCH = sealed(Kind.SIGHTING, [sighting(number, bytes([10, 0, 0, number])) for number in range(1, 101)])


async def read_until(stream: Talk, wanted: type[Any], said: list[Any]) -> Any:
    """The next message of a kind; those before it go into `said`."""
    while not isinstance(answer := await stream.read(), wanted):
        said.append(answer)
    return answer


async def test_a_window_that_is_used_up_grows(tmp_path: Path) -> None:
    """8 messages at first; 16 for an agent that fills them while the collector has little to do."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            welcome = await stream.hello((EPOCH, 1, 41))
            await stream.send(*(batch(EPOCH, seq, BATCH) for seq in range(1, 41)))
            credit = await read_until(stream, pb.Credit, [])

    assert (8, 1 << 20) == (welcome.window_messages, welcome.window_bytes)
    assert (16, 2 << 20) == (credit.window_messages, credit.window_bytes)


async def test_an_agent_over_its_rate_pauses_and_goes_on(tmp_path: Path) -> None:
    """Credit 0, then a window again as soon as the debt is paid; all that was sent is stored."""
    limits = Limits(agent_records_per_s=400)  # 800 at once: the ninth batch of 100 is owed
    async with running(tmp_path / "data", limits=limits) as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 10))
            began = time.monotonic()
            await stream.send(*(batch(EPOCH, seq, BATCH) for seq in range(1, 10)))
            said: list[Any] = []
            pause = await read_until(stream, pb.Credit, said)
            while pause.window_messages:
                pause = await read_until(stream, pb.Credit, said)
            resumed = await read_until(stream, pb.Credit, said)
            waited_s = time.monotonic() - began
            await stream.send(batch(EPOCH, 10, BATCH))
            await stream.acked(EPOCH, 10)

        assert (0, 0) == (pause.window_messages, pause.window_bytes)
        assert resumed.window_messages > 0
        assert waited_s >= (900 - 800) / 400  # no sooner than the debt can be paid
        assert not [nack for nack in said if isinstance(nack, pb.Nack)]
        assert [(10,)] == collector.rows("SELECT count(*) FROM batch")


async def test_who_sends_in_spite_of_a_pause_is_over_quota_and_loses_nothing(tmp_path: Path) -> None:
    """What a window holds is taken, more is refused with the time to wait; the resend is stored."""
    count = 150
    limits = Limits(agent_records_per_s=400)
    async with running(tmp_path / "data", limits=limits) as collector:
        identity = await enrol(collector)
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, count + 1))
            await stream.send(*(batch(EPOCH, seq, BATCH) for seq in range(1, count + 1)))
            nacks = []
            while len(nacks) < count // 3:  # the burst, the largest window twice, and 4 a second are taken
                nacks.append(await read_until(stream, pb.Nack, []))
            held = collector.rows("SELECT count(*) FROM batch")[0][0]
        refused = sorted(nack.seq for nack in nacks)

        assert {pb.OVER_QUOTA} == {nack.code for nack in nacks}
        assert all(0 < nack.retry_ms < 60_000 for nack in nacks)
        assert held <= count - len(nacks)
        async with talk(collector, identity) as stream:
            welcome = await stream.hello((EPOCH, refused[0], count + 1))
            await read_until(stream, pb.Credit, [])
            await stream.send(batch(EPOCH, refused[0], BATCH))
            await read_until(stream, pb.Ack, [])

        assert welcome.window_messages == 0  # the debt is the agent's, another connection does not end it
        assert [(1,)] == collector.rows("SELECT count(*) FROM batch WHERE seq = ?", refused[0])


async def test_below_the_floor_nothing_is_taken_and_people_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pause and RETRY, readiness says why; an event when it begins and when it is over. No restart."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        store = collector.services.store
        async with talk(collector, identity) as stream:
            await stream.hello((EPOCH, 1, 3))
            await stream.send(batch(EPOCH, 1, BATCH))
            await stream.acked(EPOCH, 1)
            with monkeypatch.context() as patch:
                patch.setattr(space, "LOOK_EVERY_S", 0.0)
                patch.setattr(store._floor, "_min_free_bytes", 1 << 60)
                pause = await read_until(stream, pb.Credit, [])
                await stream.send(batch(EPOCH, 2, BATCH))
                nack = await read_until(stream, pb.Nack, [])
                problem = store.health().problem
                await until(lambda: _told(collector) == ["collector.store_problem"], "people are told")
            resumed = await read_until(stream, pb.Credit, [])
            await stream.send(batch(EPOCH, 2, BATCH))
            await stream.acked(EPOCH, 2)
        await until(lambda: len(_told(collector)) == 2, "people are told that it is over")

        assert (0, pb.RETRY) == (pause.window_messages, nack.code)
        assert resumed.window_messages == 8
        assert "limits.min_free_bytes" in problem
        assert ["collector.store_problem", "collector.store_recovered"] == _told(collector)
        assert "" == store.health().problem


def _told(collector: Any) -> list[str]:
    return [row[0] for row in collector.rows("SELECT type FROM event WHERE type LIKE 'collector.%' ORDER BY seq")]


async def test_a_stream_that_begins_while_the_store_is_in_trouble_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its Welcome grants nothing; the credit comes when the store takes batches again."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        with monkeypatch.context() as patch:
            patch.setattr(space, "LOOK_EVERY_S", 0.0)
            patch.setattr(collector.services.store._floor, "_min_free_bytes", 1 << 60)
            async with talk(collector, identity) as stream:
                welcome = await stream.hello((EPOCH, 1, 1))
                patch.undo()
                resumed = await asyncio.wait_for(read_until(stream, pb.Credit, []), 10)

    assert (0, 8) == (welcome.window_messages, resumed.window_messages)
