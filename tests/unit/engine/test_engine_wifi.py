"""Frames from the air, octet by octet: who sent them, what they carry, and what is not to be read in them."""

from __future__ import annotations

import pytest
from fieldwatch_proto.schema import SightingSource, mac_text
from support.engine_compare import Result, run
from support.engine_told import flows, sightings
from support.frames import MAC_A, MAC_B, arp, ethernet, ipv4, snap, udp
from support.frames_air import avs, ppi, prism, radiotap, wifi
from support.traffic import AIR, SYN_FRAME, UNIT

ETH, IP, ARP = SightingSource.ETH, SightingSource.IP, SightingSource.ARP
SYN = (6, "10.0.0.1", 40_000, "10.0.0.2", 443, [], "")
SENT = {(MAC_A, "", ETH), (MAC_A, "10.0.0.1", IP)}


def heard(*frames: bytes, linktype: int = 105) -> Result:
    return run([(at, octets, len(octets)) for at, octets in enumerate(frames, 1)], linktype=linktype)


def test_data_octets() -> None:
    """QoS data to the access point with radiotap before it and the FCS behind: IEEE 802.11, LLC, SNAP, IPv4."""
    octets = bytes.fromhex(
        "00001a002f48000052d2b74e000000001002850900a0c8000000"  # radiotap, 26 octets; flags 0x10: FCS
        "88012c0002000000 00af 02000000000a 02000000000b 1000 0000".replace(" ", "")  # QoS data, to DS
        + "aaaa03000000 0800".replace(" ", "")
        + "4500002c0000400040065ecc0a0000010a0000029c4001bb0000000100000000600272100000000002"
        + "0405b4"
        + "deadbeef"
    )

    result = heard(octets, linktype=127)

    assert flows(result) == [(*SYN, 1, len(octets), 0, 0)]
    assert [(mac_text(row["src_mac"]), mac_text(row["dst_mac"])) for row in result.flows] == [(MAC_A, MAC_B)]
    assert sightings(result) == SENT
    assert set(result.counters.by_layer) == {"radiotap", "wifi", "llc", "snap", "ipv4", "tcp"}


@pytest.mark.parametrize("flags", range(4))
@pytest.mark.parametrize("qos", [b"", b"\x07\0"])
def test_the_source_by_the_direction(flags: int, qos: bytes) -> None:
    """Whichever way a frame goes between air and wire, source and destination are those of the unit."""
    frame = wifi(UNIT, flags=flags, qos=qos, control=0x88 if qos else 0x08)

    result = heard(frame)

    assert sightings(result) == SENT
    assert [(mac_text(row["src_mac"]), mac_text(row["dst_mac"])) for row in result.flows] == [(MAC_A, MAC_B)]


def test_ht_control_is_four_octets_of_qos_frames_alone() -> None:
    """Bit 7 of the flags: with QoS a field that follows, without it an order of frames."""
    with_field = wifi(UNIT, flags=0x81, control=0x88, qos=bytes(6))
    without = wifi(UNIT, flags=0x81)

    assert [row[:7] for row in flows(heard(with_field, without))] == [SYN]


def test_protected_frames_are_counted_and_their_source_is_seen() -> None:
    """What is encrypted is no loss of ours: decoded, outside all flows; addresses are in the clear."""
    result = heard(wifi(b"ciphertext", flags=0x41), wifi(b"ciphertext", flags=0x42, src=MAC_B))

    assert sightings(result) == {(MAC_A, "", ETH), (MAC_B, "", ETH)}
    assert result.counters.by_layer == {"wifi": 2, "wifi_protected": 2}
    assert (result.counters.decoded, result.counters.outside_flows) == (2, 2)


def test_protected_units_in_one_frame_hide_who_sent_them() -> None:
    """An access point that sends several units in a frame has its own address where the source would be."""
    assert sightings(heard(wifi(b"ciphertext", flags=0x42, control=0x88, qos=b"\x80\0"))) == set()


def test_several_units_in_the_clear_count_once() -> None:
    """An A-MSDU is one frame: its first unit keys the flow, with the addresses that stand with the unit."""
    frame = next(octets for octets in AIR if octets.count(UNIT) == 2)

    result = heard(frame)

    assert flows(result) == [(*SYN, 1, len(frame), 0, 0)]
    assert ("02:00:00:00:05:01", "", ETH) in sightings(result)


def test_the_air_itself() -> None:
    """Management and control frames are decoded, outside flows, and nobody is seen by them."""
    beacon, acknowledgment = wifi(bytes(12), control=0x80), wifi(b"", control=0xD4)[:10]

    result = heard(beacon, acknowledgment)

    assert (result.counters.decoded, result.counters.by_layer, result.flows) == (2, {"wifi": 2}, [])
    assert result.sightings == {}


def test_arp_over_the_air_binds() -> None:
    assert (MAC_A, "10.0.0.1", ARP) in sightings(
        heard(wifi(snap(0, 0x0806, arp(2, MAC_A, "10.0.0.1", MAC_B, "0.0.0.0"))))
    )


def test_units_in_pieces() -> None:
    """The first piece has the headers; a packet that is longer than it is no contradiction. The rest is counted."""
    first = wifi(snap(0, 0x0800, ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, bytes(400))))[:200], flags=5)
    rest = wifi(bytes(250), flags=1, fragment=1)

    result = heard(first, rest)

    assert flows(result) == [(17, "10.0.0.1", 1, "10.0.0.2", 2, [], "", 1, len(first), 0, 0)]
    assert (result.counters.decoded, result.counters.outside_flows) == (2, 1)


def test_a_damaged_frame_is_nobodys() -> None:
    """The card says that the FCS is wrong: no address in it is to be believed."""
    result = heard(radiotap(wifi(UNIT), flags=0x40), linktype=127)

    assert (result.counters.malformed, result.counters.rejected_at, result.sightings) == (1, {"wifi": 1}, {})


@pytest.mark.parametrize(
    ("linktype", "frame", "layer"),
    [
        (119, prism(wifi(UNIT)), "prism"),
        (119, prism(wifi(UNIT), big_endian=True), "prism"),
        (119, avs(wifi(UNIT)), "avs"),
        (163, avs(wifi(UNIT)), "avs"),
        (192, ppi(wifi(UNIT), 105, fields=bytes(12)), "ppi"),
        (192, ppi(ethernet(SYN_FRAME), 1), "ppi"),
        (127, radiotap(wifi(UNIT), flags=0, time=True, words=16), "radiotap"),
        (127, radiotap(wifi(bytes(2) + UNIT, control=0x88, qos=bytes(2)), flags=0x20), "radiotap"),
    ],
)
def test_headers_of_captures(linktype: int, frame: bytes, layer: str) -> None:
    """What a capture puts before the frame is skipped by its own length; padding and presence words are understood."""
    result = heard(frame, linktype=linktype)

    assert [row[:7] for row in flows(result)] == [SYN]
    assert result.counters.by_layer[layer] == 1


@pytest.mark.parametrize(
    ("linktype", "frame", "verdict", "layer"),
    [
        (105, wifi(UNIT)[:9], "malformed", "wifi"),
        (105, wifi(b"", control=0x1C), "unsupported", "wifi"),
        (105, wifi(UNIT, control=0x09), "unsupported", "wifi"),
        (105, wifi(b"", flags=3)[:29], "malformed", "wifi"),
        (127, b"\0\0\x07\0\0\0\0\0" + bytes(40), "malformed", "radiotap"),
        (127, b"\0\0\xff\xff\0\0\0\0" + bytes(40), "malformed", "radiotap"),
        (127, b"\1\0\x08\0\0\0\0\0" + bytes(40), "unsupported", "radiotap"),
        (127, b"\0\0\x08\0\2\0\0\0" + bytes(40), "malformed", "radiotap"),
        (127, radiotap(wifi(UNIT), flags=0, words=17), "malformed", "radiotap"),
        (127, radiotap(b"abc", flags=0x10), "malformed", "wifi"),
        (119, bytes(80), "unsupported", "prism"),
        (163, avs(wifi(UNIT), octets=63), "malformed", "avs"),
        (192, ppi(ppi(wifi(UNIT), 105), 192), "unsupported", "link"),
    ],
)
def test_verdicts(linktype: int, frame: bytes, verdict: str, layer: str) -> None:
    """A header that contradicts itself, is of another version, or says more words of presence than are read."""
    counters = heard(frame, linktype=linktype).counters

    assert (getattr(counters, verdict), counters.rejected_at) == (1, {layer: 1})


def test_the_capture_may_be_short() -> None:
    """Truncated, where the wire had what the capture lacks."""
    counters = run([(1, radiotap(wifi(UNIT))[:20], 100)], linktype=127).counters

    assert (counters.truncated, counters.rejected_at) == (1, {"wifi": 1})
