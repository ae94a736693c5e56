"""How long a channel waits for a sign of life, from one stream to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fieldwatch_agent.shipper.shipper import Shipper, open_channel
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.scripted import Authority, Conversation, ScriptedCollector
from support.spooling import WIDE, put
from support.stack import wait_for


def test_a_batch_that_never_gets_through_is_given_more_time(tmp_path: Path) -> None:
    """Streams that end with a batch under way and no ack: each next one is more patient; an ack, and all is as ever."""
    authority = Authority()
    asked: list[float] = []

    async def script(talk: Conversation) -> None:
        await talk.welcome()
        batch = await talk.hear()
        if talk.number in (7, 8):
            await talk.say(pb.Ack(epoch=batch.epoch, upto=batch.seq))
        if talk.number == 8:
            await talk.hear()

    spool = SpoolThread(tmp_path, WIDE)
    spool.start()
    with ScriptedCollector(authority, script) as collector:
        address = authority.enrol(tmp_path, collector.port).address

        def connect(patience_s: float) -> Any:
            asked.append(patience_s)
            return open_channel(tmp_path, address, patience_s)

        shipper = Shipper(spool, address, connect, b"boot", retry_min_s=0.01, retry_max_s=0.1)
        spool.on_change = shipper.wake
        shipper.start()
        spool.put(put(1))
        wait_for(lambda: shipper.acked == 1, "the batch is acked")
        spool.put(put(2))
        wait_for(lambda: shipper.acked == 2, "another one is acked over the next stream")
        shipper.stop()
    spool.close(clean=True)

    assert collector.failures == []
    assert asked == [55.0, 110.0, 220.0, 440.0, 880.0, 900.0, 900.0, 55.0]
