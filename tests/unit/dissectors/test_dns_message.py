"""DNS messages: names with and without compression, records that are skipped, bounds on work."""

from __future__ import annotations

import ipaddress
import random

import dpkt
import pytest
from fieldwatch_agent.dissectors.dns_message import plain_name, read_message
from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_ext import dns as dns_of_kernel
from fieldwatch_ext.dns import MAX_POINTERS, MAX_RECORDS, lower, read_name, reverse_address
from hypothesis import given
from hypothesis import strategies as st
from messages import address, dns, name, pointer, question, record, service, text
from support import twin_dns


def test_a_compressed_name_ends_behind_its_first_pointer() -> None:
    """RFC 1035 section 4.1.4: the example of F.ISI.ARPA and FOO.F.ISI.ARPA."""
    buffer = bytes(20) + b"\x01F\x03ISI\x04ARPA\0" + bytes(8) + b"\x03FOO\xc0\x14" + b"\xc0\x1a"
    at = buffer.index(b"\x03FOO")

    assert read_name(buffer, 20) == ((b"F", b"ISI", b"ARPA"), 32)
    assert ((b"FOO", b"F", b"ISI", b"ARPA"), at + 6) == read_name(buffer, at)
    assert ((b"ARPA",), at + 8) == read_name(buffer, at + 6)


@pytest.mark.parametrize(
    ("buffer", "offset"),
    [
        (b"\xc0\x00", 0),  # to itself
        (b"\x01a\xc0\x00", 0),  # back to its own start
        (b"\xc0\x02\xc0\x00", 2),  # back and forth
        (b"\xc0\x02\x01a\0", 0),  # forward
        (b"\x40a\0", 0),  # reserved label types
        (b"\x80a\0", 0),
        (b"\x05ab", 0),  # cut in a label
        (b"\x01a", 0),  # no end
        (b"\xc0", 0),  # half a pointer
        (b"", 0),
        (
            b"\x3f" + b"a" * 63 + b"\x3f" + b"b" * 63 + b"\x3f" + b"c" * 63 + b"\x3f" + b"d" * 63 + b"\0",
            0,
        ),  # 257 octets
    ],
)
def test_names_that_are_none(buffer: bytes, offset: int) -> None:
    assert read_name(buffer, offset) is None


def test_the_longest_name_is_one() -> None:
    """255 octets with lengths and the end (RFC 1035 section 2.3.4)."""
    buffer = b"".join(b"\x3f" + c * 63 for c in (b"a", b"b", b"c")) + b"\x3d" + b"d" * 61 + b"\0"

    name_and_end = read_name(buffer, 0)

    assert name_and_end is not None
    assert (len(name_and_end[0]), name_and_end[1]) == (4, 255)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ((b"Nas", b"LOCAL"), (b"nas", b"local")),
        ((b"nas", b"local"), (b"nas", b"local")),
        ((b"", b"\xc4@[`{", b"AZ"), (b"", b"\xc4@[`{", b"az")),  # beside the letters of ASCII all stays
        ((), ()),
    ],
)
def test_names_are_compared_in_lower_case(labels: tuple[bytes, ...], expected: tuple[bytes, ...]) -> None:
    assert expected == lower(labels)


def test_chains_of_pointers_are_followed_to_a_bound() -> None:
    chain = b"\x01a\0" + b"\xc0\x00" + b"".join((0xC000 | 3 + 2 * i).to_bytes(2, "big") for i in range(MAX_POINTERS))
    last = 3 + 2 * (MAX_POINTERS - 1)

    assert read_name(chain, last) == ((b"a",), last + 2)
    assert read_name(chain, last + 2) is None


def test_records_of_every_kind() -> None:
    message = read_message(
        dns(
            questions=(question(name("x.local")),),
            answers=(address("x.local", "10.0.0.1"), pointer("_a._tcp.local", "i._a._tcp.local")),
            authority=(address("x.local", "fe80::1"),),
            additional=(
                service("i._a._tcp.local", "x.local"),
                text("i._a._tcp.local", b"a=1", b"", b"b"),
                record(b"\0", 47, b""),
            ),
        )
    )

    assert message.complete
    assert [r.type for r in message.records] == [1, 12, 28, 33, 16, 47]
    assert [r.section for r in message.records] == [
        "answer",
        "answer",
        "authority",
        "additional",
        "additional",
        "additional",
    ]
    assert message.records[4].strings == (b"a=1", b"", b"b")
    assert message.records[3].target == (b"x", b"local")


@pytest.mark.parametrize(
    "bad",
    [
        record(name("x.local"), 1, b"\1\2\3"),  # A of three octets
        record(name("x.local"), 28, bytes(15)),
        record(name("x.local"), 16, b"\x05ab"),  # a string longer than the record
        record(name("x.local"), 12, b"\x05ab"),  # a name that runs out of the record
        record(name("x.local"), 33, b"\0\0"),
    ],
)
def test_a_bad_record_is_skipped_and_the_next_one_is_read(bad: bytes) -> None:
    message = read_message(dns(answers=(bad, address("y.local", "10.0.0.1"))))

    assert ([r.name for r in message.records], message.complete) == ([(b"y", b"local")], False)


def test_other_classes_are_no_records() -> None:
    message = read_message(dns(answers=(address("x.local", "10.0.0.1", klass=3),)))

    assert (message.records, message.complete) == ([], True)


def test_counts_that_promise_too_much_are_noticed() -> None:
    payload = bytearray(dns(answers=(address("x.local", "10.0.0.1"),)))
    payload[7] = 9

    message = read_message(bytes(payload))

    assert (len(message.records), message.complete) == (1, False)


def test_the_number_of_records_is_bounded() -> None:
    message = read_message(dns(answers=tuple(address(f"h{i}.local", "10.0.0.1") for i in range(300))))

    assert len(message.records) == MAX_RECORDS


@given(st.ip_addresses())
def test_reverse_names_agree_with_the_standard_library(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    labels = tuple(label.encode() for label in ip.reverse_pointer.split("."))

    assert ip.packed == reverse_address(labels) == reverse_address(tuple(label.upper() for label in labels))


@pytest.mark.parametrize(
    "text_form",
    ["256.2.0.10.in-addr.arpa", "x.2.0.10.in-addr.arpa", "2.0.10.in-addr.arpa", "8.e.f.ip6.arpa", "host.local", ""],
)
def test_names_that_are_no_reverse_names(text_form: str) -> None:
    assert reverse_address(tuple(label.encode() for label in text_form.split("."))) == b""


REVERSE_LABELS = st.sampled_from([b"0", b"9", b"a", b"F", b"g", b"10", b"255", b"256", b"007", b"-1", b"1 ", b"\xb2"])
ZONES = st.sampled_from(
    [(b"in-addr", b"arpa"), (b"IN-ADDR", b"Arpa"), (b"ip6", b"arpa"), (b"ip6", b"arp\x01"), (b"arpa",)]
)


@given(st.sampled_from([0, 3, 4, 5, 32, 33]), ZONES, st.data())
def test_reverse_names_are_those_of_the_twin(count: int, zone: tuple[bytes, ...], data: st.DataObject) -> None:
    labels = data.draw(
        st.lists(REVERSE_LABELS if count < 32 else st.sampled_from([b"0", b"a", b"F"]), min_size=count, max_size=count)
    )
    if count == 32:
        labels[7] = data.draw(REVERSE_LABELS)
    name = (*labels, *zone)

    assert twin_dns.reverse_address(name) == reverse_address(name)


def test_plain_names_may_lack_their_end() -> None:
    assert (b"a", b"bc") == plain_name(b"\x01a\x02bc\0") == plain_name(b"\x01a\x02bc")
    with pytest.raises(MalformedError):
        plain_name(b"\x01a\x05bc")


LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=12)
NAMES = st.lists(LABEL, min_size=1, max_size=5).map(".".join)
RECORDS = st.lists(
    st.one_of(
        st.builds(lambda n, a: dpkt.dns.DNS.RR(name=n, type=1, cls=1, ip=a), NAMES, st.binary(min_size=4, max_size=4)),
        st.builds(
            lambda n, a: dpkt.dns.DNS.RR(name=n, type=28, cls=1, ip6=a), NAMES, st.binary(min_size=16, max_size=16)
        ),
        st.builds(lambda n, t: dpkt.dns.DNS.RR(name=n, type=12, cls=1, ptrname=t), NAMES, NAMES),
        st.builds(
            lambda n, t: dpkt.dns.DNS.RR(name=n, type=33, cls=1, priority=0, weight=0, port=1, srvname=t), NAMES, NAMES
        ),
    ),
    max_size=8,
)


@given(RECORDS)
def test_messages_agree_with_dpkt(records: list[dpkt.dns.DNS.RR]) -> None:
    """Written by dpkt with its own compression, read by both."""
    payload = bytes(dpkt.dns.DNS(op=0x8400, qd=[], an=records))
    expected = [
        (rr.name, getattr(rr, {1: "ip", 28: "ip6", 12: "ptrname", 33: "srvname"}[rr.type]))
        for rr in dpkt.dns.DNS(payload).an
    ]

    message = read_message(payload)

    assert message.complete
    assert expected == [
        (b".".join(r.name).decode(), r.address if r.address else b".".join(r.target).decode()) for r in message.records
    ]


@given(RECORDS, st.randoms(use_true_random=False))
def test_messages_agree_with_the_twin(records: list[dpkt.dns.DNS.RR], chance: random.Random) -> None:
    """Whole, cut anywhere, and with octets changed."""
    whole = bytes(dpkt.dns.DNS(op=0x8400, qd=[], an=records[:4], ns=records[4:6], ar=records[6:]))
    damaged = bytearray(whole)
    for _ in range(chance.randrange(1, 6)):
        damaged[chance.randrange(len(damaged))] = chance.choice((0, 1, 0x3F, 0x40, 0xC0, 0xFF, chance.randrange(256)))

    for payload in (whole, whole[: chance.randrange(len(whole))], bytes(damaged)):
        assert told(payload) == told_by_twin(payload)


def told(payload: bytes) -> tuple[object, ...] | None:
    message = dns_of_kernel.read_message(payload)
    return None if message is None else tuple(message)


def told_by_twin(payload: bytes) -> tuple[object, ...] | None:
    try:
        twin = twin_dns.Message(payload)
    except dpkt.NeedData:
        return None
    return bool(twin.qr), twin.opcode, twin.rcode, twin.questions, twin.records, twin.complete
