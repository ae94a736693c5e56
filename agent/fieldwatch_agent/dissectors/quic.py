"""QUIC (RFC 9000, 9001; version 2: RFC 9369): the ClientHello in the Initial packets of a client.

- Initial packets are sealed under keys that anyone can derive from the destination connection id of the client's first
  one, so reading them needs no secret. The seal is checked: what somebody made up without deriving the keys is nothing.
- A hello with a post-quantum key share does not fit into one datagram, and browsers scatter its pieces over both. So
  hellos that have begun are remembered, a bounded number, and forgotten when they are whole.
- Later packets of the client carry the server's connection id, and open only with the keys of the first: a packet that
  does not open is no contradiction, and says nothing.
"""

from __future__ import annotations

import hmac
import re
import threading
from collections import OrderedDict
from collections.abc import Iterator
from typing import NamedTuple

from fieldwatch_ext.aes128 import encrypt_block, open_gcm
from fieldwatch_ext.engine import Slow

from fieldwatch_agent.dissectors.client_hello import HANDSHAKE_HEADER_LEN, hello_facts
from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_agent.facts import Binding, Fact

MAX_PACKETS = 8  # of one datagram
MAX_FRAMES = 128  # of one packet, without padding; browsers scatter a hello over some twenty
MAX_ACK_RANGES = 32
MAX_BEGUN = 64  # hellos that wait for the rest, the oldest goes first: half a MiB at most
MAX_HELLO_OCTETS = 8192
MAX_PIECES = 64  # of one hello

LONG_HEADER = 0x80
VERSION = 1
CONNECTION_ID = 5
MAX_CONNECTION_ID = 20
SAMPLE_BEHIND = 4  # octets from the packet number to the sample, however short the number (RFC 9001 section 5.4.2)
SAMPLE_LEN = 16
RESERVED = 0x0C  # bits of the first octet that are 0 under the mask (RFC 9000 section 17.2)

PING, ACK, ACK_ECN, CRYPTO, CONNECTION_CLOSE = 0x01, 0x02, 0x03, 0x06, 0x1C
NOT_PADDING = re.compile(rb"[^\0]")


def _expansion(label: str, length: int) -> bytes:
    """What HKDF-Expand-Label (RFC 8446 section 7.1) hashes for an output that takes one round."""
    name = b"tls13 " + label.encode()
    return length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0\1"


CLIENT_SECRET = _expansion("client in", 32)


class Version(NamedTuple):
    """What differs between versions: types in the first octet, and labels in the derivation of keys."""

    salt: bytes
    initial: int
    retry: int
    key: bytes
    iv: bytes
    header: bytes


VERSIONS = {
    b"\0\0\0\1": Version(
        bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a"),
        0,
        3,
        _expansion("quic key", 16),
        _expansion("quic iv", 12),
        _expansion("quic hp", 16),
    ),
    b"\x6b\x33\x43\xcf": Version(
        bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9"),
        1,
        0,
        _expansion("quicv2 key", 16),
        _expansion("quicv2 iv", 12),
        _expansion("quicv2 hp", 16),
    ),
}


class Packet(NamedTuple):
    """An Initial packet as it was sent."""

    version: Version
    connection_id: bytes
    header: bytes  # up to the packet number
    rest: bytes  # the packet number, still masked, and what is sealed


class Keys(NamedTuple):
    key: bytes
    iv: bytes
    header: bytes


class Begun:
    """A hello of which something has arrived."""

    def __init__(self, packet: Packet) -> None:
        self.keys_of = packet.version, packet.connection_id
        self.keys = client_keys(packet.version, packet.connection_id)
        self.pieces: dict[int, bytes] = {}
        self._octets = 0

    def add(self, offset: int, data: bytes) -> None:
        """Keep a piece. Raises MalformedError where they come to more than a hello has."""
        known = len(self.pieces.get(offset, b""))
        if len(data) > known:
            self.pieces[offset] = data
            self._octets += len(data) - known
        if self._octets > MAX_HELLO_OCTETS or len(self.pieces) > MAX_PIECES:
            raise MalformedError

    def message(self) -> bytes:
        """The handshake message with its header; empty until all of it is there."""
        octets = bytearray()
        for offset in sorted(self.pieces):
            if offset > len(octets):
                break
            octets += self.pieces[offset][len(octets) - offset :]
        whole = HANDSHAKE_HEADER_LEN + int.from_bytes(octets[1:HANDSHAKE_HEADER_LEN], "big")
        return bytes(octets[:whole]) if len(octets) >= whole else b""


Ends = tuple[bytes, int, bytes, int]


class _Waiting(threading.local):
    """By endpoints, those of this thread: each interface is read by one of its own."""

    def __init__(self) -> None:
        self.begun: OrderedDict[Ends, Begun] = OrderedDict()


_waiting = _Waiting()


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """What the client calls the server, and the client's fingerprint, as soon as its hello is whole."""
    begun = _waiting.begun
    ends = (slow.src_ip, slow.src_port, slow.dst_ip, slow.dst_port)
    for packet in read_packets(slow.payload):
        hello, payload = _opened(packet, begun.get(ends))
        if payload is None:
            continue
        begun.pop(ends, None)
        pieces, complete = read_crypto(payload)
        for offset, data in pieces:
            hello.add(offset, data)
        message = hello.message()
        if message:
            yield from hello_facts(slow, message, "QUIC")
        elif hello.pieces:
            begun[ends] = hello
            if len(begun) > MAX_BEGUN:
                begun.popitem(last=False)
        if not complete:
            raise MalformedError


def _opened(packet: Packet, begun: Begun | None) -> tuple[Begun, bytes | None]:
    """The payload and the hello it belongs to; None where it opens with no keys that are known."""
    if begun is not None:
        payload = open_packet(packet, begun.keys)
        if payload is not None or (packet.version, packet.connection_id) == begun.keys_of:
            return begun, payload
    begun = Begun(packet)  # the first packet, or the first after a Retry or in another version
    return begun, open_packet(packet, begun.keys)


def read_packets(datagram: bytes) -> Iterator[Packet]:
    """The Initial packets of a datagram (RFC 9000 sections 12.2, 17.2), at most `MAX_PACKETS` of all kinds looked at.

    Ends where a packet has no length: behind it nothing can be found. Raises MalformedError.
    """
    at = 0
    for _ in range(MAX_PACKETS):
        if at == len(datagram) or not datagram[at] & LONG_HEADER:
            return
        if at + CONNECTION_ID > len(datagram):
            raise MalformedError
        version = VERSIONS.get(datagram[at + VERSION : at + CONNECTION_ID])
        kind = datagram[at] >> 4 & 3
        if version is None or kind == version.retry:
            return
        connection_id, behind = _octets(datagram, at + CONNECTION_ID, MAX_CONNECTION_ID)
        _, behind = _octets(datagram, behind, MAX_CONNECTION_ID)
        if kind == version.initial:
            token_len, behind = read_varint(datagram, behind)
            behind += token_len
        length, number_at = read_varint(datagram, behind)
        end = number_at + length
        if end > len(datagram):
            raise MalformedError
        if kind == version.initial:
            yield Packet(version, connection_id, datagram[at:number_at], datagram[number_at:end])
        at = end


def _octets(data: bytes, at: int, most: int) -> tuple[bytes, int]:
    """Octets behind a length of one octet, and the offset behind them."""
    behind = at + 1 + data[at] if at < len(data) else len(data) + 1
    if behind > len(data) or behind - at - 1 > most:
        raise MalformedError
    return data[at + 1 : behind], behind


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 1, 2, 4 or 8 octets (RFC 9000 section 16), and the offset behind it. Raises MalformedError."""
    if at >= len(data):
        raise MalformedError
    width = 1 << (data[at] >> 6)
    if at + width > len(data):
        raise MalformedError
    return int.from_bytes(data[at : at + width], "big") & ((1 << (8 * width - 2)) - 1), at + width


def client_keys(version: Version, connection_id: bytes) -> Keys:
    """Keys of the client's Initial packets (RFC 9001 section 5.2, RFC 9369 section 3.3.2)."""
    secret = _hmac(_hmac(version.salt, connection_id), CLIENT_SECRET)
    return Keys(_hmac(secret, version.key)[:16], _hmac(secret, version.iv)[:12], _hmac(secret, version.header)[:16])


def _hmac(key: bytes, message: bytes) -> bytes:
    return hmac.digest(key, message, "sha256")


def open_packet(packet: Packet, keys: Keys) -> bytes | None:
    """The frames of a packet, without its protections (RFC 9001 sections 5.3, 5.4); None where the seal is not true."""
    sample = packet.rest[SAMPLE_BEHIND : SAMPLE_BEHIND + SAMPLE_LEN]
    if len(sample) < SAMPLE_LEN:
        return None
    mask = encrypt_block(keys.header, sample)
    first = packet.header[0] ^ mask[0] & 0x0F
    if first & RESERVED:
        return None  # other keys, mostly: the seal need not be checked to know
    number_len = 1 + (first & 3)
    # Numbers start at 0, and Initial packets are few: what stands there is the whole number, not only its end.
    number = int.from_bytes(packet.rest[:number_len], "big") ^ int.from_bytes(mask[1 : 1 + number_len], "big")
    header = bytes([first]) + packet.header[1:] + number.to_bytes(number_len, "big")
    nonce = (int.from_bytes(keys.iv, "big") ^ number).to_bytes(len(keys.iv), "big")
    return open_gcm(keys.key, nonce, header, packet.rest[number_len:])


def read_crypto(payload: bytes) -> tuple[list[tuple[int, bytes]], bool]:
    """(offset, octets) of the CRYPTO frames, and whether all is what an Initial packet may hold (section 17.2.2)."""
    pieces: list[tuple[int, bytes]] = []
    at = 0
    try:
        for _ in range(MAX_FRAMES):
            frame = NOT_PADDING.search(payload, at)
            if frame is None:
                return pieces, True
            kind, at = payload[frame.start()], frame.end()
            if kind == CRYPTO:
                offset, at = read_varint(payload, at)
                length, at = read_varint(payload, at)
                if at + length > len(payload):
                    break
                pieces.append((offset, payload[at : at + length]))
                at += length
            elif kind in (ACK, ACK_ECN):
                at = _behind_ack(payload, at, kind)
            elif kind == CONNECTION_CLOSE:
                return pieces, True  # nothing of use comes behind
            elif kind != PING:
                break
    except MalformedError:
        pass
    return pieces, False


def _behind_ack(payload: bytes, at: int, kind: int) -> int:
    """The offset behind an ACK frame (section 19.3): largest, delay, count of ranges, a first range, ranges, ECN."""
    for _ in range(2):
        _, at = read_varint(payload, at)
    ranges, at = read_varint(payload, at)
    if ranges > MAX_ACK_RANGES:
        raise MalformedError
    for _ in range(1 + 2 * ranges + (3 if kind == ACK_ECN else 0)):
        _, at = read_varint(payload, at)
    return at
