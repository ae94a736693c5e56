"""Rows 15 to 19 and 28 of the failure matrix: what networks do, between a real agent and a real collector over TLS.

The oracle is what was put into the spool: every record is stored once, or declared with its count.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_agent.control.freshness import Freshness
from fieldwatch_agent.shipper.shipper import KEEPALIVE_S, KEEPALIVE_TIMEOUT_S
from fieldwatch_agent.shipper.window import DEFAULT_BYTES
from fieldwatch_agent.spool.control import read_status
from fieldwatch_agent.spool.items import SpoolError
from fieldwatch_agent.spool.store import Store
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.capture_files import pcap
from support.collector import Talk, batch, enrol, running, talk
from support.proxy import Proxy, Shape
from support.scripted import Authority, Conversation, ScriptedCollector
from support.sender import frame
from support.shipping import agent_id_of, enrolled, facts, fill, flows, marks, ship, stored_records
from support.stack import Agent, Collector, wait_for

from system import outage
from system.kills import QUICK

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
RECORDS = 20  # a batch
LINE_SPEED = 4  # row 17 runs so many times as fast as its name says: all times shorter, the rate higher


@pytest.fixture(scope="module")
def collector(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    made = Collector(tmp_path_factory.mktemp("network") / "collector")
    made.start()
    yield made
    made.kill()


@pytest.fixture
def agent(collector: Collector, tmp_path: Path) -> Agent:
    return enrolled(collector, tmp_path / "agent")


def test_row_15_days_without_a_network(tmp_path: Path) -> None:
    """The backlog of a quarter of a day (`python -m system.outage --days 7` by hand) over connections that are reset:
    every record is delivered or declared evicted, facts outlive flows, and memory does not know how much waited.
    """
    verdict = outage.run(tmp_path, 0.25, seconds=100)

    assert verdict.lost == 0, verdict.line()
    assert verdict.declared > 0
    assert verdict.facts_stored == verdict.facts_put
    assert verdict.resets >= 2
    assert verdict.peak_kib < verdict.idle_kib + (4_000_000 >> 10), verdict.line()  # half of what it would take
    assert [sparse for _, sparse in verdict.marks] == ["[]"]


def test_row_16_a_half_open_connection_is_found_out(collector: Collector, agent: Agent) -> None:
    """The line swallows everything and says nothing: the stream is given up in the time of the keepalive, what was
    sent meanwhile is sent again, and it is stored once.
    """
    fill(agent.data, [flows(0)])
    with (
        Proxy(collector.ports["grpc"]) as proxy,
        ship(agent.data, proxy.address, agent_id_of(agent), keepalive=(1.0, 1.0)) as line,
    ):
        wait_for(lambda: line.is_empty, "the first batch is acked")
        proxy.half_open(swallow=True)
        begun = time.monotonic()
        for number in range(1, 6):
            line.seal(flows(number))
        wait_for(lambda: not line.is_connected, "the connection is given up")
        took = time.monotonic() - begun
        proxy.half_open(swallow=False)
        proxy.reset()  # the next try may hang in its handshake: whoever comes back knows nothing of it
        wait_for(lambda: line.is_empty, "all is acked over another connection")

    assert KEEPALIVE_S + KEEPALIVE_TIMEOUT_S <= 90
    assert took < 20, took  # 2 s on an idle machine; by the times that are shipped it would be over a minute
    assert stored_records(collector, line.agent_id, Kind.FLOW) == 6 * RECORDS
    assert marks(collector, line.agent_id) == [(6, "[]")]


def test_row_17_a_bad_link_makes_progress(collector: Collector, agent: Agent) -> None:
    """30 % loss, 2 s round trip, 64 kbit/s: no stream is given up for being slow, the window follows the link, and
    nothing is sent twice.
    """
    bad = Shape(delay_s=1.0 / LINE_SPEED, bytes_per_s=8_000 * LINE_SPEED, loss=0.3)
    fill(agent.data, [flows(number, 200) for number in range(12)])
    with Proxy(collector.ports["grpc"], bad, seed=17) as proxy, ship(agent.data, proxy.address) as line:
        wait_for(lambda: line.is_empty, "all is acked", 150)
        tries, limit, carried = line.shipper.tries, line.shipper.pace.limit(), proxy.carried

    sent = collector.ask("SELECT sum(length(body)) FROM batch WHERE agent=?", agent_id_of(agent))[0][0]
    assert stored_records(collector, agent_id_of(agent), Kind.FLOW) == 12 * 200
    assert marks(collector, agent_id_of(agent)) == [(12, "[]")]
    assert tries == 1
    assert limit < DEFAULT_BYTES / 2, limit
    assert carried < 1.3 * sent + 30_000, (carried, sent)


def test_row_17_a_line_that_stands_still(collector: Collector, agent: Agent) -> None:
    """For a while nothing passes in either direction and nothing is lost: what is sealed waits on disk, no more is in
    flight than the window allows, and it goes on over the same connection.
    """
    with Proxy(collector.ports["grpc"]) as proxy, ship(agent.data, proxy.address) as line:
        line.seal(flows(0))
        wait_for(lambda: line.is_empty, "the first batch is acked")
        proxy.stall(stalled=True)
        for number in range(1, 101):
            line.seal(flows(number))
        before = proxy.carried
        still_there = line.spool.call(Store.status).batches
        proxy.stall(stalled=False)
        wait_for(lambda: line.is_empty, "all is acked")
        connections = proxy.connections

    assert still_there == 100
    assert proxy.carried > before
    assert connections == 1
    assert stored_records(collector, agent_id_of(agent), Kind.FLOW) == 101 * RECORDS
    assert marks(collector, agent_id_of(agent)) == [(101, "[]")]


def test_row_18_resets_in_the_middle_of_messages(collector: Collector, agent: Agent) -> None:
    """Every connection is reset after some octets, in both halves of a message, and made to the collector twice: all
    is stored once, and no number is missing.
    """
    batches = 200
    fill(agent.data, (facts(number) if number % 5 == 0 else flows(number) for number in range(batches)))
    dice = random.Random(18)
    with Proxy(collector.ports["grpc"]) as proxy:
        proxy.twice = True
        proxy.reset_after(lambda: dice.randrange(500, 25_000))
        with ship(agent.data, proxy.address) as line:
            wait_for(lambda: proxy.resets >= 2, "some resets", 60)
            proxy.cut()
            wait_for(lambda: line.is_empty, "all is acked", 60)
    assert proxy.resets >= 5

    assert stored_records(collector, agent_id_of(agent), Kind.FLOW) == batches * 4 // 5 * RECORDS
    assert stored_records(collector, agent_id_of(agent), Kind.FACT) == batches // 5
    assert marks(collector, agent_id_of(agent)) == [(batches, "[]")]
    assert collector.ask("SELECT count(*) FROM gap WHERE agent=?", agent_id_of(agent)) == [(0,)]


async def test_row_18_messages_that_come_twice_and_out_of_order(tmp_path: Path) -> None:
    """Each message three times, all of them shuffled, on two streams at once: stored once, and no number is missing."""
    epoch, count = 0xFEED, 60
    messages = [batch(epoch, seq, flows(seq).sealed) for seq in range(1, count + 1)] * 3
    random.Random(18).shuffle(messages)
    async with running(tmp_path / "data") as local:
        identity = await enrol(local)
        async with talk(local, identity) as one, talk(local, identity) as other:
            for stream in (one, other):
                await stream.hello((epoch, 1, count + 1))
            for number in range(0, len(messages), 8):
                await asyncio.gather(
                    one.send(*messages[number : number + 4]), other.send(*messages[number + 4 : number + 8])
                )
            await asyncio.gather(_heard_out(one), _heard_out(other))
        stored = local.rows("SELECT seq, records FROM batch ORDER BY seq")
        mark = local.rows("SELECT high_water, sparse FROM stream")

    assert stored == [(seq, RECORDS) for seq in range(1, count + 1)]
    assert mark == [(count, "[]")]


async def _heard_out(stream: Talk) -> None:
    """Say goodbye and read until the collector has answered everything."""
    await stream.send(pb.Bye())
    await stream.call.done_writing()
    while (answer := await stream.read()) is not None:
        assert isinstance(answer, pb.Ack | pb.Credit), answer


def test_row_19_an_ack_that_is_lost_ten_thousand_times(tmp_path: Path) -> None:
    """The collector commits and the stream breaks before the ack, 10,000 acks long: each batch is the same each time,
    and when acks come again nothing is sent that the spool does not hold.
    """
    authority = Authority()
    lost, wanted, batches = 0, 10_000, 16
    committed: dict[tuple[int, int], bytes] = {}
    repeats: list[int] = []

    async def script(talk: Conversation) -> None:
        nonlocal lost
        await talk.welcome(messages=batches)
        while isinstance(message := await talk.hear(), pb.Batch):
            known = committed.setdefault((message.epoch, message.seq), message.digest)
            assert known == message.digest
            if lost < wanted:
                lost += 1
                if message.seq == batches:
                    return
            else:
                repeats.append(message.seq)
                await talk.say(pb.Ack(epoch=message.epoch, upto=message.seq))

    fill(tmp_path, [flows(number) for number in range(batches)])
    with ScriptedCollector(authority, script) as scripted:
        address = authority.enrol(tmp_path, scripted.port).address
        with ship(tmp_path, address, retry_max_s=0.01) as line:
            wait_for(lambda: line.is_empty, "the acks come through at last", 120)
    assert scripted.failures == []
    assert lost == wanted
    assert len(committed) == batches
    assert repeats == list(range(1, batches + 1))


def test_row_28_no_clock_matters_to_delivery(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock says 1970, ten years on, and goes back an hour in the middle of a stream: nothing waits, nothing is
    given up, nothing is sent twice.
    """
    authority = Authority()
    offset = 0.0
    real_time, real_time_ns = time.time, time.time_ns
    monkeypatch.setattr(time, "time", lambda: real_time() + offset)
    monkeypatch.setattr(time, "time_ns", lambda: real_time_ns() + int(offset * 1e9))
    ten_years = 10 * 365 * 86_400.0
    seen: list[int] = []

    async def script(talk: Conversation) -> None:
        nonlocal offset
        await talk.welcome()
        while isinstance(message := await talk.hear(), pb.Batch):
            seen.append(message.seq)
            offset = {1: ten_years, 2: -real_time(), 3: 0.0, 4: -3_600.0}.get(message.seq, offset)
            if message.seq == 3:
                await talk.say(pb.Nack(epoch=message.epoch, seq=3, code=pb.RETRY, retry_ms=50))
                assert (await talk.hear()).seq == 3
            await talk.say(pb.Ack(epoch=message.epoch, upto=message.seq))

    with ScriptedCollector(authority, script) as scripted:
        address = authority.enrol(tmp_path, scripted.port).address
        fresh = Freshness()
        with ship(tmp_path, address) as line:
            line.spool.call(fresh.set_mark)
            for number in range(6):
                line.seal(flows(number))
                wait_for(lambda: line.is_empty, "the batch is acked", 20)
            line.spool.call(lambda store: fresh.look(store, acks_came=True))
            age_s = fresh.age_s
            tries = line.shipper.tries
    assert scripted.failures == []
    assert seen == [1, 2, 3, 4, 5, 6]
    assert tries == 1
    assert age_s is not None
    assert 0 <= age_s < 5


def test_spool_status_tells_what_got_through(collector: Collector, agent: Agent, tmp_path: Path) -> None:
    """Connected is not enough: the time of the newest fresh record that was acked, and how long ago that was."""
    pipe = tmp_path / "frames"
    os.mkfifo(pipe)
    agent.environ.update(QUICK)
    address = f"127.0.0.1:{collector.ports['grpc']}"
    agent.spawn("run", "--data", str(agent.data), "--replay", str(pipe), "--collector", address)
    now_ns = time.time_ns()
    try:
        with pipe.open("wb") as feed:
            feed.write(pcap([(now_ns, frame(number)) for number in range(500)]))
            feed.flush()
            status = wait_for(lambda: _if_fresh(agent), "a fresh record got through")
            text = agent.call("spool", "status", "--data", str(agent.data))
        assert agent.process is not None
        assert agent.process.wait(30) == 0, agent.tail()
    finally:
        if agent.running:
            agent.kill()

    assert abs(status["fresh_acked_ns"] - now_ns) < 60 * 1_000_000_000
    assert 0 <= status["fresh_acked_age_s"] < 60
    assert re.search(r"^got through +record of \d{4}-\d\d-\d\dT.*, \d+ s ago$", text, re.MULTILINE), text


def _if_fresh(agent: Agent) -> dict[str, Any] | None:
    """The running agent's status, once a fresh record has got through."""
    try:
        status = read_status(agent.data)
    except SpoolError:  # it has just begun
        return None
    return status if status.get("fresh_acked_age_s") is not None else None
