"""What an Ack names: all that it answers, nothing that the agent has not shown, and no more than that."""

from __future__ import annotations

from collections.abc import Sequence

from fieldwatch_collector.ingest.acks import Acks
from fieldwatch_collector.store import MAX_SPARSE_RANGES, GapItem, Held
from fieldwatch_proto.v1 import agent_pb2 as pb
from hypothesis import example, given
from hypothesis import strategies as st

EPOCH = 7
spans = st.tuples(st.integers(1, 60), st.integers(0, 4)).map(lambda pair: (pair[0], sum(pair)))


def item(span: tuple[int, int], epoch: int = EPOCH) -> GapItem:
    return GapItem(epoch, *span, {}, 0, 1, True, 0, "")


def greeted(given_up: int = 0) -> Acks:
    acks = Acks()
    acks.greet([pb.Stream(epoch=EPOCH, first_unacked=given_up + 1, next_seq=100)], {EPOCH: Held(100)})
    return acks


def named(ack: pb.Ack) -> set[int]:
    """Every number that the agent may forget because of it."""
    beyond = {number for part in ack.also for number in range(part.from_seq, part.to_seq + 1)}
    return {*range(1, ack.upto + 1), *beyond}


@given(st.lists(st.lists(spans, min_size=1, max_size=4), max_size=12), st.integers(0, 5))
@example([[(3, 3)], [(5, 5)], [(4, 4)], [(1, 2)]], 0)
def test_acks_together_name_what_was_shown(groups: Sequence[Sequence[tuple[int, int]]], given_up: int) -> None:
    """Each covers the items that it answers with a range for each at most; all of them name what came and no more."""
    acks = greeted(given_up)
    shown, told = set(range(1, given_up + 1)), set(range(1, given_up + 1))
    for group in groups:
        (ack,) = acks.confirm(map(item, group))
        answered = {number for low, high in group for number in range(low, high + 1)}
        shown |= answered
        told |= named(ack)

        assert answered <= named(ack) <= shown
        assert len(ack.also) <= len(group)
    assert shown == told


def test_an_ack_of_a_stream_with_many_ranges_is_as_small_as_any() -> None:
    """The last of a thousand names its own range alone, and so does one that there is no room to remember."""
    acks = greeted()
    sizes = [len(acks.confirm([item((2 * n, 2 * n))])[0].also) for n in range(1, MAX_SPARSE_RANGES + 1)]
    far = 4 * MAX_SPARSE_RANGES
    (beyond,) = acks.confirm([item((far, far)), item((far, far))])
    (grown,) = acks.confirm([item((9, 9))])
    (whole,) = acks.confirm([item((1, far))])

    assert [1] * MAX_SPARSE_RANGES == sizes
    assert [(far, far)] == [(part.from_seq, part.to_seq) for part in beyond.also]
    assert (0, [(8, 10)]) == (grown.upto, [(part.from_seq, part.to_seq) for part in grown.also])
    assert (far, []) == (whole.upto, list(whole.also))


def test_each_epoch_has_an_ack_of_its_own() -> None:
    acks = greeted()
    answers = acks.confirm([item((1, 1)), item((3, 3), epoch=8), item((2, 2))])

    assert [(7, 2, []), (8, 0, [(3, 3)])] == [
        (ack.epoch, ack.upto, [(part.from_seq, part.to_seq) for part in ack.also]) for ack in answers
    ]
