"""NetBIOS datagram service (RFC 1002 section 4.4), and the browser announcements inside ([MS-BRWS] section 2.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from fieldwatch_ext.engine import Slow
from fieldwatch_ext.netbios import read_datagram

from fieldwatch_agent.dissectors.nbns import name_fact
from fieldwatch_agent.dissectors.notes import MalformedError, fact, holder
from fieldwatch_agent.facts import Binding, Fact

DATA_KINDS = (0x10, 0x11, 0x12)  # direct unique, direct group, broadcast

# SMB transaction to a mailslot ([MS-CIFS] section 2.2.4.33), offsets from the SMB header.
SMB_TRANSACTION = b"\xffSMB\x25"
SMB_WORD_COUNT = 32
SMB_DATA_COUNT = 55
SMB_DATA_OFFSET = 57
SMB_MIN_LEN = 61
MAILSLOT = b"\\MAILSLOT\\BROWSE"

HOST_ANNOUNCEMENT, DOMAIN_ANNOUNCEMENT, MASTER_ANNOUNCEMENT = 0x01, 0x0C, 0x0F
BROWSE_NAME = 6  # behind command, update count, periodicity
BROWSE_NAME_LEN = 16
BROWSE_COMMENT = 32

_U16 = struct.Struct("<H")


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """The name that a datagram comes from, and what its host announces to browsers."""
    datagram = read_datagram(slow.payload)
    if datagram is None:
        raise MalformedError
    if datagram.kind not in DATA_KINDS:
        return
    subject = holder(slow, datagram.source_ip)
    if datagram.source is not None:
        yield from name_fact(slow, subject, datagram.source, False, "NBDS source name", 75)
    data = mailslot_data(datagram.payload)
    if data:
        yield from _announcement(slow, subject, data)


def mailslot_data(payload: bytes) -> bytes:
    """The data of a transaction to the browser's mailslot; empty where it is another. Raises MalformedError."""
    if not payload.startswith(SMB_TRANSACTION) or len(payload) < SMB_MIN_LEN:
        return b""
    words_end = SMB_WORD_COUNT + 1 + 2 * payload[SMB_WORD_COUNT] + 2
    if payload[words_end : words_end + len(MAILSLOT)].upper() != MAILSLOT:
        return b""
    (count,) = _U16.unpack_from(payload, SMB_DATA_COUNT)
    (offset,) = _U16.unpack_from(payload, SMB_DATA_OFFSET)
    if offset + count > len(payload):
        raise MalformedError
    return payload[offset : offset + count]


def _announcement(slow: Slow, subject: str, data: bytes) -> Iterator[Fact]:
    if data[0] not in (HOST_ANNOUNCEMENT, DOMAIN_ANNOUNCEMENT, MASTER_ANNOUNCEMENT):
        return
    if len(data) < BROWSE_COMMENT:
        raise MalformedError
    name = data[BROWSE_NAME : BROWSE_NAME + BROWSE_NAME_LEN].partition(b"\0")[0]
    if data[0] == DOMAIN_ANNOUNCEMENT:
        yield fact(slow, subject, "netbios_group", name, "browser domain announcement", 75)
        return
    yield fact(slow, subject, "netbios_name", name, "browser announcement", 85)
    comment = data[BROWSE_COMMENT:].partition(b"\0")[0]
    yield fact(slow, subject, "system_description", comment, "browser announcement comment", 70)
