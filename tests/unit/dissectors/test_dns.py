"""Unicast DNS: addresses are known by what was asked for, through aliases; everything else in a message is no name."""

from __future__ import annotations

import itertools

import pytest
from fieldwatch_agent.dissectors import dns
from fieldwatch_agent.dissectors.dns import MAX_NAMED
from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_agent.facts import Fact
from fieldwatch_ext.engine import Slow
from messages import IP, MAC, PEER_MAC, TS_NS, address, name, pointer, question, record
from messages import dns as build
from support.cost import cpu_s

RESOLVER, RESOLVER_TEXT = bytes([192, 168, 1, 1]), "192.168.1.1"
RESPONSE = 0x8180  # QR, RD, RA

# RFC 1035 section 4: header, question, and two answers whose owners are pointers (section 4.1.4).
GOLDEN = bytes.fromhex(
    "beef 8180 0001 0002 0000 0000"  # id; QR RD RA; one question, two answers
    "03 777777 07 6578616d706c65 03 636f6d 00  0001 0001"  # www.example.com A IN, at 12
    "c00c 0005 0001 00000e10 0012  03 776562 03 63646e 07 6578616d706c65 c018"  # CNAME web.cdn.example.com, at 45
    "c02d 0001 0001 0000003c 0004  c6336407"  # web.cdn.example.com A 198.51.100.7
)


def answer(payload: bytes) -> Slow:
    """What a resolver sends to a host."""
    return Slow(7, TS_NS, "dns", PEER_MAC, MAC, 0x1064, RESOLVER, IP, 53, 40_000, payload)


def read(payload: bytes) -> tuple[list[tuple[str, str]], bool]:
    """(subject, name) of the facts, and whether the message was whole."""
    found: list[tuple[str, str]] = []
    try:
        for item in dns.dissect(answer(payload)):
            assert isinstance(item, Fact)
            if item.value:  # `dissect` drops the others
                found.append((item.subject, item.value))
    except MalformedError:
        return found, False
    return found, True


def names(payload: bytes) -> list[tuple[str, str]]:
    found, whole = read(payload)
    assert whole
    return found


def alias(owner: str, target: str) -> bytes:
    return record(name(owner), 5, name(target), klass=1)


def asked(owner: str, *answers: bytes, flags: int = RESPONSE, kind: int = 1, **sections: tuple[bytes, ...]) -> bytes:
    return build(flags=flags, questions=(question(name(owner), kind),), answers=answers, **sections)


def test_an_address_is_known_by_what_was_asked_for() -> None:
    facts = [item[:6] for item in dns.dissect(answer(GOLDEN))]

    assert facts == [("198.51.100.7", "dns_name", "www.example.com", "dns", "DNS answer A", 40)]


def test_every_prefix_says_a_part_and_that_it_broke_off() -> None:
    for end in range(12, len(GOLDEN)):
        assert read(GOLDEN[:end]) == ([], False)


def test_both_families_are_named() -> None:
    payload = asked("nas.lan", address("nas.lan", "192.168.1.77", klass=1), address("nas.lan", "fd00::77", klass=1))

    assert names(payload) == [("192.168.1.77", "nas.lan"), ("fd00::77", "nas.lan")]


def test_aliases_are_followed_in_any_order() -> None:
    payload = asked("a.test", address("c.test", "192.0.2.1"), alias("b.test", "c.test"), alias("a.test", "b.test"))

    assert names(payload) == [("192.0.2.1", "a.test")]


def test_an_answer_to_something_else_keeps_its_own_name() -> None:
    payload = asked("a.test", alias("a.test", "b.test"), address("other.test", "192.0.2.1"))

    assert names(payload) == [("192.0.2.1", "other.test")]
    assert names(build(flags=RESPONSE, answers=(address("b.test", "192.0.2.1"),))) == [("192.0.2.1", "b.test")]


def test_aliases_that_go_round_end() -> None:
    payload = asked("a.test", alias("a.test", "b.test"), alias("b.test", "a.test"), address("b.test", "192.0.2.1"))

    assert names(payload) == [("192.0.2.1", "a.test")]


def test_a_question_in_mixed_case_is_the_same_name() -> None:
    """Resolvers mix the case at random, and expect it back: each answer would be another name."""
    payload = asked("wWw.eXaMple.COM", alias("WWW.example.com", "WEB.test"), address("web.TEST", "192.0.2.1"))

    assert names(payload) == [("192.0.2.1", "www.example.com")]


def test_a_reverse_answer_names_the_address_in_its_question() -> None:
    payload = asked("77.1.168.192.in-addr.arpa", pointer("77.1.168.192.in-addr.arpa", "NAS.lan", klass=1), kind=12)

    assert [item[:6] for item in dns.dissect(answer(payload))] == [
        ("192.168.1.77", "dns_name", "nas.lan", "dns", "DNS answer PTR", 40)
    ]


def test_a_reverse_answer_behind_an_alias_names_the_address_asked_for() -> None:
    """RFC 2317 section 4: the names of a small network stand in a zone of their own."""
    own = "1.0-25.2.0.192.in-addr.arpa"
    payload = asked("1.2.0.192.in-addr.arpa", alias("1.2.0.192.in-addr.arpa", own), pointer(own, "host.test"))

    assert names(payload) == [("192.0.2.1", "host.test")]


def test_the_resolver_is_known_by_its_address() -> None:
    """Its MAC may be a router's."""
    assert names(asked("router.lan", address("router.lan", RESOLVER_TEXT))) == [(RESOLVER_TEXT, "router.lan")]


@pytest.mark.parametrize(
    "payload",
    [
        asked("a.test", flags=0x0100),  # a question
        asked("a.test", address("a.test", "192.0.2.1"), flags=0x0100),
        asked("a.test", address("a.test", "192.0.2.1"), flags=0x8183),  # NXDOMAIN
        asked("a.test", address("a.test", "192.0.2.1"), flags=0xA800),  # the answer to an update (RFC 2136)
        asked("a.test", address("a.test", "0.0.0.0"), address("a.test", "127.0.0.1")),  # blocked by the resolver
        asked("a.test", address("a.test", "::1"), kind=28),
        asked("a.test", authority=(address("ns.test", "192.0.2.1"),)),
        asked("a.test", additional=(address("ns.test", "192.0.2.1"),)),  # glue
        asked("_http._tcp.test", pointer("_http._tcp.test", "web._http._tcp.test"), kind=12),
        asked("", address("", "192.0.2.1")),  # the root has no name
        asked("a.test", record(name("a.test"), 1, bytes([192, 0, 2, 1]), klass=3)),  # class CHAOS
    ],
)
def test_what_names_nobody(payload: bytes) -> None:
    assert names(payload) == []


def test_only_some_addresses_of_a_message_count() -> None:
    payload = asked("farm.test", *(address("farm.test", f"192.0.2.{i}") for i in range(1, 100)))

    assert names(payload) == [(f"192.0.2.{i}", "farm.test") for i in range(1, MAX_NAMED + 1)]


B_TEST = address("b.test", "192.0.2.1")


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (GOLDEN[:7] + b"\x09" + GOLDEN[8:], [("198.51.100.7", "www.example.com")]),  # nine answers, they say
        (GOLDEN[:5] + b"\x02" + GOLDEN[6:], []),  # two questions: the second would begin in the first answer
        (GOLDEN[:-6] + b"\x00\x10" + GOLDEN[-4:], []),  # an address of 16 octets, four there
        (GOLDEN[:-6] + b"\x00\x02" + GOLDEN[-4:], []),  # and one of two
        (GOLDEN[:44] + b"\x05" + GOLDEN[45:], []),  # the alias is shorter than its name: what follows is none
        (asked("a.test", record(name("a.test"), 5, b"\x05ab"), B_TEST), [("192.0.2.1", "b.test")]),
    ],
)
def test_lengths_and_counts_that_lie(payload: bytes, expected: list[tuple[str, str]]) -> None:
    assert read(payload) == (expected, False)


def test_the_costliest_message_costs_little() -> None:
    """Long names of many labels, each an alias of the next."""
    long_names = [f"{i:02x}." + "a." * 124 for i in range(100)]
    links = [alias(a, b) for a, b in itertools.pairwise(long_names)]
    payload = asked(long_names[0], *links, *(address(long_names[-1], f"127.0.0.{i}") for i in range(1, 29)))

    assert names(payload) == []
    assert cpu_s(lambda: names(payload)) < 0.05
