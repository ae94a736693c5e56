"""What single frames give, octet by octet and value by value: the specification that no twin can bend."""

from __future__ import annotations

import pytest
from fieldwatch_proto.schema import SightingSource, mac_text
from support.engine_compare import run
from support.engine_told import flows, give, sightings
from support.frames import (
    MAC_A,
    MAC_B,
    arp,
    ethernet,
    icmp,
    icmp6,
    ipv4,
    ipv4_fragments,
    ipv6,
    ndp_option,
    tcp,
    udp,
    vxlan,
)
from support.traffic import ETHERNET_FRAMES, SYN_FRAME

ETH, IP, ARP, NDP, FORWARD = (
    SightingSource.ETH,
    SightingSource.IP,
    SightingSource.ARP,
    SightingSource.NDP,
    SightingSource.FORWARD,
)


def test_tcp_octets() -> None:
    """A SYN as it stands in a capture: addresses, ports, flags, MACs and state come out as RFC 9293 has them."""
    octets = bytes.fromhex(
        "02000000000b02000000000a0800"  # Ethernet
        "4500002c1234400040061496c0a80101c6336407"  # IPv4, 44 octets, TCP
        "c00001bb0000000100000000600272100000000002"  # 49152 -> 443, SYN
        "0405b4"
    )

    result = give(octets)

    assert flows(result) == [(6, "192.168.1.1", 49_152, "198.51.100.7", 443, [], "", 1, 58, 0, 0)]
    row = result.flows[0]
    assert (row["tcp_flags"], row["reply_tcp_flags"], row["state"]) == (0x02, 0, 1)
    assert (mac_text(row["src_mac"]), mac_text(row["dst_mac"])) == (MAC_A, MAC_B)
    assert (row["first_ns"], row["last_ns"]) == (1000, 1000)
    assert sightings(result) == {(MAC_A, "", ETH), (MAC_A, "192.168.1.1", IP)}


def test_arp_reply_octets() -> None:
    """RFC 826: a reply binds its sender, what it says of its target is hearsay; no flow, no weak sighting."""
    octets = bytes.fromhex("02000000000a02000000000b0806000108000604000202000000000b0a00000202000000000a0a000001")

    result = give(octets)

    assert sightings(result) == {(MAC_B, "", ETH), (MAC_B, "10.0.0.2", ARP)}
    assert (result.flows, result.counters.by_layer) == ([], {"ethernet": 1, "arp": 1})


def test_arp_probe_binds_nothing() -> None:
    """RFC 5227: the sender of a probe has no address yet; the target of a request is only asked for."""
    probe = arp(1, MAC_A, "0.0.0.0", "00:00:00:00:00:00", "10.0.0.2")

    assert sightings(give(ethernet(probe, ethertype=0x0806))) == {(MAC_A, "", ETH)}


def test_neighbour_discovery() -> None:
    """RFC 4861: link-layer options bind; duplicate address detection and messages from afar do not."""
    assert {row for row in sightings(give(*ETHERNET_FRAMES["ndp"])) if row[2] == NDP} == {
        (MAC_A, "fe80::a", NDP),
        (MAC_B, "fe80::b", NDP),
        ("02:00:00:00:00:0d", "fe80::d", NDP),
    }


def test_router_swallows_nothing() -> None:
    """A source that is not local gives its MAC a FORWARD sighting of the family, and no address."""
    result = give(
        ethernet(ipv4("198.51.100.7", "10.0.0.1", udp(53, 9)), src=MAC_B),
        ethernet(ipv6("2001:db8:7::7", "2001:db8::1", udp(53, 9), hop_limit=57), src=MAC_B),
    )

    assert sightings(result) == {(MAC_B, "", ETH), (MAC_B, "0.0.0.0", FORWARD), (MAC_B, "::", FORWARD)}


@pytest.mark.parametrize("hop_limit", [1, 30, 32, 64, 128, 255])
def test_a_global_address_makes_no_router(hop_limit: int) -> None:
    """Every host of an IPv6 network has one; where no router lowered the hop limit, it tells nothing of the MAC."""
    result = give(ethernet(ipv6("2001:db8::5", "2001:db8::9", udp(53, 9), hop_limit=hop_limit)))

    assert sightings(result) == {(MAC_A, "", ETH)}


@pytest.mark.parametrize(
    ("ttl", "source"),
    [(1, IP), (32, IP), (33, FORWARD), (63, FORWARD), (64, IP), (127, FORWARD), (128, IP), (254, FORWARD), (255, IP)],
)
def test_a_lowered_hop_limit_was_forwarded(ttl: int, source: SightingSource) -> None:
    """Systems begin at 64, 128 or 255; up to 32 an application may have chosen it."""
    result = give(ethernet(ipv4("10.0.0.1", "10.0.0.2", udp(53, 9), ttl=ttl)))

    assert sightings(result) == {(MAC_A, "", ETH), (MAC_A, "10.0.0.1", source)}


def test_echo_is_one_flow() -> None:
    """Request and reply are one flow that shows the request's type and code; another identifier is another flow."""
    assert sorted(flows(give(*ETHERNET_FRAMES["echo"]))) == [
        (1, "10.0.0.1", 8, "198.51.100.7", 0, [], "", 1, 46, 1, 46),
        (1, "198.51.100.7", 0, "10.0.0.1", 0, [], "", 1, 46, 0, 0),
    ]


def test_icmp_error_is_credited_to_what_it_quotes() -> None:
    """A time-exceeded from a router counts as a reply of the flow that it is about."""
    probe, error = ETHERNET_FRAMES["icmp_error"]

    assert flows(give(probe, error)) == [
        (17, "10.0.0.1", 33_000, "198.51.100.7", 33_434, [], "", 1, len(probe), 1, len(error))
    ]
    assert flows(give(error)) == [(1, "10.0.0.254", 11, "10.0.0.1", 0, [], "", 1, len(error), 0, 0)]


def test_fragments_follow_their_first() -> None:
    """All pieces of a datagram count for its flow; without the first they are lost and outside."""
    pieces = [ethernet(packet) for packet in ipv4_fragments("10.0.0.1", "10.0.0.2", udp(700, 800, bytes(100)), mtu=60)]

    whole = give(*pieces)
    headless = give(*pieces[1:])

    assert flows(whole) == [(17, "10.0.0.1", 700, "10.0.0.2", 800, [], "", 3, sum(map(len, pieces)), 0, 0)]
    assert (headless.flows, headless.counters.fragments_lost, headless.counters.outside_flows) == ([], 2, 2)
    assert headless.counters.decoded == 2


def test_vlans_keep_flows_apart() -> None:
    """The same 5-tuple in different VLANs is two flows; VLAN id 0 is a priority and no VLAN."""
    result = give(
        ethernet(SYN_FRAME, vlans=[100]), ethernet(SYN_FRAME, vlans=[7, 200]), ethernet(SYN_FRAME, vlans=[0xE000])
    )

    assert sorted(row[5] for row in flows(result)) == [[], [7, 200], [100]]


def test_frames_of_customers_in_a_backbone() -> None:
    """IEEE 802.1ah: both senders are seen, the customer's frame keys the flow; ARP inside binds."""
    data, inner_arp, *_ = ETHERNET_FRAMES["pbb"]

    result = give(data, inner_arp)

    assert flows(result) == [(6, "10.0.0.1", 40_000, "10.0.0.2", 443, [100, 5], "", 1, len(data), 0, 0)]
    assert sightings(result) == {
        *((MAC_A, "", ETH), (MAC_B, "", ETH), (MAC_B, "10.0.0.2", ARP)),
        *(("02:00:00:00:06:01", "", ETH), ("02:00:00:00:06:01", "10.0.0.1", IP)),
    }


def test_backbones_in_backbones_end() -> None:
    """Work on one frame is bounded: four of them one in the other, as with tunnels."""
    four, five = ETHERNET_FRAMES["pbb"][-2:]

    assert give(four).counters.decoded == 1
    assert give(five).counters.rejected_at == {"pbb": 1}


def test_vxlan() -> None:
    """The inner header keys the flow, the outer one stands in `tunnels`; inner ARP counts for the outer flow."""
    data, inner_arp, *_ = ETHERNET_FRAMES["vxlan"]

    result = give(data, inner_arp)

    assert sorted(flows(result)) == [
        (6, "10.0.0.1", 40_000, "10.0.0.2", 443, [12], "vxlan 10.0.0.2 198.51.100.7 100", 1, len(data), 0, 0),
        (17, "10.0.0.1", 50_000, "10.0.0.2", 4789, [], "", 1, len(inner_arp), 0, 0),
    ]
    assert sightings(result) == {
        *((MAC_A, "", ETH), (MAC_A, "10.0.0.2", IP), (MAC_A, "10.0.0.1", IP)),  # outer
        *(("02:00:00:00:03:03", "", ETH), ("02:00:00:00:03:03", "10.0.0.1", IP)),
        *(("02:00:00:00:03:04", "", ETH), (MAC_B, "10.0.0.2", ARP)),
    }


def test_tunnels_have_one_number_for_both_directions() -> None:
    """A connection through GRE is one flow although its outer addresses swap; the inner address has no MAC."""
    there, back, *_ = ETHERNET_FRAMES["gre"]

    result = give(there, back)

    assert flows(result) == [
        (6, "10.0.0.1", 40_000, "10.0.0.2", 443, [], "gre 10.0.0.2 198.51.100.7 5", 1, len(there), 1, len(back))
    ]
    assert ("00:00:00:00:00:00", "10.0.0.1", IP) in sightings(result)


def test_nested_tunnels_stand_outermost_first() -> None:
    frame = ETHERNET_FRAMES["tunnels_nested"][-1]

    assert flows(give(frame))[0][6] == "gre 10.0.0.1 10.0.0.2 1; vxlan 10.0.0.2 198.51.100.7 7"


def test_tunnel_table_is_bounded() -> None:
    """What does not fit into the tunnel table shares the last number; every flow keeps its frames."""
    frames = [ethernet(ipv4("10.0.0.1", "10.0.0.2", vxlan(ethernet(SYN_FRAME), vni))) for vni in range(5000)]

    result = give(*frames)

    assert (len(result.tunnels), result.tunnels[-1]) == (4097, "other")
    assert sum(row["packets"] for row in result.flows) == 5000


@pytest.mark.parametrize(
    ("frame", "captured", "verdict", "layer"),
    [
        (ethernet(SYN_FRAME), 13, "truncated", "ethernet"),
        (ethernet(SYN_FRAME), 33, "truncated", "ipv4"),
        (ethernet(SYN_FRAME), 53, "truncated", "tcp"),
        (ethernet(SYN_FRAME)[:13], 13, "malformed", "ethernet"),
        (ethernet(ipv4("10.0.0.1", "10.0.0.2", udp(1, 2), total=1500)), 99, "malformed", "ipv4"),
        (ethernet(ipv4("10.0.0.1", "10.0.0.2", udp(1, 2, length=7))), 99, "malformed", "udp"),
        (ethernet(bytes(46), ethertype=0x88B5), 99, "unsupported", "ethernet"),
        (ethernet(arp(1, MAC_A, "10.0.0.1", MAC_B, "10.0.0.2", hlen=8), ethertype=0x0806), 99, "malformed", "arp"),
    ],
)
def test_verdicts(frame: bytes, captured: int, verdict: str, layer: str) -> None:
    """Truncated: the capture is too short. Malformed: it contradicts itself. Unsupported: nobody decodes it here."""
    counters = run([(1, frame[:captured], len(frame))]).counters

    assert (getattr(counters, verdict), counters.rejected_at) == (1, {layer: 1})
    assert (counters.frames, counters.decoded, counters.outside_flows) == (1, 0, 1)


def test_options_cut_off_are_no_loss() -> None:
    """A snaplen of 68 cuts TCP options off; the flow is whole all the same, with its octets on the wire."""
    frame = ethernet(ipv4("10.0.0.1", "10.0.0.2", tcp(1, 2, 2, options=bytes(20)), options=bytes(4)))

    result = run([(1, frame[:68], len(frame))])

    assert flows(result) == [(6, "10.0.0.1", 1, "10.0.0.2", 2, [], "", 1, len(frame), 0, 0)]


def test_broken_quote_is_payload() -> None:
    """An ICMP error whose quote makes no sense is a flow of its own."""
    result = give(ethernet(ipv4("10.0.0.1", "10.0.0.2", icmp(3, 1, payload=b"\x4f" + bytes(40)))))

    assert flows(result) == [(1, "10.0.0.1", 3, "10.0.0.2", 1, [], "", 1, 83, 0, 0)]


def ends(whole: bytes, part: bytes) -> tuple[int, int]:
    """(truncated, malformed) of frames that the capture, or their sender, has ended early; each counts for its flow."""
    cut, short = run([(1, whole[: len(part)], len(whole))]), give(part)

    assert (cut.counters.in_flows, short.counters.in_flows) == (1, 1)
    return cut.counters.truncated, short.counters.malformed


@pytest.mark.parametrize("end", [1, 8, 9, 15])
def test_cut_option_of_neighbour_discovery(end: int) -> None:
    """Whatever the first option has bound, a later one that is cut off is told; one that is not there is not missed."""
    options = ndp_option(1, MAC_A) + b"\x05\x01" + bytes(6)
    whole, part = (
        ethernet(ipv6("fe80::a", "ff02::1", icmp6(134, 0, bytes(4), bytes(8) + held), hop_limit=255))
        for held in (options, options[:end])
    )

    assert ends(whole, part) == (1, int(end != 8))
    assert ((MAC_A, "fe80::a", NDP) in sightings(give(part))) == (end >= 8)


def test_an_option_of_length_0_makes_the_whole_message_void() -> None:
    """RFC 4861 section 4.6: it is to be discarded, so it binds nothing; the frame counts for its flow."""
    options = ndp_option(1, MAC_A) + bytes(8)
    frame = ethernet(ipv6("fe80::a", "ff02::1", icmp6(134, 0, bytes(4), bytes(8) + options), hop_limit=255))
    result = give(frame)

    assert (result.counters.malformed, result.counters.in_flows) == (1, 1)
    assert result.counters.rejected_at == {"ndp": 1}
    assert (MAC_A, "fe80::a", NDP) not in sightings(result)


@pytest.mark.parametrize("end", [0, 10, 39, 40, 43, 44])
def test_cut_quote(end: int) -> None:
    """Of the quoted packet, the addresses and ports are needed; what is behind them may be cut off."""
    quote = ipv6("fd00::1", "fd00::2", udp(1, 2, bytes(20)))
    whole, part = (ethernet(ipv6("fd00::9", "fd00::1", icmp6(1, 4, payload=held))) for held in (quote, quote[:end]))

    assert ends(whole, part) == ((0, 0) if end >= 44 else (1, 1))
