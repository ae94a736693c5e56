"""TLS: the name a client asks for, its fingerprint, hellos over several records, and lengths that lie."""

from __future__ import annotations

import random

import pytest
from fieldwatch_agent.dissectors.client_hello import ja4, read_client_hello
from fieldwatch_agent.dissectors.tls import dissect
from fieldwatch_agent.facts import Fact
from hellos import (
    RFC_8448,
    SERVER_TEXT,
    alpn,
    extension,
    frame,
    handshake,
    hello,
    ja4_by_hand,
    numbers,
    records,
    server_name,
    signature_algorithms,
    vector,
    versions,
)
from hellos import read as read_by
from hypothesis import given
from hypothesis import strategies as st
from messages import IP_TEXT
from support.cost import cpu_s

RFC_8448_JA4 = ja4_by_hand(
    "t13d030900",
    "1301,1302,1303",
    "000a,000d,001c,0023,002b,002d,0033,ff01_"
    "0403,0503,0603,0203,0804,0805,0806,0401,0501,0601,0201,0402,0502,0602,0202",
)
RFC_8448_SAID = [(SERVER_TEXT, "tls_name", "server"), (IP_TEXT, "ja4", RFC_8448_JA4)]

# The example of the definition of JA4, with GREASE as its browser sends it.
EXAMPLE = hello(
    extension(0x5A5A, b""),
    extension(0x001B, b"\x02\x00\x02"),
    server_name(b"example.com"),
    extension(0x0033, bytes(43)),
    alpn(b"h2", b"http/1.1"),
    extension(0x4469, vector(b"\x02h2", 2)),
    extension(0x0017, b""),
    extension(0x002D, b"\x01\x01"),
    signature_algorithms(0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601),
    extension(0x0005, b"\x01\0\0\0\0"),
    extension(0x0023, b""),
    extension(0x0012, b""),
    versions(0xAAAA, 0x0304, 0x0303),
    extension(0xFF01, b"\0"),
    extension(0x000B, b"\x01\0"),
    extension(0x000A, vector(numbers(0xDADA, 29, 23, 24), 2)),
    extension(0x0A0A, b"\0"),
    extension(0x0015, bytes(60)),
    ciphers=(
        *(0x2A2A, 0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F, 0xC02C, 0xC030),
        *(0xCCA9, 0xCCA8, 0xC013, 0xC014, 0x009C, 0x009D, 0x002F, 0x0035),
    ),
    session=bytes(32),
)
EXAMPLE_JA4 = "t13d1516h2_8daaf6152771_e5627efa2ab1"
GOLDEN = records(handshake(EXAMPLE))


def read(payload: bytes) -> tuple[list[tuple[str, str, str]], bool]:
    return read_by(dissect, frame("tls", payload))


def fingerprint(body: bytes) -> str:
    parsed = read_client_hello(body)

    assert parsed.complete
    return ja4(parsed, "TLS")


def test_a_client_names_the_server_and_shows_itself() -> None:
    """The name is hearsay about the server; the fingerprint is the client's own."""
    assert (RFC_8448_SAID, True) == read(RFC_8448)
    assert ([(SERVER_TEXT, "tls_name", "example.com"), (IP_TEXT, "ja4", EXAMPLE_JA4)], True) == read(GOLDEN)


def test_how_sure_and_by_which_evidence() -> None:
    said = [
        (item.source, item.evidence, item.confidence)
        for item in dissect(frame("tls", GOLDEN))
        if isinstance(item, Fact)
    ]

    assert said == [
        ("tls", "TLS ClientHello server name", 50),
        ("tls", "TLS ClientHello offering h2, http/1.1", 70),
    ]


@pytest.mark.parametrize("message", [RFC_8448, GOLDEN], ids=["rfc8448", "ja4"])
def test_every_prefix_says_a_part_and_breaks_off(message: bytes) -> None:
    """The name as soon as it is there, the fingerprint only at the end."""
    whole, _ = read(message)
    named = message.index(b"server" if message is RFC_8448 else b"example.com") + len(whole[0][2])
    for end in range(len(message)):
        assert (whole[:1] if end >= named else [], False) == read(message[:end])


@pytest.mark.parametrize("cuts", [(1,), (3,), (4,), (50, 51, 52), tuple(range(1, 200))])
def test_a_hello_may_span_records(cuts: tuple[int, ...]) -> None:
    assert read(GOLDEN) == read(records(handshake(EXAMPLE), *cuts))


def test_what_follows_the_hello_is_not_read() -> None:
    assert read(GOLDEN) == read(GOLDEN + b"\x14\x03\x03\0\x01\x01" + bytes(100))
    assert read(GOLDEN) == read(records(handshake(EXAMPLE) + handshake(b"", 11)))


@pytest.mark.parametrize(
    "between",
    [
        b"\x16\x03\x01\0\0",  # an empty fragment
        b"\x17\x03\x01\0\x01\0",  # another content type
        b"\x16\x02\x00\0\x01\0",  # another protocol
        b"\x16\x03\x01\x40\x01" + bytes(0x4001),  # longer than a record may be
    ],
)
def test_records_that_cannot_be_end_the_message(between: bytes) -> None:
    """Behind the name, in the middle of the fingerprint's part."""
    head = records(handshake(EXAMPLE)[:300])
    tail = records(handshake(EXAMPLE)[300:])

    assert (read(GOLDEN)[0], True) == read(head + tail)
    assert ([(SERVER_TEXT, "tls_name", "example.com")], False) == read(head + between + tail)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x16",
        bytes(200),
        b"GET / HTTP/1.1\r\n\r\n",
        records(handshake(EXAMPLE, kind=2)),  # a server's hello
        records(handshake(b"")),
    ],
)
def test_what_is_no_hello_says_nothing(payload: bytes) -> None:
    assert ([], False) == read(payload)


LATE = server_name(b"late.example")


@pytest.mark.parametrize(
    "body",
    [
        hello(LATE)[:34] + b"\xff" + hello(LATE)[35:],  # a session id longer than the hello
        numbers(0x0303) + bytes(33) + numbers(0xFFFF) + bytes(9),  # ciphers
        numbers(0x0303) + bytes(33) + vector(bytes(3), 2) + b"\x01\x00" + vector(LATE, 2),  # half a cipher
        numbers(0x0303) + bytes(33) + vector(bytes(2), 2) + b"\xff\x00" + vector(LATE, 2),  # compression methods
        hello(extension(5, b"")[:-1] + b"\xff", LATE),  # an extension longer than all of them
        hello(extension(0, b""), LATE),
        hello(extension(0, numbers(1)), LATE),
        hello(server_name(b"other", kind=1), LATE),
        hello(extension(0, vector(b"\0\xff\xffname", 2)), LATE),
        hello(extension(0, numbers(3) + b"\0\0\4name"), LATE),
        hello(extension(16, b""), LATE),
        hello(extension(16, vector(b"\x03h2", 2)), LATE),
        hello(extension(43, b"\x03\x03\x04\x03"), LATE),  # half a version
        hello(extension(43, b"\x04\x03\x04"), LATE),
        hello(extension(13, b"\0\x03\x04\x03\x08"), LATE),
        hello(extension(13, b"\0\x02\x04\x03\x08"), LATE),
    ],
)
def test_nothing_stands_behind_what_contradicts_itself(body: bytes) -> None:
    assert ([], False) == read(records(handshake(body)))


def test_octets_behind_the_extensions_are_a_contradiction() -> None:
    """RFC 8446 section 4.2 and RFC 5246 section 7.4.1.4: the name was read, the fingerprint is nobody's."""
    assert ([(SERVER_TEXT, "tls_name", "late.example")], False) == read(records(handshake(hello(LATE) + b"\0")))
    assert ([(SERVER_TEXT, "tls_name", "late.example")], False) == read(records(handshake(hello(LATE)[:-1] + b"e\0\0")))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"Example.COM", "example.com"),
        (b"example.com.", "example.com"),
        (b"printer", "printer"),
        (b"xn--bcher-kva.example", "xn--bcher-kva.example"),
        (b"_dmarc.4.example2", "_dmarc.4.example2"),
        (b"a" * 63 + b".example", "a" * 63 + ".example"),
    ],
)
def test_names_are_those_of_dns(name: bytes, expected: str) -> None:
    assert (SERVER_TEXT, "tls_name", expected) in read(records(handshake(hello(server_name(name)))))[0]


@pytest.mark.parametrize(
    "name",
    [
        *(b"", b".", b"a..b", b"192.168.1.1", b"2001:db8::1", b"a b", b"a\0", b"a\n", b"\x1b[2J"),
        "b\u00fccher.example".encode(),
        b"a" * 64,
        b"a." * 127 + b"a",
    ],
)
def test_addresses_and_what_no_host_is_called_are_no_names(name: bytes) -> None:
    """RFC 6066 section 3. Such a client still has a fingerprint."""
    said, complete = read(records(handshake(hello(server_name(name)))))

    assert (["ja4"], True) == ([key for _, key, _ in said], complete)


def test_the_first_of_repeated_names_counts() -> None:
    body = hello(server_name(b"one.example"), server_name(b"two.example"))

    assert [(SERVER_TEXT, "tls_name", "one.example")] == read(records(handshake(body)))[0][:1]


def test_a_server_that_nobody_can_be_has_no_name() -> None:
    looped = frame("tls", GOLDEN)._replace(src_ip=b"\x7f\0\0\1", dst_ip=b"\x7f\0\0\1")

    assert [("", "tls_name", "example.com"), ("", "ja4", EXAMPLE_JA4)] == read_by(dissect, looped)[0]


@pytest.mark.parametrize(
    ("extensions", "version", "expected"),
    [
        ((), 0x0303, "12"),
        ((), 0x0302, "11"),
        ((), 0x0301, "10"),
        ((), 0x0300, "s3"),
        ((), 0x0002, "s2"),
        ((), 0x0305, "00"),
        ((versions(0x0303, 0x0304),), 0x0303, "13"),
        ((versions(0xFAFA, 0x0303),), 0x0301, "12"),
        ((versions(),), 0x0302, "11"),
        ((versions(0x8A8A),), 0x0302, "11"),
        ((versions(0x7F1C, 0x0303),), 0x0303, "00"),  # a draft
    ],
)
def test_the_version_is_the_highest_on_offer(extensions: tuple[bytes, ...], version: int, expected: str) -> None:
    assert fingerprint(hello(*extensions, version=version))[1:3] == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((b"http/1.1", b"h2"), "h1"),
        ((b"h",), "hh"),
        ((b"",), "00"),
        ((), "00"),
        ((b"\xab",), "ab"),
        ((b"\xab\xcd",), "ad"),
        ((b"\x30\xab",), "3b"),
        ((b"\x30\x31\xab\xcd",), "3d"),
        ((b"\x30\xab\xcd\x31",), "01"),
    ],
)
def test_the_first_protocol_is_shown_by_its_ends(names: tuple[bytes, ...], expected: str) -> None:
    """The examples of the definition of JA4."""
    assert fingerprint(hello(alpn(*names)))[8:10] == expected


def test_without_signature_algorithms_the_extensions_stand_alone() -> None:
    """The definition's example again; the hash is the one that it gives."""
    kinds = (0x1B, 0x33, 0x4469, 0x17, 0x2D, 0x0D, 0x05, 0x23, 0x12, 0x2B, 0xFF01, 0x0B, 0x0A, 0x15)
    special = {0x0D: signature_algorithms(), 0x2B: versions(0x0304)}
    body = hello(*(special.get(kind, extension(kind, b"")) for kind in kinds))

    assert fingerprint(body).endswith("_6d807ffa2a79")


def test_parts_that_are_empty_are_zeros() -> None:
    assert fingerprint(hello(ciphers=(0x0A0A,))) == "t12i000000_000000000000_000000000000"
    assert fingerprint(hello(server_name(b"a"), alpn(b"h2"), ciphers=())) == "t12d0002h2_000000000000_000000000000"


def test_counts_end_at_99() -> None:
    body = hello(*(extension(0x1000 + number, b"") for number in range(120)), ciphers=range(0x100, 0x200))

    assert fingerprint(body)[4:8] == "9999"


def test_neither_the_order_of_extensions_nor_grease_changes_the_fingerprint() -> None:
    parts = [server_name(b"a"), alpn(b"h2"), extension(0x17, b""), extension(0x23, b""), versions(0x0304)]
    shuffled = [extension(0xCACA, b"\0"), *reversed(parts)]

    assert fingerprint(hello(*parts)) == fingerprint(hello(*shuffled, ciphers=(0x1302, 0xBABA, 0x1301)))


@given(st.binary(max_size=400))
def test_random_hellos_never_raise(octets: bytes) -> None:
    read(records(handshake(octets)))
    read(octets)


def test_mutated_hellos_never_raise_and_say_only_names_of_dns() -> None:
    dice = random.Random(4)
    for _ in range(3000):
        octets = bytearray(GOLDEN)
        for _ in range(dice.randint(1, 4)):
            octets[dice.randrange(len(octets))] = dice.choice((0, 1, 0xFF, dice.randrange(256)))
        for _, key, value in read(bytes(octets))[0]:
            assert value.isascii()
            assert key in ("tls_name", "ja4")


@pytest.mark.parametrize(
    "payload",
    [
        records(handshake(hello(*[extension(0x1000, b"")] * 16_000))),
        records(handshake(hello(ciphers=range(32_000)))),
        records(handshake(hello(alpn(*[b""] * 60_000)))),
        records(handshake(hello(server_name(b"0" * 16_000)))),
        b"\x16\x03\x01\0\x01\x01" + b"\x16\x03\x01\0\x01\xff" * 10_000,
    ],
    ids=["extensions", "ciphers", "alpn", "name", "records"],
)
def test_the_costliest_hellos_cost_little(payload: bytes) -> None:
    """Longer than the kernel hands over."""
    assert cpu_s(lambda: read(payload)) < 0.02
