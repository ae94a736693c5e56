"""Pauses and window, each on its own."""

from __future__ import annotations

import random

import grpc
import pytest
from fieldwatch_agent.shipper.backoff import Backoff
from fieldwatch_agent.shipper.errors import explain
from fieldwatch_agent.shipper.window import Window
from fieldwatch_agent.spool.items import Gap
from fieldwatch_proto.v1 import agent_pb2 as pb


def test_pauses_double_to_a_bound_with_full_jitter() -> None:
    """The nth pause is anywhere between 0 and min(max, min * 2^n); after an ack it begins anew."""
    tries = [[pause.next() for _ in range(12)] for pause in (Backoff(1.0, 300.0, random.Random(n)) for n in range(300))]

    bounds = [min(300.0, 2.0**n) for n in range(12)]
    greatest = [max(column) for column in zip(*tries, strict=True)]
    least = [min(column) for column in zip(*tries, strict=True)]

    assert all(seen <= bound for seen, bound in zip(greatest, bounds, strict=True))
    assert all(seen > 0.9 * bound for seen, bound in zip(greatest, bounds, strict=True))
    assert all(seen < 0.1 * bound for seen, bound in zip(least, bounds, strict=True))
    pause = Backoff(1.0, 300.0, random.Random(1))
    for _ in range(20):
        pause.next()
    pause.reset()
    assert pause.next() <= 1.0
    assert 150.0 <= pause.slowest() <= 300.0


def test_a_window_counts_messages_and_octets() -> None:
    """Gaps count as messages; a range is acked when all of it is."""
    window = Window()
    window.grant(2, 100)
    gap = Gap(1, 3, 5, {}, 0, 1, True, 0, "")
    window.add(gap, pb.Up())

    assert window.room() == (1, 100)
    assert window.ack(1, 4, []) == []
    assert window.ack(2, 9, []) == []
    assert [flight.from_seq for flight in window.ack(1, 0, [(3, 5)])] == [3]
    assert (len(window), window.room()) == (0, (2, 100))
    window.grant(10_000, 1 << 40)
    assert window.room() == (64, 4 << 20)
    window.grant(0, 100)
    assert (window.room(), window.paused) == ((0, 0), True)


class Ended(grpc.RpcError):
    """A call that ended, as gRPC tells it."""

    def __init__(self, code: grpc.StatusCode, details: str = "") -> None:
        super().__init__()
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


@pytest.mark.parametrize("code", list(grpc.StatusCode))
def test_every_end_of_a_stream_is_tried_again_at_its_own_pace(code: grpc.StatusCode) -> None:
    """A refused certificate wants a renewal, another version a person, all else a pause; each names who said it."""
    problem = explain(Ended(code, "words of the  collector"), "127.0.0.1:7443")

    refused = code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
    other_version = code in (
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
    )
    assert (problem.identity, problem.permanent) == (refused, refused or other_version)
    assert "127.0.0.1:7443" in str(problem)
    assert "words of the collector" in str(problem)


def test_a_cut_connection_may_be_a_refusal() -> None:
    """Who takes a connection and cuts it may refuse the certificate; who takes none does not."""
    cut = explain(Ended(grpc.StatusCode.UNAVAILABLE, "Socket closed"), "127.0.0.1:7443")
    nobody = explain(Ended(grpc.StatusCode.UNAVAILABLE, "Connection refused"), "127.0.0.1:7443")

    assert (cut.cut, cut.identity, cut.permanent) == (True, False, False)
    assert (nobody.cut, nobody.identity, nobody.permanent) == (False, False, False)


def test_the_collector_may_spread_its_agents() -> None:
    """No bound is shorter than the Welcome says, the longest pause stays the longest."""
    pause = Backoff(1.0, 300.0, random.Random(1))
    pause.spread_s = 111.0
    pauses = [pause.next() for _ in range(200)]
    pause.reset()
    first = [Backoff(1.0, 300.0, random.Random(seed)) for seed in range(200)]
    for one in first:
        one.spread_s = 111.0
    firsts = [one.next() for one in first]

    assert max(pauses) <= 300.0
    assert 100.0 < max(firsts) <= 111.0
    pause.spread_s = 1e6
    assert pause.next() <= 300.0
