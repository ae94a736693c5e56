"""A collector that talks without end, sends away without end, or says what nobody can hear: over real TLS."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
import pytest
from fieldwatch_agent.shipper import session, shipper
from fieldwatch_agent.shipper.conversation import Conversation as Talk
from fieldwatch_agent.shipper.shipper import MAX_MESSAGE_BYTES, Shipper, open_channel
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.scripted import Authority, Conversation, Script, ScriptedCollector
from support.spooling import put
from support.stack import wait_for

RETRY_MIN_S = 0.2
WEEKS_MS = (1 << 32) - 1


@contextmanager
def shipping(authority: Authority, spool: SpoolThread, script: Script) -> Iterator[ScriptedCollector]:
    with ScriptedCollector(authority, script) as collector:
        address = authority.enrol(spool.folder, collector.port).address

        def connect(patience_s: float) -> grpc.Channel:
            return open_channel(spool.folder, address, patience_s)

        ships = Shipper(spool, address, connect, b"boot", retry_min_s=RETRY_MIN_S, retry_max_s=2 * RETRY_MIN_S)
        spool.on_change = ships.wake
        ships.start()
        try:
            yield collector
        finally:
            began = time.monotonic()
            ships.stop()
            spool.on_change = lambda: None
            assert time.monotonic() - began < 4.0
    assert collector.failures == []


def is_empty(spool: SpoolThread) -> bool:
    status = spool.call(Store.status)
    return status.batches + status.gaps == 0


async def ack_all(talk: Conversation) -> None:
    while isinstance(message := await talk.hear(), pb.Batch):
        await talk.say(pb.Ack(epoch=message.epoch, upto=message.seq))


@pytest.mark.parametrize("retry_ms", [0, 1])
@pytest.mark.parametrize("acks", [True, False])
def test_who_is_sent_away_without_end_does_not_come_all_the_time(
    authority: Authority, spool: SpoolThread, retry_ms: int, acks: bool
) -> None:
    """GoAway at once, with the shortest pause there is, acks or not: no two tries begin within the least pause."""
    moments: list[float] = []
    for number in range(20 if acks else 0):
        spool.put(put(number))
    assert spool.flush()

    async def script(talk: Conversation) -> None:
        moments.append(time.monotonic())
        await talk.welcome(messages=1)
        message = await talk.hear() if acks else None
        await talk.say(pb.GoAway(reason="go", retry_ms=retry_ms))
        if isinstance(message, pb.Batch):
            await talk.say(pb.Ack(epoch=message.epoch, upto=message.seq))
        while await talk.hear() is not None:
            pass

    with shipping(authority, spool, script):
        wait_for(lambda: len(moments) >= 9, "it comes again")

    # The agent counts from the try, the collector from the end of the handshake: the mean is what holds.
    assert (moments[8] - moments[0]) / 8 > 0.8 * RETRY_MIN_S


def test_who_is_sent_away_for_weeks_comes_sooner(
    authority: Authority, spool: SpoolThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """retry_ms of 2^32 - 1 is no reason to be gone for seven weeks."""
    monkeypatch.setattr(shipper, "MAX_AWAY_S", 0.3)
    spool.put(put(1))

    async def script(talk: Conversation) -> None:
        await talk.welcome()
        if talk.number == 1:
            await talk.say(pb.GoAway(reason="go", retry_ms=WEEKS_MS))
        await ack_all(talk)

    with shipping(authority, spool, script):
        wait_for(lambda: is_empty(spool), "it came back")


def test_a_flood_of_remarks_costs_little(
    authority: Authority, spool: SpoolThread, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hundred thousand Credits: some hundred a second are heard, few wait in memory; what is asked for goes on."""
    heard: list[float] = []
    waited: list[int] = []
    hear = Talk.hear

    def watched(talk: Talk, down: pb.Down) -> bool:
        heard.append(time.monotonic())
        return hear(talk, down)

    put_in = session.Session._put

    def counted(self: session.Session, found: pb.Down | BaseException) -> None:
        put_in(self, found)
        waited.append(self._inbox.qsize())

    monkeypatch.setattr(Talk, "hear", watched)
    monkeypatch.setattr(session.Session, "_put", counted)

    async def script(talk: Conversation) -> None:
        await talk.welcome()
        for _ in range(100_000):
            talk.answers.put_nowait(pb.Down(credit=pb.Credit(window_messages=8, window_bytes=1 << 20)))
        while await talk.hear() is not None:
            pass

    with shipping(authority, spool, script):
        wait_for(lambda: len(heard) > session.REMARKS + 100, "it listens, with pauses", 30)

    assert max(waited) <= session.INBOX_MESSAGES
    assert len(heard) <= session.REMARKS + session.REMARKS_PER_S * (heard[-1] - heard[0]) + 50


def test_remarks_between_answers_do_not_hold_them_up(authority: Authority, spool: SpoolThread) -> None:
    """A collector that says its window anew with every ack is heard at full speed."""
    for number in range(3_000):
        spool.put(put(number, octets=40))
    assert spool.flush()
    remark = pb.Credit(window_messages=64, window_bytes=1 << 20)

    async def script(talk: Conversation) -> None:
        await talk.welcome(messages=64)
        while isinstance(message := await talk.hear(), pb.Batch):
            item = pb.Range(from_seq=message.seq, to_seq=message.seq)
            await talk.say(remark, pb.Ack(epoch=message.epoch, also=[item]))

    with shipping(authority, spool, script):
        began = time.monotonic()
        wait_for(lambda: is_empty(spool), "everything is acked", 60)

    assert time.monotonic() - began < 3_000 / session.REMARKS_PER_S - session.REMARKS / session.REMARKS_PER_S


def test_a_giant_message_ends_the_stream_and_no_more(authority: Authority, spool: SpoolThread) -> None:
    """It is not taken into memory; the next stream goes on."""
    spool.put(put(1))

    async def script(talk: Conversation) -> None:
        await talk.welcome()
        if talk.number == 1:
            await talk.say(pb.GoAway(reason="x" * (MAX_MESSAGE_BYTES + 1), retry_ms=WEEKS_MS))
            await talk.hear()
            return
        await ack_all(talk)

    with shipping(authority, spool, script) as collector:
        wait_for(lambda: is_empty(spool), "it goes on with another stream")

    assert collector.connections == 2


def test_the_end_does_not_wait_for_a_reader_that_is_held(authority: Authority, spool: SpoolThread) -> None:
    """The agent stops in the middle of a flood: no thread of the stream is left."""

    async def script(talk: Conversation) -> None:
        await talk.welcome()
        for _ in range(50_000):
            talk.answers.put_nowait(pb.Down())
        while await talk.hear() is not None:
            pass

    with shipping(authority, spool, script) as collector:
        wait_for(lambda: collector.connections == 1, "the stream")

    wait_for(lambda: all(thread.name != "shipper reader" for thread in threading.enumerate()), "the reader ends")
