"""Mobile and mirrored traffic, octet by octet: the flow is that of the inner header, the tunnel stands beside it."""

from __future__ import annotations

import pytest
from fieldwatch_proto.schema import SightingSource
from support.engine_compare import run
from support.engine_told import flows, give, sightings
from support.frames import MAC_A, MAC_B, arp, erspan, ethernet, geneve, gre, gtpu, ipv4, udp, vxlan
from support.traffic import ETHERNET_FRAMES, SYN_FRAME

ETH, IP, ARP = SightingSource.ETH, SightingSource.IP, SightingSource.ARP
OUTER = "02000000000b02000000000a0800"  # Ethernet
INNER = "4500002c0000400040065ecc0a0000010a0000029c4001bb0000000100000000600272100000000002" + "0405b4"
PORTS = {"vxlan": 4789, "geneve": 6081, "gtpu": 2152}
SYN = (6, "10.0.0.1", 40_000, "10.0.0.2", 443)


def test_gtpu_octets() -> None:
    """3GPP TS 29.281: version 1, sequence number and one extension header (PDU session container) before the packet."""
    octets = bytes.fromhex(
        OUTER + "45000058000040004011b4abc0a80101c6336407"  # IPv4, 88 octets, UDP
        "0868086800440000"  # 2152 -> 2152, 68 octets
        "36ff003400001000"  # version 1, GTP; extension and sequence; G-PDU; 52 octets; TEID 0x1000
        "00070085"  # sequence 7, N-PDU, first extension header
        "01000900" + INNER  # 4 octets, no further one
    )

    result = give(octets)

    assert flows(result) == [(*SYN, [], "gtpu 192.168.1.1 198.51.100.7 0", 1, len(octets), 0, 0)]
    assert result.counters.by_layer == {"ethernet": 1, "ipv4": 1, "udp": 1, "gtpu": 1, "tcp": 1}
    assert sightings(result) == {
        *((MAC_A, "", ETH), (MAC_A, "192.168.1.1", IP)),
        ("00:00:00:00:00:00", "10.0.0.1", IP),
    }


def test_gtpu_directions_are_one_flow() -> None:
    """Each end gives a TEID of its own; the connection through both is one."""
    there, back, *_ = ETHERNET_FRAMES["gtpu"]

    assert flows(give(there, back)) == [
        (*SYN, [], "gtpu 10.0.0.2 198.51.100.7 0", 1, len(there), 1, len(back)),
    ]


@pytest.mark.parametrize("number", [3, 4, 6, 8, 9, 10])
def test_what_is_no_packet_in_gtpu_stays_with_its_datagram(number: int) -> None:
    """Messages of the tunnel, PPP, lengths and extension headers that make no sense: payload of the outer UDP flow."""
    frame = ETHERNET_FRAMES["gtpu"][number]

    result = give(frame)

    assert [(row[0], row[4], row[6]) for row in flows(result)] == [(17, 2152, "")]
    assert result.counters.decoded == 1


def test_erspan_ii_octets() -> None:
    """GRE with a sequence number, 8 octets of ERSPAN, the mirrored frame; the session is the tunnel's id."""
    octets = bytes.fromhex(
        OUTER + "4500006200004000402fb483c0a80101c6336407"  # IPv4, 98 octets, GRE
        "100088be00000001"  # sequence number; ERSPAN
        "1064004d00000000"  # version 1, VLAN 100, session 77
        "020000000402020000000401810000090800" + INNER  # tagged 9
    )

    result = give(octets)

    assert flows(result) == [(*SYN, [9], "erspan 192.168.1.1 198.51.100.7 77", 1, len(octets), 0, 0)]
    assert {("02:00:00:00:04:01", "", ETH), ("02:00:00:00:04:01", "10.0.0.1", IP)} <= sightings(result)


@pytest.mark.parametrize("kind", [1, 2, 3])
def test_erspan_types(kind: int) -> None:
    """Type I has no header and no session; a type III header may have 8 octets more, which it says."""
    frame = ethernet(ipv4("10.0.0.8", "10.0.0.9", erspan(ethernet(SYN_FRAME), 5, kind=kind, what=1), protocol=47))

    assert flows(give(frame)) == [(*SYN, [], f"erspan 10.0.0.8 10.0.0.9 {0 if kind == 1 else 5}", 1, len(frame), 0, 0)]


@pytest.mark.parametrize(("cut", "verdict"), [(True, "truncated"), (False, "malformed")])
def test_a_mirror_that_cuts_says_so(cut: bool, verdict: str) -> None:
    """The T bit: the mirrored frame was longer. Without it, a packet longer than its frame contradicts itself."""
    mirrored = ethernet(ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, bytes(99))))

    whole = give(ethernet(ipv4("10.0.0.8", "10.0.0.9", erspan(mirrored[:50], cut=True), protocol=47)))
    short = give(ethernet(ipv4("10.0.0.8", "10.0.0.9", erspan(mirrored[:36], cut=cut), protocol=47)))

    assert [row[:5] for row in flows(whole)] == [(17, "10.0.0.1", 1, "10.0.0.2", 2)]
    assert getattr(short.counters, verdict) == 1


BEHIND_UDP = 14 + 20 + 8
GUESSED = {
    "vxlan": lambda inner: vxlan(ethernet(inner), 7),
    "geneve": lambda inner: geneve(ethernet(inner), 7, options=bytes(8)),
    "gtpu": lambda inner: gtpu(inner, 7, extensions=[(0x85, b"\0\x09")]),
}


@pytest.mark.parametrize("name", GUESSED)
def test_a_capture_that_cuts_what_is_inside(name: str) -> None:
    """From the first octet behind UDP to the last of the inner headers: truncated, and of the outer flow."""
    frame = ethernet(ipv4("10.0.0.8", "10.0.0.9", GUESSED[name](SYN_FRAME)))
    told = {end: run([(1, frame[:end], len(frame))]) for end in range(BEHIND_UDP, len(frame) + 1)}
    cut = range(BEHIND_UDP, len(frame) - 4)  # the four octets of a TCP option are payload to the verdict

    assert {end for end, result in told.items() if result.counters.truncated} == set(cut)
    assert {end for end, result in told.items() if result.counters.decoded} == set(told) - set(cut)
    assert {(row[0], row[6], row[7], row[8]) for end in cut for row in flows(told[end])} == {(17, "", 1, len(frame))}
    assert {row[0] for end in told.keys() - set(cut) for row in flows(told[end])} == {6}


@pytest.mark.parametrize("name", GUESSED)
def test_a_datagram_that_ends_before_what_it_carries(name: str) -> None:
    """Wherever the inner packet is cut, when it is sent: malformed, and of the outer flow."""
    frames = {end: ethernet(ipv4("10.0.0.8", "10.0.0.9", GUESSED[name](SYN_FRAME[:end]))) for end in range(1, 44)}
    told = {end: give(frame) for end, frame in frames.items()}

    assert {end for end, result in told.items() if result.counters.malformed == 1} == set(frames)
    assert {(*row[:5], row[6], row[7]) for result in told.values() for row in flows(result)} == {
        (17, "10.0.0.8", 2152 if name == "gtpu" else 50_000, "10.0.0.9", PORTS[name], "", 1)
    }


def test_a_tunnel_that_is_sure_has_no_flow_when_its_inside_is_cut_off() -> None:
    """GRE says what follows: what is cut is known not to be of the flow between the tunnel's ends."""
    frame = ethernet(ipv4("10.0.0.8", "10.0.0.9", gre(SYN_FRAME), protocol=47))
    result = run([(1, frame[:60], len(frame))])

    assert (result.counters.truncated, result.counters.outside_flows, flows(result)) == (1, 1, [])


def test_erspan_header_cut_off() -> None:
    frame = ethernet(ipv4("10.0.0.8", "10.0.0.9", erspan(ethernet(SYN_FRAME)), protocol=47))

    assert run([(1, frame[:48], len(frame))]).counters.rejected_at == {"erspan": 1}


@pytest.mark.parametrize("name", ["gre", "geneve"])
def test_arp_without_ethernet_binds(name: str) -> None:
    """ARP directly in GRE or Geneve has no sender of its own; what it says of its own pair counts."""
    reply = arp(2, MAC_B, "10.0.0.2", MAC_A, "10.0.0.1")
    frame = next(octets for octets in ETHERNET_FRAMES[name] if octets.endswith(reply))

    result = give(frame)

    assert (MAC_B, "10.0.0.2", ARP) in sightings(result)
    assert [row[6:8] for row in flows(result)] == [("", 1)]


def test_tunnels_in_tunnels() -> None:
    """A mirror of mobile traffic: the outermost tunnel stands first."""
    mobile = ethernet(ipv4("10.0.0.5", "10.0.0.6", gtpu(SYN_FRAME, 9)))
    frame = ethernet(ipv4("10.0.0.8", "10.0.0.9", erspan(mobile, 3), protocol=47))

    assert flows(give(frame))[0][6] == "erspan 10.0.0.8 10.0.0.9 3; gtpu 10.0.0.5 10.0.0.6 0"


def test_erspan_of_another_version() -> None:
    """A type II header of another version is nobody's: the flow is that of GRE."""
    frame = ethernet(ipv4("10.0.0.8", "10.0.0.9", gre(b"\x30" + bytes(40), protocol=0x88BE, sequence=1), protocol=47))

    assert [row[:7] for row in flows(give(frame))] == [(47, "10.0.0.8", 0, "10.0.0.9", 0, [], "")]
