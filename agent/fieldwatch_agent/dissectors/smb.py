"""SMB 1 to 3 ([MS-CIFS], [MS-SMB], [MS-SMB2]): what file servers and their clients say of themselves when they meet.

- Names, domain and version stand in the NTLM messages of the session setup, bare or wrapped in SPNEGO (RFC 4178); a
  session setup by Kerberos has none. SMB 1 adds what both sides run, as text.
- Who logs on is not read. The domain that a client logs on to is that of an account: weaker than a server's own.
- A payload is the start of a segment: a message that is cut counts only where it is one of those read here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from fieldwatch_ext.engine import Slow

from fieldwatch_agent.dissectors import ntlmssp
from fieldwatch_agent.dissectors.notes import MalformedError, fact, sender
from fieldwatch_agent.facts import Binding, Fact

SESSION_HEADER_LEN = 4  # RFC 1002 section 4.3.1: type, then a length of 17 bits; on port 445 one of 24
SESSION_MESSAGE = 0x00
MAX_MESSAGES = 4  # of one segment
MAX_WRAPPING = 512  # octets of SPNEGO before an NTLM message; real ones have about 30
MAX_TEXT_OCTETS = 512  # what is looked at to find the end of a text

# SMB 2 and 3 ([MS-SMB2] sections 2.2.1, 2.2.4 to 2.2.6); offsets in the body count from behind the header
SMB2 = b"\xfeSMB"
SMB2_HEADER_LEN = 64
SMB2_COMMAND = 12
SMB2_FLAGS = 16
SMB2_RESPONSE = 0x01
SMB2_NEGOTIATE, SMB2_SESSION_SETUP = 0, 1
NEGOTIATED_LEN = 65  # as its structure size says: an error has another
NEGOTIATED_DIALECT = 4
BLOB_OF_REQUEST, BLOB_OF_RESPONSE = 12, 4  # offset and length of the security blob
DIALECTS = {0x0202: "2.0.2", 0x0210: "2.1", 0x0300: "3.0", 0x0302: "3.0.2", 0x0311: "3.1.1"}

# SMB 1 ([MS-CIFS] sections 2.2.3, 2.2.4.52, 2.2.4.53; with security blob: [MS-SMB] section 2.2.4.6)
SMB1 = b"\xffSMB"
SMB1_HEADER_LEN = 32
SMB1_COMMAND = 4
SMB1_FLAGS = 9
SMB1_FLAGS2 = 10
SMB1_REPLY = 0x80
SMB1_UNICODE = 0x8000
SMB1_NEGOTIATE, SMB1_SESSION_SETUP = 0x72, 0x73
NEGOTIATED_WORDS = (13, 17)  # of a reply that chose a dialect: LANMAN, NT LM 0.12
# (reply, words of a session setup) -> where its words hold lengths of what stands before the texts, and how many
# texts come before the two that are read. The blob is the only octets of its form, passwords are those of the other.
SETUP_FORMS: dict[tuple[bool, int], tuple[tuple[int, ...], int]] = {
    (False, 12): ((14,), 0),
    (True, 4): ((6,), 0),
    (False, 13): ((14, 16), 2),  # account and domain
    (True, 3): ((), 0),
}
BLOB_WORDS = (12, 4)

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_SPAN = struct.Struct("<HH")  # offset, length


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """Facts about the sender."""
    for message in _messages(slow.payload):
        if message.startswith(SMB2):
            yield from _smb2(slow, message)
        elif message.startswith(SMB1):
            yield from _smb1(slow, message)
        else:
            raise MalformedError


def _messages(payload: bytes) -> Iterator[bytes]:
    """SMB messages without the session header; the last may be cut."""
    offset = 0
    for _ in range(MAX_MESSAGES):
        start = offset + SESSION_HEADER_LEN
        if start >= len(payload) or payload[offset] != SESSION_MESSAGE:
            break
        offset = start + int.from_bytes(payload[offset + 1 : start], "big")
        yield payload[start:offset]
    if not offset:
        raise MalformedError


def _smb2(slow: Slow, message: bytes) -> Iterator[Fact]:
    if len(message) < SMB2_HEADER_LEN:
        raise MalformedError
    (command,) = _U16.unpack_from(message, SMB2_COMMAND)
    response = bool(message[SMB2_FLAGS] & SMB2_RESPONSE)
    at = SMB2_HEADER_LEN
    if command == SMB2_NEGOTIATE and response:
        if at + NEGOTIATED_DIALECT + _U16.size > len(message):
            raise MalformedError
        (structure,) = _U16.unpack_from(message, at)
        (dialect,) = _U16.unpack_from(message, at + NEGOTIATED_DIALECT)
        if structure == NEGOTIATED_LEN:
            yield from _dialect(slow, DIALECTS.get(dialect, ""))
    elif command == SMB2_SESSION_SETUP:
        at += BLOB_OF_RESPONSE if response else BLOB_OF_REQUEST
        if at + _SPAN.size > len(message):
            raise MalformedError
        offset, length = _SPAN.unpack_from(message, at)
        blob = message[offset : offset + length]
        yield from _log_on(slow, blob, response)
        if len(blob) < length:
            raise MalformedError


def _smb1(slow: Slow, message: bytes) -> Iterator[Fact]:
    if len(message) <= SMB1_HEADER_LEN:
        raise MalformedError
    command = message[SMB1_COMMAND]
    reply = bool(message[SMB1_FLAGS] & SMB1_REPLY)
    words = message[SMB1_HEADER_LEN]
    if command == SMB1_NEGOTIATE and reply and words in NEGOTIATED_WORDS:
        yield from _dialect(slow, "1")
    elif command == SMB1_SESSION_SETUP and (reply, words) in SETUP_FORMS:
        yield from _smb1_setup(slow, message, reply, words)


def _smb1_setup(slow: Slow, message: bytes, reply: bool, words: int) -> Iterator[Fact]:
    lengths, skipped = SETUP_FORMS[reply, words]
    first_word = SMB1_HEADER_LEN + 1
    offset = first_word + 2 * words + _U16.size  # behind the byte count
    if offset > len(message):
        raise MalformedError
    end = offset + _U16.unpack_from(message, offset - _U16.size)[0]
    before = sum(_U16.unpack_from(message, first_word + place)[0] for place in lengths)
    if offset + before > end:
        raise MalformedError
    if words in BLOB_WORDS:
        yield from _log_on(slow, message[offset : offset + before], reply)
    (flags,) = _U16.unpack_from(message, SMB1_FLAGS2)
    texts = _texts(message, offset + before, end, bool(flags & SMB1_UNICODE), skipped + 2)[skipped:]
    if len(texts) == 2:
        system, manager = texts
        evidence = f"SMB1 session setup {'response' if reply else 'request'}"
        if not (manager.startswith("Samba") and system.startswith("Windows")):  # which Samba says wherever it runs
            yield fact(slow, sender(slow), "os", system, f"{evidence} native OS", 70)
        yield fact(slow, sender(slow), "server" if reply else "user_agent", manager, f"{evidence} LAN manager", 70)
    if end > len(message):
        raise MalformedError


def _texts(message: bytes, offset: int, end: int, unicode: bool, count: int) -> list[str]:
    """Texts before `end`, at most `count`; UTF-16 ones begin at an even offset of the message.

    Each ends in NUL, but the last may end with the octets (some systems count one too few). One that is cut does not
    count.
    """
    found: list[str] = []
    width, encoding = (2, "utf-16-le") if unicode else (1, "latin-1")
    offset += offset % width
    while len(found) < count and offset + width <= min(end, len(message)):
        behind = offset
        limit = min(end, len(message), offset + MAX_TEXT_OCTETS) - width
        while behind <= limit and any(message[behind : behind + width]):
            behind += width
        if behind > limit and behind + width <= end:
            break
        found.append(message[offset:behind].decode(encoding, "replace"))
        offset = behind + width
    return found


def _dialect(slow: Slow, dialect: str) -> Iterator[Fact]:
    yield fact(slow, sender(slow), "smb_dialect", dialect, "SMB negotiate response", 90)


def _log_on(slow: Slow, blob: bytes, response: bool) -> Iterator[Fact]:
    """Facts of the NTLM message in a security blob."""
    at = blob.find(ntlmssp.SIGNATURE, 0, MAX_WRAPPING)
    if at < 0:
        return
    said = ntlmssp.read(blob[at:])
    subject = sender(slow)
    if isinstance(said, ntlmssp.Challenge) and response:
        evidence = "NTLM challenge"
        yield fact(slow, subject, "hostname", said.dns_name, f"{evidence} DNS computer name", 85)
        yield fact(slow, subject, "netbios_name", said.netbios_name, f"{evidence} NetBIOS computer name", 85)
        # A server that is in no domain gives its own name for one.
        if said.netbios_domain.upper() != said.netbios_name.upper():
            yield fact(slow, subject, "netbios_group", said.netbios_domain, f"{evidence} NetBIOS domain", 80)
        if said.dns_domain.lower() != said.dns_name.lower():
            yield fact(slow, subject, "dns_domain", said.dns_domain, f"{evidence} DNS domain", 80)
        if said.version:
            yield fact(slow, subject, "os", f"Windows {said.version}", f"{evidence} version", 60)
    elif isinstance(said, ntlmssp.Authenticate) and not response:
        evidence = "NTLM authenticate"
        yield fact(slow, subject, "netbios_name", said.workstation, f"{evidence} workstation", 75)
        if said.domain.upper() != said.workstation.upper():
            key = "dns_domain" if "." in said.domain else "netbios_group"
            yield fact(slow, subject, key, said.domain, f"{evidence} domain of the account", 40)
    if said is not None and not said.complete:
        raise MalformedError
