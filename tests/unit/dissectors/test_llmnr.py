"""LLMNR: names in responses, and only there."""

from __future__ import annotations

import pytest
from fieldwatch_agent.dissectors import COUNTERS, llmnr
from messages import IP_TEXT, MAC_TEXT, PEER_MAC, address, dns, name, pointer, question, said, slow

UNICAST = {"dst_mac": PEER_MAC, "dst_ip": bytes([192, 168, 1, 20])}


def test_a_response_names_the_host_at_the_address() -> None:
    """RFC 4795 section 2.3: responses are unicast, so the source MAC might be a router's."""
    payload = dns(flags=0x8000, questions=(question(name("FILES"), 1),), answers=(address("FILES", IP_TEXT, klass=1),))
    facts = list(llmnr.dissect(slow("llmnr", payload, **UNICAST)))

    assert [fact[:6] for fact in facts] == [(IP_TEXT, "hostname", "FILES", "llmnr", "LLMNR response A", 60)]


def test_all_addresses_of_a_name_that_has_the_senders_are_the_senders() -> None:
    payload = dns(flags=0x8000, answers=(address("FILES", "fe80::9", klass=1), address("FILES", IP_TEXT, klass=1)))

    assert said(slow("llmnr", payload, **UNICAST)) == [(IP_TEXT, "hostname", "FILES")]


def test_names_for_other_addresses_are_theirs_who_hold_them() -> None:
    payload = dns(flags=0x8000, answers=(address("OTHER", "192.168.1.77", klass=1),))

    assert said(slow("llmnr", payload, **UNICAST)) == [("192.168.1.77", "hostname", "OTHER")]


def test_a_reverse_answer_names_the_address_in_its_question() -> None:
    payload = dns(flags=0x8000, answers=(pointer("10.1.168.192.in-addr.arpa", "FILES", klass=1),))

    assert said(slow("llmnr", payload)) == [(MAC_TEXT, "hostname", "FILES")]


@pytest.mark.parametrize(
    "payload",
    [
        dns(flags=0, questions=(question(name("WANTED"), 1),)),  # a query names what its sender looks for
        dns(flags=0, answers=(address("WANTED", IP_TEXT, klass=1),)),
        dns(flags=0x8003, answers=(address("NONE", IP_TEXT, klass=1),)),  # an error
        dns(flags=0x8000, answers=(address("EVERYBODY", "224.0.0.1", klass=1),)),  # no host's address
    ],
)
def test_what_names_nobody(payload: bytes) -> None:
    assert said(slow("llmnr", payload)) == []


def test_what_comes_before_the_damage_stands() -> None:
    before = COUNTERS.malformed["llmnr"]
    payload = dns(flags=0x8000, answers=(address("A", IP_TEXT, klass=1), address("B", IP_TEXT, klass=1)))[:-1]

    assert said(slow("llmnr", payload, **UNICAST)) == [(IP_TEXT, "hostname", "A")]
    assert before + 1 == COUNTERS.malformed["llmnr"]
