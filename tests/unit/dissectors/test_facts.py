"""Facts are made and kept as by the twin."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import pytest
from fieldwatch_agent.dissectors.notes import fact
from fieldwatch_agent.facts import Binding, Fact
from fieldwatch_ext.facts import keep_distinct, make_fact
from fieldwatch_proto.schema import SightingSource
from hypothesis import given
from hypothesis import strategies as st
from messages import IP, MAC, slow
from support import twin_facts

FRAME = slow("mdns", b"")
TEXTS = st.one_of(
    st.binary(max_size=300), st.text(max_size=300), st.sampled_from([b"", "", " a ", b"a  b", "é", "x" * 256])
)


@given(TEXTS, st.text(max_size=300), st.integers(0, 100))
def test_a_fact_is_that_of_the_twin(value: bytes | str, evidence: str, confidence: int) -> None:
    made = fact(FRAME, "subject", "key", value, evidence, confidence)

    assert (Fact, twin_facts.make_fact(FRAME, "subject", "key", value, evidence, confidence)) == (type(made), made)


def told(subject: str, key: str, value: str, confidence: int) -> Fact:
    return fact(FRAME, subject, key, value, "evidence", confidence)


def bound(mac: bytes, ip: bytes, seen_ns: int) -> Binding:
    return Binding(mac, ip, SightingSource.DHCP, seen_ns, 0)


WORDS = st.sampled_from(["", "a", "b"])
ITEMS = st.lists(
    st.one_of(
        st.builds(told, WORDS, WORDS, WORDS, st.integers(0, 3)),
        st.builds(bound, st.sampled_from([MAC, bytes(6)]), st.sampled_from([IP, b""]), st.integers(0, 3)),
    ),
    max_size=40,
)


@given(ITEMS, st.integers(0, 8), st.integers(0, 30))
def test_what_is_kept_is_what_the_twin_keeps(items: list[Fact | Binding], most: int, most_seen: int) -> None:
    ours: dict[tuple[Any, ...], Fact | Binding] = {}
    theirs: dict[tuple[Any, ...], Fact | Binding] = {}
    whole = twin_facts.keep_distinct(theirs, items, most, most_seen)

    assert whole == keep_distinct(ours, items, Fact, most, most_seen)
    assert list(theirs.items()) == list(ours.items())


def test_what_was_found_stands_when_there_is_no_more() -> None:
    def broken() -> Iterator[Fact]:
        yield told("a", "a", "a", 1)
        raise ValueError("broken")

    found: dict[tuple[Any, ...], Fact] = {}
    with pytest.raises(ValueError, match="broken"):
        keep_distinct(found, broken(), Fact, 8, 8)

    assert [("a", "a", "a")] == list(found)


def test_facts_are_no_work_for_the_collector() -> None:
    """Texts, octets and numbers are in no cycle: they go with their last reference."""
    assert not gc.is_tracked(told("a", "b", "c", 1))


def test_what_is_no_tuple_is_our_mistake() -> None:
    with pytest.raises(TypeError, match="a frame is a tuple, not str"):
        make_fact(Fact, str, 255, "frame", "a", "a", "a", "a", 1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="an item is a tuple, not str"):
        keep_distinct({}, ["item"], Fact, 8, 8)
