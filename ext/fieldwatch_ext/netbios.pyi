"""NetBIOS over TCP/UDP (RFC 1001, RFC 1002): names and datagrams."""

from typing import NamedTuple

class NetbiosName(NamedTuple):
    name: str  # trailing blanks and NULs cut; octets outside printable ASCII as \xNN
    suffix: int  # 16th octet: 0x00 workstation, 0x20 file server, 0x1b/0x1c domain, 0x1d/0x1e browser
    scope: str

class NameRecord(NamedTuple):
    section: str  # question, answer, authority, additional, node_status
    kind: int  # RR type: 0x20 NB, 0x21 NBSTAT
    name: NetbiosName
    group: bool
    addresses: list[bytes]  # of NB records, 4 octets each
    unit_id: bytes  # MAC of a node status reply, else empty

class NameMessage(NamedTuple):
    transaction: int
    opcode: int  # 0 query, 5 registration, 6 release, 7 WACK, 8/9 refresh, 15 multi-homed registration
    response: bool
    rcode: int
    records: list[NameRecord]

class Datagram(NamedTuple):
    kind: int  # 0x10 direct unique, 0x11 direct group, 0x12 broadcast, 0x13 error, 0x14 query, ...
    source_ip: bytes
    source_port: int
    source: NetbiosName | None
    destination: NetbiosName | None
    payload: bytes

def decode_first_level(label: bytes) -> bytes | None:
    """16 octets of a half-ASCII encoded name of 32 (RFC 1001 section 14.1); None where it is not one."""

def read_names(payload: bytes) -> NameMessage | None:
    """A name service message (RFC 1002 section 4.2), as far as it can be read; None where it is none."""

def read_datagram(payload: bytes) -> Datagram | None:
    """A datagram service message (RFC 1002 section 4.4); None where it is none.

    Where the destination's name cannot be read, `destination` is None and `payload` empty: the source still stands.
    """
