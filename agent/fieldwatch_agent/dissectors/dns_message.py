"""DNS messages as dissectors see them, and names outside of messages. The kernel's module reads the messages."""

from __future__ import annotations

from dpkt import dns as rfc1035
from fieldwatch_ext import dns
from fieldwatch_ext.dns import Message, Name

from fieldwatch_agent.dissectors.notes import MalformedError

MAX_NAME_OCTETS = 255  # RFC 1035 section 2.3.4

TYPE_A: int = rfc1035.DNS_A
TYPE_AAAA: int = rfc1035.DNS_AAAA
TYPE_CNAME: int = rfc1035.DNS_CNAME
TYPE_PTR: int = rfc1035.DNS_PTR
TYPE_SRV: int = rfc1035.DNS_SRV
TYPE_TXT: int = rfc1035.DNS_TXT

ANSWER, AUTHORITY, ADDITIONAL = "answer", "authority", "additional"


def read_message(payload: bytes) -> Message:
    """What could be read of it. Raises MalformedError where there is not even a header."""
    message = dns.read_message(payload)
    if message is None:
        raise MalformedError
    return message


def plain_name(data: bytes) -> Name:
    """Uncompressed labels that fill `data`; the ending zero may be missing (RFC 4704 section 4.2).

    Raises MalformedError.
    """
    labels = []
    offset = 0
    while offset < len(data) and data[offset]:
        behind = offset + 1 + data[offset]
        if data[offset] >= 0x40 or behind > min(len(data), MAX_NAME_OCTETS):
            raise MalformedError
        labels.append(data[offset + 1 : behind])
        offset = behind
    return tuple(labels)
