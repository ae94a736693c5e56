"""Frames from the air for tests, with what a capture puts before them; they nest like those of `support.frames`."""

from __future__ import annotations

import struct

from support.frames import MAC_A, MAC_B, mac


def wifi(
    payload: bytes,
    *,
    control: int = 0x08,
    flags: int = 0,
    src: str = MAC_A,
    dst: str = MAC_B,
    ap: str = "02:00:00:00:00:af",
    fragment: int = 0,
    qos: bytes = b"",
) -> bytes:
    """An IEEE 802.11 frame: frame control `control` (data) and `flags` (1 to DS, 2 from DS); `qos` with HT control."""
    to_ds, from_ds = flags & 1, flags >> 1 & 1
    first, second, third = {
        (0, 0): (dst, src, ap),
        (1, 0): (ap, src, dst),
        (0, 1): (dst, ap, src),
        (1, 1): (ap, ap, dst),
    }[to_ds, from_ds]
    header = bytes([control, flags, 0, 0]) + mac(first) + mac(second) + mac(third) + bytes([fragment, 0])
    return header + (mac(src) if to_ds and from_ds else b"") + qos + payload


def amsdu(*units: bytes, src: str = MAC_A, dst: str = MAC_B) -> bytes:
    """Several units as one payload, each with its addresses and length, padded to 4 octets."""
    octets = b""
    for unit in units:
        octets += bytes(-len(octets) % 4) + mac(dst) + mac(src) + struct.pack(">H", len(unit)) + unit
    return octets


def radiotap(frame: bytes, *, flags: int | None = None, time: bool = False, words: int = 1) -> bytes:
    """A header with so many words of presence bits, the time and the flags (0x10 FCS, 0x20 padded, 0x40 bad FCS)."""
    present = (1 if time else 0) | (2 if flags is not None else 0)
    octets = b"".join(
        struct.pack("<I", (present if word == 0 else 0) | (0x8000_0000 if word < words - 1 else 0))
        for word in range(words)
    )
    if time:
        octets += bytes(-(4 + len(octets)) % 8) + bytes(8)
    if flags is not None:
        octets += bytes([flags])
    return struct.pack("<BBH", 0, 0, 4 + len(octets)) + octets + frame


def prism(frame: bytes, *, big_endian: bool = False, octets: int = 144) -> bytes:
    return struct.pack(">II" if big_endian else "<II", 0x44, octets).ljust(144, b"\0") + frame


def avs(frame: bytes, *, octets: int = 64) -> bytes:
    return struct.pack(">II", 0x8021_1001, octets).ljust(64, b"\0") + frame


def ppi(frame: bytes, linktype: int, *, fields: bytes = b"") -> bytes:
    return struct.pack("<BBHI", 0, 0, 8 + len(fields), linktype) + fields + frame
