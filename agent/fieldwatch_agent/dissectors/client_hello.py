"""The ClientHello of TLS (RFC 8446 section 4.1.2), as TCP and QUIC carry it: the name it asks for, and its JA4.

- The name is what a client calls the server, not what the server calls itself. Where hellos are encrypted it is the
  public name of the provider in front.
- JA4 (as FoxIO defines the fingerprint of TLS clients) tells TLS libraries and their settings apart. It depends neither
  on the server's name nor on the order in which browsers shuffle their extensions, so a device has few.
- A hello that is cut says its name if it got that far, and no fingerprint: that of half a hello would be a false one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import lru_cache

from fieldwatch_ext.engine import Slow
from fieldwatch_ext.hello import ClientHello, read_client_hello

from fieldwatch_agent.dissectors.notes import MalformedError, fact, holder, sender
from fieldwatch_agent.facts import Fact

HANDSHAKE_HEADER_LEN = 4  # type, length
CLIENT_HELLO = b"\x01"
SERVER_NAME = b"\x00\x00"  # kinds of extensions
ALPN = b"\x00\x10"

DNS_NAME = re.compile(rb"(?:[a-z0-9_-]{1,63}\.)*[a-z0-9_-]{1,63}")
MAX_DNS_NAME = 253

JA4_VERSIONS = {0x0304: "13", 0x0303: "12", 0x0302: "11", 0x0301: "10", 0x0300: "s3", 0x0002: "s2"}
JA4_NOTHING = "0" * 12
MAX_REMEMBERED_OCTETS = 512  # of the lists of a hello; real ones have about 100


def hello_facts(slow: Slow, message: bytes, carrier: str) -> Iterator[Fact]:
    """Facts of the handshake message that opens a connection; `carrier` is TLS or QUIC. Raises MalformedError."""
    if message[:1] != CLIENT_HELLO:
        raise MalformedError
    length = int.from_bytes(message[1:HANDSHAKE_HEADER_LEN], "big")
    body = message[HANDSHAKE_HEADER_LEN : HANDSHAKE_HEADER_LEN + length]
    hello = read_client_hello(body)
    name = dns_name(hello.server_name)
    if name:
        yield fact(slow, holder(slow, slow.dst_ip), "tls_name", name, f"{carrier} ClientHello server name", 50)
    if not hello.complete or len(body) < length:
        raise MalformedError
    evidence = f"{carrier} ClientHello"
    if hello.alpn:
        evidence += f" offering {b', '.join(hello.alpn).decode('utf-8', 'replace')}"
    yield fact(slow, sender(slow), "ja4", ja4(hello, carrier), evidence, 70)


def dns_name(name: bytes) -> bytes:
    """In lower case and without the dot at the end; empty where it is an address or no name at all."""
    name = name.lower().removesuffix(b".")
    if len(name) > MAX_DNS_NAME or not DNS_NAME.fullmatch(name) or name.rpartition(b".")[2].isdigit():
        return b""
    return name


def ja4(hello: ClientHello, carrier: str) -> str:
    """The fingerprint of a complete hello. The libraries on a network are few, and their hellos many."""
    octets = len(hello.ciphers) + len(hello.extensions) + len(hello.signature_algorithms)
    make = _ja4 if octets <= MAX_REMEMBERED_OCTETS else _ja4.__wrapped__
    first = hello.alpn[0] if hello.alpn else b""
    return make(carrier, hello.version, hello.ciphers, hello.extensions, hello.signature_algorithms, first)


@lru_cache(maxsize=128)
def _ja4(carrier: str, version: int, ciphers: bytes, extensions: bytes, algorithms: bytes, alpn: bytes) -> str:
    kinds = [extensions[at : at + 2] for at in range(0, len(extensions), 2)]
    kept = b"".join([kind for kind in kinds if kind not in (SERVER_NAME, ALPN)])
    return (
        f"{carrier[0].lower()}{JA4_VERSIONS.get(version, '00')}{'d' if SERVER_NAME in kinds else 'i'}"
        f"{min(len(ciphers) // 2, 99):02}{min(len(kinds), 99):02}{_ends(alpn)}"
        f"_{_hash(ciphers)}_{_hash(kept, algorithms if kept else b'')}"
    )


def _hash(*lists: bytes) -> str:
    text = "_".join([numbers.hex(",", 2) for numbers in lists if numbers])
    return hashlib.sha256(text.encode()).hexdigest()[: len(JA4_NOTHING)] if text else JA4_NOTHING


def _ends(name: bytes) -> str:
    """First and last character of the first ALPN value, or of its hexadecimal text where one is not alphanumeric."""
    if not name:
        return "00"
    text = name.decode("latin-1") if name[:1].isalnum() and name[-1:].isalnum() else name.hex()
    return text[0] + text[-1]
