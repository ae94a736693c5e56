"""A collector that lies, is mistaken or is another's: what it says costs no data and keeps nobody busy.

The agent's half of a stream on a real store; time is the test's own, and stands still while somebody waits for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_agent.shipper.conversation import MAX_RETRY_S
from fieldwatch_agent.spool.store import Store
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.model_collector import Line, ModelCollector
from support.spooling import WIDE, body, put

MOST = (1 << 64) - 1  # of a number on the wire
BATCHES = 20
HOUR_S = 3_600.0
MOST_MESSAGES = 100_000


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    """Twenty batches wait; nothing was said yet."""
    store = Store(tmp_path, WIDE)
    store.commit([put(number) for number in range(BATCHES)])
    yield Line(store, ModelCollector())
    store.close(clean=True)


def everything_arrives(line: Line) -> None:
    """At a collector that works, from here on, once."""
    line.connect()
    line.run()
    assert sorted(line.collector.bodies()) == sorted(body(number) for number in range(BATCHES))
    assert (line.store.status().batches, line.store.status().gaps) == (0, 0)
    assert line.store.status().declared_records == 0


def nack_everything(line: Line, code: pb.NackCode, retry_ms: int, seconds: float) -> int:
    """Whatever comes is nacked at once, for so long by the agent's clock; how many messages the agent sent."""
    end, sent = line.now + seconds, 0
    while line.now < end:
        while said := line.say():
            sent += len(said)
            assert sent < MOST_MESSAGES, "it goes on without a pause"
            for item in said:
                line.talk.hear(pb.Down(nack=pb.Nack(epoch=item.epoch, seq=item.seq, code=code, retry_ms=retry_ms)))
        pause = line.talk.pause()
        line.now = min(end, line.now + pause) if pause is not None else end
        line.talk.overdue()
    return sent


@pytest.mark.parametrize("ack", [{"upto": MOST}, {"upto": 19}, {"also": [pb.Range(from_seq=0, to_seq=MOST)]}])
def test_an_ack_of_what_was_never_sent_deletes_nothing(line: Line, ack: dict[str, object]) -> None:
    """Of twenty some are under way: these are believed to be held, numbers beyond them are not, whatever they are."""
    epoch = line.store.current.epoch
    line.connect(messages=4)
    said = line.say()
    for item in said:
        line.collector.take(pb.Up(batch=item))
    line.talk.hear(pb.Down(ack=pb.Ack(epoch=epoch, **ack)))
    line.store.commit([])

    assert 0 < len(said) < 5
    assert line.store.status().batches == BATCHES - len(said)
    everything_arrives(line)


def test_a_welcome_that_claims_everything_deletes_nothing(line: Line) -> None:
    """A collector that has another card's batches under these numbers says so in good faith."""
    epoch = line.store.current.epoch
    line.connect()
    talk = line.connect()
    talk.welcomed = False
    talk.hear(pb.Down(welcome=pb.Welcome(have=[pb.Have(epoch=epoch, upto=BATCHES)], window_messages=8)))
    line.store.commit([])

    assert line.store.status().batches == BATCHES
    everything_arrives(line)


def test_acks_of_strange_epochs_and_ranges_are_nothing(line: Line) -> None:
    """Ranges the wrong way round, of no epoch of ours, before anything was sent, empty, repeated."""
    epoch = line.store.current.epoch
    wrong = pb.Range(from_seq=MOST, to_seq=0)
    for ack in (pb.Ack(), pb.Ack(epoch=MOST, upto=MOST), pb.Ack(epoch=epoch, also=[wrong] * 1_000)):
        line.connect()
        line.say()
        assert not line.talk.hear(pb.Down(ack=ack))

    everything_arrives(line)


@pytest.mark.parametrize("code", [pb.RETRY, pb.OVER_QUOTA, 99])
def test_a_collector_that_never_takes_anything_is_not_asked_all_the_time(line: Line, code: pb.NackCode) -> None:
    """To everything "later", at once, for an hour: some messages a second at most. Nothing is lost."""
    line.connect(messages=64)

    sent = nack_everything(line, code, 0, HOUR_S)

    assert BATCHES * 100 < sent < BATCHES * HOUR_S / 4
    everything_arrives(line)


def test_a_pause_of_weeks_is_not_taken_at_its_word(line: Line) -> None:
    """retry_ms of 2^32 - 1: the batch goes again after minutes."""
    line.connect(messages=64)

    sent = nack_everything(line, pb.RETRY, (1 << 32) - 1, 2.5 * MAX_RETRY_S)

    assert sent == 3 * BATCHES
    everything_arrives(line)


@pytest.mark.parametrize("code", [pb.CONFLICT, pb.ROLLED_BACK])
def test_numbers_that_are_all_said_to_be_used_are_changed_once(line: Line, code: pb.NackCode) -> None:
    """Each batch gets one new number at most, and new seals one new epoch: no circle of writes."""
    changes = line.store.state.changes
    for _ in range(5):
        line.connect()
        nack_everything(line, code, 0, HOUR_S / 10)

    assert len(line.store.epochs) <= 2
    assert line.store.state.changes - changes <= BATCHES + 1
    everything_arrives(line)


def test_what_is_refused_for_good_is_declared(line: Line) -> None:
    """TOO_BIG for all, gaps included: each batch is a gap with its count, and the gaps wait for a better collector."""
    line.connect(messages=64)
    for _ in range(3):
        for item in line.say():
            first = item.seq if isinstance(item, pb.Batch) else item.from_seq
            line.talk.hear(pb.Down(nack=pb.Nack(epoch=item.epoch, seq=first, code=pb.TOO_BIG)))
    line.connect()
    line.run()
    gaps = [item for item in line.collector.stored if isinstance(item, pb.Gap)]

    assert line.collector.bodies() == []
    assert sum(gap.frames for gap in gaps) == 5 * BATCHES
    assert sum(sum(gap.records.values()) for gap in gaps) == 3 * BATCHES
    assert {gap.reason for gap in gaps} == {pb.REFUSED}


def test_a_window_of_anything_is_bounded(line: Line) -> None:
    """Four billion messages are 64, none is a pause in which nothing is asked for and nothing wakes."""
    line.connect()
    line.talk.hear(pb.Down(credit=pb.Credit(window_messages=(1 << 32) - 1, window_bytes=MOST)))
    said = line.say()
    line.talk.hear(pb.Down(credit=pb.Credit()))

    assert len(said) == BATCHES
    assert (line.talk.window.messages, line.talk.window.octets) == (0, 0)
    assert (line.talk.pause(), line.say(), line.talk.overdue()) == (None, [], 0.0)
    line.now += HOUR_S
    assert (line.talk.pause(), line.talk.overdue()) == (None, 0.0)
    everything_arrives(line)


def test_words_of_a_later_protocol_are_passed_over(line: Line) -> None:
    """A message of a kind that this version does not know, unknown fields in those it does."""
    line.connect()
    line.say()
    unknown = pb.Down.FromString(b"\xba\x06\x03abc")  # field 103
    credit = pb.Credit.FromString(b"\x08\x05\x10\xe8\x07\xba\x06\x03abc")

    assert not line.talk.hear(unknown)
    assert not line.talk.hear(pb.Down())
    assert not line.talk.hear(pb.Down(credit=credit))
    assert (line.talk.window.messages, line.talk.leaving) == (5, False)
    everything_arrives(line)
