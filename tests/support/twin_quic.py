"""The plain-Python twin of `fieldwatch_ext.quic`."""

from __future__ import annotations

import re

from fieldwatch_ext.quic import MAX_ACK_RANGES, MAX_FRAMES, MAX_PACKETS, Packet

LONG_HEADER = 0x80
VERSION = 1
CONNECTION_ID = 5
MAX_CONNECTION_ID = 20
TYPES = {b"\0\0\0\1": (0, 3), b"\x6b\x33\x43\xcf": (1, 0)}  # of Initial and Retry (RFC 9000, RFC 9369)

PING, ACK, ACK_ECN, CRYPTO, CONNECTION_CLOSE = 0x01, 0x02, 0x03, 0x06, 0x1C
NOT_PADDING = re.compile(rb"[^\0]")


class MalformedError(Exception):
    """Something ends before its end."""


def read_packets(datagram: bytes) -> tuple[list[Packet], bool]:
    packets: list[Packet] = []
    try:
        _walk(datagram, packets)
    except MalformedError:
        return packets, False
    return packets, True


def _walk(datagram: bytes, packets: list[Packet]) -> None:
    at = 0
    for _ in range(MAX_PACKETS):
        if at == len(datagram) or not datagram[at] & LONG_HEADER:
            return
        if at + CONNECTION_ID > len(datagram):
            raise MalformedError
        version = datagram[at + VERSION : at + CONNECTION_ID]
        if version not in TYPES:
            return
        initial, retry = TYPES[version]
        kind = datagram[at] >> 4 & 3
        if kind == retry:
            return
        connection_id, behind = _octets(datagram, at + CONNECTION_ID, MAX_CONNECTION_ID)
        _, behind = _octets(datagram, behind, MAX_CONNECTION_ID)
        if kind == initial:
            token_len, behind = _varint(datagram, behind)
            behind += token_len
        length, number_at = _varint(datagram, behind)
        end = number_at + length
        if end > len(datagram):
            raise MalformedError
        if kind == initial:
            packets.append(Packet(version, connection_id, datagram[at:number_at], datagram[number_at:end]))
        at = end


def _octets(data: bytes, at: int, most: int) -> tuple[bytes, int]:
    """Octets behind a length of one octet, and the offset behind them."""
    behind = at + 1 + data[at] if at < len(data) else len(data) + 1
    if behind > len(data) or behind - at - 1 > most:
        raise MalformedError
    return data[at + 1 : behind], behind


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of 1, 2, 4 or 8 octets (RFC 9000 section 16), and the offset behind it."""
    if at >= len(data):
        raise MalformedError
    width = 1 << (data[at] >> 6)
    if at + width > len(data):
        raise MalformedError
    return int.from_bytes(data[at : at + width], "big") & ((1 << (8 * width - 2)) - 1), at + width


def read_crypto(payload: bytes) -> tuple[list[tuple[int, bytes]], bool]:
    pieces: list[tuple[int, bytes]] = []
    at = 0
    try:
        for _ in range(MAX_FRAMES):
            frame = NOT_PADDING.search(payload, at)
            if frame is None:
                return pieces, True
            kind, at = payload[frame.start()], frame.end()
            if kind == CRYPTO:
                offset, at = _varint(payload, at)
                length, at = _varint(payload, at)
                if at + length > len(payload):
                    break
                pieces.append((offset, payload[at : at + length]))
                at += length
            elif kind in (ACK, ACK_ECN):
                at = _behind_ack(payload, at, kind)
            elif kind == CONNECTION_CLOSE:
                return pieces, True
            elif kind != PING:
                break
    except MalformedError:
        pass
    return pieces, False


def _behind_ack(payload: bytes, at: int, kind: int) -> int:
    """The offset behind an ACK frame (section 19.3): largest, delay, count of ranges, a first range, ranges, ECN."""
    for _ in range(2):
        _, at = _varint(payload, at)
    ranges, at = _varint(payload, at)
    if ranges > MAX_ACK_RANGES:
        raise MalformedError
    for _ in range(1 + 2 * ranges + (3 if kind == ACK_ECN else 0)):
        _, at = _varint(payload, at)
    return at
