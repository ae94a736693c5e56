"""On real captures, the names of unicast DNS answers are those that tshark reads, for the same addresses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import islice

import pytest
from fieldwatch_agent.dissectors import dns
from support import tshark
from tshark_names import is_host

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not tshark.CORPUS, reason="external captures: set FIELDWATCH_CORPUS"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

FROM_PORT_53 = rb"\x00\x35.{8}[\x80-\x87]"  # the UDP header and the id, then flags with QR and opcode 0
ONLY = "udp.srcport == 53 && dns.flags.response == 1 && dns.flags.opcode == 0 && dns.flags.rcode == 0 && !icmp"

# capture -> what only tshark has, what only this project has.
EXCEPTIONS: dict[str, tuple[tshark.Said, tshark.Said]] = {
    # The name in the question goes over more pointers and octets than a name may: what follows is not read.
    "tests__cfgs__default__pcap__malformed_dns.pcap": ({("66.66.66.66", "www.xt.com")}, set()),
    # Control characters are written in another way.
    "tests__cfgs__default__pcap__dns-invalid-chars.pcap": (
        {("19.185.141.241", r"www.allyourbasesare\001\002\003ongto.cn")},
        {("19.185.141.241", r"www.allyourbasesare\x01\x02\x03ongto.cn")},
    ),
}


def answers(packet: tshark.Tree) -> Iterator[tuple[str, str]]:
    """(address, name) by tshark's word: an alias is followed from the answer back to who asked for it."""
    layer = tshark.inner(packet, "dns")
    asked = tshark.first(layer, "dns.qry.name").lower()
    records = tshark.records(layer, "Answers")
    came_from = {tshark.first(r, "dns.cname").lower(): tshark.first(r, "dns.resp.name").lower() for r in records}
    for record in records:
        owner = tshark.first(record, "dns.resp.name").lower()
        name = owner
        for _ in records:
            name = came_from.get(name, name) if name != asked else name
        name = asked if name == asked else owner
        for field in ("dns.a", "dns.aaaa"):
            yield from ((ip, name) for ip in tshark.every(record, field) if is_host(ip))
        if name.endswith(".in-addr.arpa") and name.count(".") == 5:
            ip = ".".join(reversed(name.split(".")[:4]))
            yield from ((ip, target.lower()) for target in tshark.every(record, "dns.ptr.domain_name"))


def test_names_are_those_that_tshark_reads() -> None:
    different: dict[str, tuple[tshark.Said, tshark.Said]] = {}
    compared = 0
    for capture in tshark.captures(FROM_PORT_53):
        for packet in tshark.messages(capture, ONLY, "dns"):
            expected = set(islice(answers(packet), dns.MAX_NAMED))
            facts = tshark.facts(dns.dissect, tshark.slow_of(packet, "dns"))
            actual = {(fact.subject, fact.value) for fact in facts}
            compared += len(expected)
            if expected != actual:
                missing, extra = different.setdefault(capture.name, (set(), set()))
                missing |= expected - actual
                extra |= actual - expected

    assert EXCEPTIONS == different
    assert compared > 300
