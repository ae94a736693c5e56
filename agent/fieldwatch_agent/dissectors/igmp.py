"""Group memberships: IGMP (RFC 1112 appendix I, RFC 2236, RFC 3376) and MLD (RFC 2710, RFC 3810).

- Which groups a host listens to tells of its programs. Groups that every host is in tell nothing and are left out.
- Who leaves a group (Leave, Done, a record that asks for no source any more) is not in it: that says nothing.
- Queries come from the one router or switch of the link that asks for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator

from fieldwatch_ext.engine import Slow
from fieldwatch_proto.schema import ip_text

from fieldwatch_agent.dissectors.notes import MalformedError, fact, sender
from fieldwatch_agent.facts import Binding, Fact

MAX_GROUPS = 16  # of one report
MAX_RECORDS = 256

IGMP_HEADER_LEN, IGMP_GROUP, IGMP_MAX_RESPONSE = 8, 4, 1
MLD_HEADER_LEN, MLD_GROUP = 24, 8
IGMP_QUERY, MLD_QUERY = 0x11, 130
REPORTS = {4: {0x12: "IGMPv1", 0x16: "IGMPv2"}, 6: {131: "MLDv1"}}
LISTS = {4: {0x22: "IGMPv3"}, 6: {143: "MLDv2"}}

# A query of the last version goes on behind the header (RFC 3376 section 4.1, RFC 3810 section 5.1).
QUERY_SOURCES, QUERY_TAIL_LEN = 2, 4

# Reports of the last versions (RFC 3376 section 4.2, RFC 3810 section 5.2).
LIST_COUNT, LIST_HEADER_LEN = 6, 8
RECORD_AUXILIARY, RECORD_SOURCES, RECORD_GROUP = 1, 2, 4
INCLUDE, EXCLUDE, TO_INCLUDE, TO_EXCLUDE, ALLOW = range(1, 6)
FROM_ANY = (EXCLUDE, TO_EXCLUDE)
FROM_SOME = (INCLUDE, TO_INCLUDE, ALLOW)

SOLICITED_NODE = bytes.fromhex("ff0200000000000000000001ff")  # RFC 4291 section 2.7.1
ALL_NODES = bytes.fromhex("ff02") + bytes(13) + b"\1"


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """Groups that the sender is in, and that it asks."""
    version = 6 if len(slow.dst_ip) == 16 else 4
    message = slow.payload
    if not message:
        raise MalformedError
    kind = message[0]
    if kind == (MLD_QUERY if version == 6 else IGMP_QUERY):
        evidence = query_text(version, message)
        yield fact(slow, sender(slow), "role", "multicast querier", evidence, 85)
    elif kind in REPORTS[version]:
        yield from _groups(slow, f"{REPORTS[version][kind]} report", [header_group(version, message)])
    elif kind in LISTS[version]:
        yield from _groups(slow, f"{LISTS[version][kind]} report", joined(version, message))


def header_group(version: int, message: bytes) -> bytes:
    """The group of a message of the older versions. Raises MalformedError where the header is cut."""
    if len(message) < (MLD_HEADER_LEN if version == 6 else IGMP_HEADER_LEN):
        raise MalformedError
    return message[MLD_GROUP:MLD_HEADER_LEN] if version == 6 else message[IGMP_GROUP:IGMP_HEADER_LEN]


def query_text(version: int, message: bytes) -> str:
    """Which query it is, for people. Its length says of which version (RFC 3376 section 7.1, RFC 3810 section 8.1)."""
    group = header_group(version, message)
    scope = "query for a group" if any(group) else "general query"
    header_octets, octets = (MLD_HEADER_LEN, 16) if version == 6 else (IGMP_HEADER_LEN, 4)
    if len(message) == header_octets:
        if version == 6:
            return f"MLDv1 {scope}"
        return f"IGMPv{2 if message[IGMP_MAX_RESPONSE] else 1} {scope}"
    if len(message) < header_octets + QUERY_TAIL_LEN:
        raise MalformedError
    sources = _u16(message, header_octets + QUERY_SOURCES)
    if header_octets + QUERY_TAIL_LEN + octets * sources > len(message):
        raise MalformedError
    return f"{'MLDv2' if version == 6 else 'IGMPv3'} {scope}"


def joined(version: int, message: bytes) -> Iterator[bytes]:
    """The groups of a report that its sender is in, of at most `MAX_RECORDS` records. Raises MalformedError."""
    if len(message) < LIST_HEADER_LEN:
        raise MalformedError
    octets = 16 if version == 6 else 4
    offset = LIST_HEADER_LEN
    for _ in range(min(_u16(message, LIST_COUNT), MAX_RECORDS)):
        sources_at = offset + RECORD_GROUP + octets
        if sources_at > len(message):
            raise MalformedError
        kind, auxiliary_words = message[offset], message[offset + RECORD_AUXILIARY]
        sources = _u16(message, offset + RECORD_SOURCES)
        behind = sources_at + octets * sources + 4 * auxiliary_words
        if behind > len(message):
            raise MalformedError
        if kind in FROM_ANY or (kind in FROM_SOME and sources):
            yield message[offset + RECORD_GROUP : sources_at]
        offset = behind


def _u16(octets: bytes, offset: int) -> int:
    return octets[offset] << 8 | octets[offset + 1]


def is_telling(group: bytes) -> bool:
    """A group of some programs only: not of the routing protocols of a link, all nodes, or one node's address."""
    if len(group) == 4:
        return group[:3] != b"\xe0\0\0"
    return group != ALL_NODES and not group.startswith(SOLICITED_NODE)


def is_group(address: bytes) -> bool:
    """Class D (RFC 1112 section 4) or ff00::/8 (RFC 4291 section 2.7)."""
    return address[0] >> 4 == 0xE if len(address) == 4 else address[0] == 0xFF


def _groups(slow: Slow, evidence: str, groups: Iterator[bytes] | list[bytes]) -> Iterator[Fact]:
    subject = sender(slow)
    told = 0
    for group in groups:
        if not is_group(group):
            raise MalformedError
        if is_telling(group):
            yield fact(slow, subject, "multicast_group", ip_text(group), evidence, 85)
            told += 1
            if told == MAX_GROUPS:
                return
