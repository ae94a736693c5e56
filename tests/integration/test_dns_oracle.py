"""On real captures, the names of unicast DNS answers are those that tshark reads, for the same addresses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from itertools import islice

import pytest
import slow_oracle
import tshark_oracle as oracle
from fieldwatch_agent.dissectors import dns

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not slow_oracle.CORPUS, reason="external captures: set FIELDWATCH_CORPUS"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

FROM_PORT_53 = rb"\x00\x35.{8}[\x80-\x87]"  # the UDP header and the id, then flags with QR and opcode 0
ONLY = "udp.srcport == 53 && dns.flags.response == 1 && dns.flags.opcode == 0 && dns.flags.rcode == 0 && !icmp"

# capture -> what only tshark has, what only this project has.
EXCEPTIONS: dict[str, tuple[oracle.Said, oracle.Said]] = {
    # The name in the question goes over more pointers and octets than a name may: what follows is not read.
    "tests__cfgs__default__pcap__malformed_dns.pcap": ({("66.66.66.66", "www.xt.com")}, set()),
    # Control characters are written in another way.
    "tests__cfgs__default__pcap__dns-invalid-chars.pcap": (
        {("19.185.141.241", r"www.allyourbasesare\001\002\003ongto.cn")},
        {("19.185.141.241", r"www.allyourbasesare\x01\x02\x03ongto.cn")},
    ),
}


def answers(packet: oracle.Tree) -> Iterator[tuple[str, str]]:
    """(address, name) by tshark's word: an alias is followed from the answer back to who asked for it."""
    layer = oracle.inner(packet, "dns")
    asked = oracle.first(layer, "dns.qry.name").lower()
    records = slow_oracle.records(layer, "Answers")
    came_from = {oracle.first(r, "dns.cname").lower(): oracle.first(r, "dns.resp.name").lower() for r in records}
    for record in records:
        owner = oracle.first(record, "dns.resp.name").lower()
        name = owner
        for _ in records:
            name = came_from.get(name, name) if name != asked else name
        name = asked if name == asked else owner
        for field in ("dns.a", "dns.aaaa"):
            yield from ((ip, name) for ip in oracle.every(record, field) if oracle.is_host(ip))
        if name.endswith(".in-addr.arpa") and name.count(".") == 5:
            ip = ".".join(reversed(name.split(".")[:4]))
            yield from ((ip, target.lower()) for target in oracle.every(record, "dns.ptr.domain_name"))


def test_names_are_those_that_tshark_reads() -> None:
    different: dict[str, tuple[oracle.Said, oracle.Said]] = {}
    compared = 0
    for capture in slow_oracle.captures(FROM_PORT_53):
        for packet in slow_oracle.packets(capture, ONLY, "dns"):
            expected = set(islice(answers(packet), dns.MAX_NAMED))
            facts = slow_oracle.read(dns.dissect, slow_oracle.slow(packet, "dns"))
            actual = {(fact.subject, fact.value) for fact in facts}
            compared += len(expected)
            if expected != actual:
                missing, extra = different.setdefault(capture.name, (set(), set()))
                missing |= expected - actual
                extra |= actual - expected

    assert EXCEPTIONS == different
    assert compared > 300
