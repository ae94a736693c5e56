"""TLS over TCP (RFC 8446 section 5.1): the ClientHello with which a connection begins.

Hellos with post-quantum key shares are longer than a segment, and some clients spread them over several records.
"""

from __future__ import annotations

from collections.abc import Iterator

from fieldwatch_ext.engine import Slow

from fieldwatch_agent.dissectors.client_hello import HANDSHAKE_HEADER_LEN, hello_facts
from fieldwatch_agent.facts import Binding, Fact

RECORD_HEADER_LEN = 5
RECORD_LENGTH = 3
HANDSHAKE_RECORD = b"\x16\x03"  # type, major version
MAX_FRAGMENT = 1 << 14


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """What the client calls the server, and the client's fingerprint."""
    yield from hello_facts(slow, read_message(slow.payload), "TLS")


def read_message(payload: bytes) -> bytes:
    """The first handshake message with its header, put together from its records; shorter where it is cut."""
    message = bytearray()
    wanted = HANDSHAKE_HEADER_LEN
    at = 0
    while len(message) < wanted and payload[at : at + 2] == HANDSHAKE_RECORD:
        start = at + RECORD_HEADER_LEN
        length = int.from_bytes(payload[at + RECORD_LENGTH : start], "big")
        at = start + length
        fragment = payload[start:at]
        if not fragment or length > MAX_FRAGMENT:  # section 5.1 permits neither
            break
        message += fragment
        if len(message) >= HANDSHAKE_HEADER_LEN:
            wanted = HANDSHAKE_HEADER_LEN + int.from_bytes(message[1:HANDSHAKE_HEADER_LEN], "big")
    return bytes(message[:wanted])
