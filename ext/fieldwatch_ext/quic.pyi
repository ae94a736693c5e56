"""Datagrams and frames of QUIC (RFC 9000; version 2: RFC 9369), read as far as they go, without any keys."""

from typing import NamedTuple

MAX_PACKETS: int
MAX_FRAMES: int
MAX_ACK_RANGES: int

class Packet(NamedTuple):
    """An Initial packet as it was sent."""

    version: bytes
    connection_id: bytes  # the destination's
    header: bytes  # up to the packet number
    rest: bytes  # the packet number, still masked, and what is sealed

def read_packets(datagram: bytes) -> tuple[list[Packet], bool]:
    """The Initial packets of a datagram (RFC 9000 sections 12.2, 17.2), and whether no length in it contradicts itself.

    At most `MAX_PACKETS` of all kinds are looked at. Ends where a packet has no length, or is of another version:
    behind it nothing can be found.
    """

def read_crypto(payload: bytes) -> tuple[list[tuple[int, bytes]], bool]:
    """(offset, octets) of the CRYPTO frames, and whether all is what an Initial packet may hold (section 17.2.2).

    At most `MAX_FRAMES` frames are looked at, padding not counted, and `MAX_ACK_RANGES` ranges of one ACK.
    """
