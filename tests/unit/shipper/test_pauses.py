"""A collector that pauses an agent owes it no answers meanwhile."""

from __future__ import annotations

from pathlib import Path

from fieldwatch_agent.shipper.pace import ACK_TIMEOUT_S
from fieldwatch_agent.spool.store import Store
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.model_collector import Line, ModelCollector
from support.spooling import WIDE, put


def test_the_time_of_a_pause_is_not_a_missing_ack(tmp_path: Path) -> None:
    """A commit that takes minutes, with a batch under way: the stream stays, and the wait for the ack begins anew."""
    store = Store(tmp_path, WIDE)
    store.commit([put(1), put(2)])
    line = Line(store, ModelCollector())
    talk = line.connect()
    assert len(line.say()) == 2

    talk.hear(pb.Down(credit=pb.Credit()))
    assert talk.pause() is None
    line.now += 2 * ACK_TIMEOUT_S
    talk.hear(pb.Down(credit=pb.Credit(window_messages=8, window_bytes=1 << 20)))
    again = line.say()
    pause, overdue = talk.pause(), talk.overdue()
    line.now += ACK_TIMEOUT_S
    late = talk.overdue()
    store.close(clean=True)

    assert again == []
    assert (pause, overdue) == (ACK_TIMEOUT_S, 0.0)
    assert late == ACK_TIMEOUT_S
