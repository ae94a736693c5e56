"""Hellos of TLS that say the same again are spared: only where the name and the fingerprint in them are the same."""

from __future__ import annotations

import random
from itertools import count

import pytest
from fieldwatch_agent.dissectors import dissect
from fieldwatch_agent.facts import Fact
from hellos import (
    RFC_8448,
    alpn,
    extension,
    frame,
    handshake,
    hello,
    numbers,
    records,
    server_name,
    signature_algorithms,
    versions,
)
from support.engine_compare import run
from support.hostile import on_the_wire

EXTENSIONS = (
    server_name(b"example.com"),
    extension(0x0033, b"key share"),
    alpn(b"h2"),
    signature_algorithms(0x0403, 0x0804),
    versions(0x0304, 0x0303),
)
BODY = hello(*EXTENSIONS)


def spared(first: bytes, *others: bytes, to: bytes = b"") -> list[bool]:
    """Whether each of the other hellos was, each in a connection of its own behind the first; `to` another server."""
    sent = [frame("tls", payload)._replace(src_port=50_000 + n) for n, payload in enumerate((first, *others))]
    if to:
        sent[1:] = [message._replace(dst_ip=to) for message in sent[1:]]
    wire = [on_the_wire(message) for message in sent]
    result = run([(ts_ns, octets, len(octets)) for ts_ns, octets in zip(count(), wire, strict=False)])
    handed = {slow.number for slow in result.slow}
    assert 1 in handed
    assert len(handed) + result.counters.slow_repeated == len(sent)
    return [number not in handed for number in range(2, len(sent) + 1)]


def sealed(body: bytes) -> bytes:
    return records(handshake(body))


@pytest.mark.parametrize(
    "other",
    [
        BODY,
        BODY[:2] + bytes(range(32)) + BODY[34:],
        hello(*EXTENSIONS, session=bytes(32)),
        hello(*reversed(EXTENSIONS)),
        hello(*EXTENSIONS[:1], extension(0x0033, b"another share"), *EXTENSIONS[2:]),
        hello(extension(0x1A1A, b"\0"), *EXTENSIONS, ciphers=(0x2A2A, 0x1301, 0x1302)),
        hello(*EXTENSIONS[:4], versions(0xFAFA, 0x0304, 0x0303)),
    ],
    ids=["same", "random", "session", "order", "key share", "GREASE", "GREASE version"],
)
def test_what_is_another_each_time_makes_no_news(other: bytes) -> None:
    assert spared(sealed(BODY), sealed(other)) == [True]


@pytest.mark.parametrize(
    "other",
    [
        hello(server_name(b"example.org"), *EXTENSIONS[1:]),
        hello(*EXTENSIONS, ciphers=(0x1302, 0x1303)),
        hello(*EXTENSIONS[:2], alpn(b"http/1.1"), *EXTENSIONS[3:]),
        hello(*EXTENSIONS[:3], signature_algorithms(0x0804, 0x0403), *EXTENSIONS[4:]),
        hello(*EXTENSIONS[:4], versions(0x0303)),
        hello(*EXTENSIONS, extension(0x0023, b"")),
        hello(*EXTENSIONS, version=0x0302),
        BODY + b"\0",
    ],
    ids=["name", "ciphers", "ALPN", "signatures", "versions", "extension", "legacy version", "contradiction"],
)
def test_what_facts_are_made_of_makes_news(other: bytes) -> None:
    assert spared(sealed(BODY), sealed(other)) == [False]


def test_the_same_hello_to_another_server_is_news() -> None:
    """It says what that server is called."""
    assert spared(sealed(BODY), sealed(BODY), to=bytes([203, 0, 113, 6])) == [False]


@pytest.mark.parametrize(
    "payload",
    [
        records(handshake(BODY), 40),
        sealed(BODY)[:-1],
        sealed(hello(*EXTENSIONS, server_name(b"example.com"))),
        sealed(hello(*EXTENSIONS, numbers(0x0015))),
    ],
    ids=["two records", "cut", "two names", "half an extension"],
)
def test_what_is_not_whole_is_looked_at_each_time(payload: bytes) -> None:
    assert spared(payload, payload) == [False]


@pytest.mark.parametrize("whole", [sealed(BODY), RFC_8448], ids=["made", "rfc8448"])
def test_what_is_damaged_is_spared_only_where_its_facts_were_told(whole: bytes) -> None:
    chance = random.Random(1)
    damaged = [whole[:end] for end in range(10, len(whole))]
    damaged += [whole[:at] + chance.randbytes(1) + whole[at + 1 :] for at in range(9, len(whole)) for _ in range(8)]
    told = facts(whole)
    untold = []
    known = spared(whole, *damaged)
    for payload, is_spared in zip(damaged, known, strict=True):
        if not is_spared:
            told |= facts(payload)
        elif not facts(payload) <= told:
            untold.append(payload)

    assert any(known)
    assert untold == []


def facts(payload: bytes) -> set[tuple[str, str, str]]:
    return {(item.subject, item.key, item.value) for item in dissect(frame("tls", payload)) if isinstance(item, Fact)}
