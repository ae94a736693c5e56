"""QUIC (RFC 9000, 9001; version 2: RFC 9369): the ClientHello in the Initial packets of a client.

- Initial packets are sealed under keys that anyone can derive from the destination connection id of the client's first
  one, so reading them needs no secret. The seal is checked: what somebody made up without deriving the keys is nothing.
- A hello with a post-quantum key share does not fit into one datagram, and browsers scatter its pieces over both. So
  hellos that have begun are remembered, a bounded number, and forgotten when they are whole.
- Later packets of the client carry the server's connection id, and open only with the keys of the first: a packet that
  does not open is no contradiction, and says nothing. Three of four show it by bits of their header, which takes one
  key of three: the others are derived where they do not.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from hashlib import sha256
from typing import NamedTuple

from fieldwatch_ext.aes128 import encrypt_block, open_gcm
from fieldwatch_ext.engine import Slow
from fieldwatch_ext.quic import Packet, read_crypto, read_packets

from fieldwatch_agent.dissectors.client_hello import HANDSHAKE_HEADER_LEN, hello_facts
from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_agent.facts import Binding, Fact

MAX_BEGUN = 64  # hellos that wait for the rest, the oldest goes first: half a MiB at most
MAX_HELLO_OCTETS = 8192
MAX_PIECES = 64  # of one hello

KEY_LEN, IV_LEN = 16, 12
SAMPLE_BEHIND = 4  # octets from the packet number to the sample, however short the number (RFC 9001 section 5.4.2)
SAMPLE_LEN = 16
RESERVED = 0x0C  # bits of the first octet that are 0 under the mask (RFC 9000 section 17.2)

HMAC_BLOCK = 64  # octets, of SHA-256 (RFC 2104)
HMAC_INNER, HMAC_OUTER = (bytes(octet ^ pad for octet in range(256)) for pad in (0x36, 0x5C))


class Mac:
    """HMAC-SHA256 (RFC 2104) under one key for several messages, which is why it is not the library's.

    The daemon is without OpenSSL, and the library's own takes several times as long for messages as short as these.
    """

    def __init__(self, key: bytes) -> None:
        block = key.ljust(HMAC_BLOCK, b"\0")
        self._inner = block.translate(HMAC_INNER)
        self._outer = block.translate(HMAC_OUTER)

    def of(self, message: bytes) -> bytes:
        return sha256(self._outer + sha256(self._inner + message).digest()).digest()


def _expansion(label: str, length: int) -> bytes:
    """What HKDF-Expand-Label (RFC 8446 section 7.1) hashes for an output that takes one round."""
    name = b"tls13 " + label.encode()
    return length.to_bytes(2, "big") + bytes([len(name)]) + name + b"\0\1"


CLIENT_SECRET = _expansion("client in", 32)


class Version(NamedTuple):
    """What differs between versions: the salt, and labels in the derivation of keys."""

    salt: Mac
    key: bytes
    iv: bytes
    header: bytes


VERSIONS = {
    b"\0\0\0\1": Version(
        Mac(bytes.fromhex("38762cf7f55934b34d179ae6a4c80cadccbb7f0a")),
        _expansion("quic key", KEY_LEN),
        _expansion("quic iv", IV_LEN),
        _expansion("quic hp", KEY_LEN),
    ),
    b"\x6b\x33\x43\xcf": Version(
        Mac(bytes.fromhex("0dede3def700a6db819381be6e269dcbf9bd2ed9")),
        _expansion("quicv2 key", KEY_LEN),
        _expansion("quicv2 iv", IV_LEN),
        _expansion("quicv2 hp", KEY_LEN),
    ),
}


class ClientKeys:
    """Keys of a client's Initial packets (RFC 9001 section 5.2, RFC 9369 section 3.3.2)."""

    def __init__(self, version: Version, connection_id: bytes) -> None:
        self._version = version
        self._secret = Mac(Mac(version.salt.of(connection_id)).of(CLIENT_SECRET))
        self._header = self._secret.of(version.header)[:KEY_LEN]
        self._seal: tuple[bytes, int] | None = None  # key and initialisation vector

    def open(self, packet: Packet) -> bytes | None:
        """The frames of a packet, without its protections (sections 5.3, 5.4); None where the seal is not true."""
        rest = packet.rest
        sample = rest[SAMPLE_BEHIND : SAMPLE_BEHIND + SAMPLE_LEN]
        if len(sample) < SAMPLE_LEN:
            return None
        mask = encrypt_block(self._header, sample)
        first = packet.header[0] ^ mask[0] & 0x0F
        if first & RESERVED:
            return None  # other keys, mostly: the seal need not be checked to know
        if self._seal is None:
            iv = self._secret.of(self._version.iv)[:IV_LEN]
            self._seal = self._secret.of(self._version.key)[:KEY_LEN], int.from_bytes(iv, "big")
        key, iv_number = self._seal
        number_len = 1 + (first & 3)
        # Numbers start at 0, and Initial packets are few: what stands there is the whole number, not only its end.
        number = int.from_bytes(rest[:number_len], "big") ^ int.from_bytes(mask[1 : 1 + number_len], "big")
        header = bytes([first]) + packet.header[1:] + number.to_bytes(number_len, "big")
        return open_gcm(key, (iv_number ^ number).to_bytes(IV_LEN, "big"), header, rest[number_len:])


class Begun:
    """A hello of which something has arrived."""

    def __init__(self, packet: Packet) -> None:
        self.keys_of = packet.version, packet.connection_id
        self.keys = ClientKeys(VERSIONS[packet.version], packet.connection_id)
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
    packets, consistent = read_packets(slow.payload)
    for packet in packets:
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
    if not consistent:
        raise MalformedError


def _opened(packet: Packet, begun: Begun | None) -> tuple[Begun, bytes | None]:
    """The payload and the hello it belongs to; None where it opens with no keys that are known."""
    if begun is not None:
        payload = begun.keys.open(packet)
        if payload is not None or (packet.version, packet.connection_id) == begun.keys_of:
            return begun, payload
    begun = Begun(packet)  # the first packet, or the first after a Retry or in another version
    return begun, begun.keys.open(packet)
