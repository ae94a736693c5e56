"""Frames of every protocol that the engine reads, by name: for prefixes, bit flips, agreement with the twin."""

from __future__ import annotations

import struct

from support.frames import (
    ACK,
    BROADCAST,
    FIN,
    MAC_A,
    MAC_B,
    NO_MAC,
    RST,
    SYN,
    Datagram,
    ah,
    arp,
    cooked,
    dccp,
    echo,
    echo6,
    erspan,
    ethernet,
    ethernet_802_3,
    fragment6,
    geneve,
    gre,
    gtpu,
    icmp,
    icmp6,
    ip,
    ipv4,
    ipv4_fragments,
    ipv6,
    llc,
    lldp,
    loopback,
    mac,
    mpls,
    nbds,
    nbns,
    neighbour_advertisement,
    neighbour_solicitation,
    netbios_label,
    options6,
    pbb,
    pppoe,
    redirect6,
    router_advertisement,
    router_solicitation,
    sctp,
    snap,
    stp,
    tcp,
    udp,
    udplite,
    vxlan,
)
from support.frames_air import amsdu, avs, ppi, prism, radiotap, wifi

A, B, PUBLIC = "10.0.0.1", "10.0.0.2", "198.51.100.7"
A6, B6 = "fd00::1", "2001:db8::2"
SYN_FRAME = ipv4(A, B, tcp(40_000, 443, SYN, options=b"\x02\x04\x05\xb4"))
PPTP = b"\x30\x81\x88\x0b\0\x08\0\x07\0\0\0\1\0\0\0\1"  # GRE version 1: key, sequence, acknowledgment
ALERT = [(0, b"\0\5\2\0\0\1\0")]  # hop-by-hop: the router alert of RFC 2711
NAME = netbios_label("FILESRV")
WORKGROUP = netbios_label("WORKGROUP", 0x1E)


def _quote(packet: bytes) -> bytes:
    return packet[:28] if packet[0] >> 4 == 4 else packet[:48]


def _nested(times: int) -> bytes:
    packet = SYN_FRAME
    for _ in range(times):
        packet = ipv4(A, B, packet, protocol=4)
    return packet


def _backbones(times: int) -> bytes:
    frame = ethernet(SYN_FRAME)
    for number in range(times):
        frame = ethernet(pbb(frame), src=f"02:00:00:00:07:{number:02x}", ethertype=0x88E7)
    return frame


def _fragmented6() -> list[bytes]:
    body = udp(5000, 6000, bytes(range(64))).octets
    return [
        ipv6(A6, B6, body[:32], protocol=17, extensions=[(44, fragment6(77, 0, True))]),
        ipv6(A6, B6, body[32:], protocol=17, extensions=[(44, fragment6(77, 32, False))]),
    ]


ETHERNET_FRAMES: dict[str, list[bytes]] = {
    "tcp": [
        ethernet(SYN_FRAME),
        ethernet(ipv4(B, A, tcp(443, 40_000, SYN | ACK)), src=MAC_B, dst=MAC_A),
        ethernet(ipv4(A, B, tcp(40_000, 443, ACK, b"GET /"))),
        ethernet(ipv4(A, B, tcp(40_000, 443, FIN | ACK))),
        ethernet(ipv4(B, A, tcp(443, 40_000, FIN | ACK)), src=MAC_B, dst=MAC_A),
        ethernet(ipv4(A, B, tcp(40_000, 443, ACK)), pad=True),
    ],
    "tcp_reset": [ethernet(ipv4(B, PUBLIC, tcp(1, 2, SYN))), ethernet(ipv4(PUBLIC, B, tcp(2, 1, RST | ACK)))],
    "udp": [ethernet(ipv4(A, B, udp(5000, 53, b"query")), pad=True), ethernet(ipv4(B, A, udp(53, 5000, b"answer")))],
    "udp_to_itself": [ethernet(ipv4(A, A, udp(9, 8))), ethernet(ipv4(A, A, udp(8, 9)))],
    "ipv4_options": [ethernet(ipv4(A, B, udp(1, 2), options=b"\x94\x04\0\0"))],
    "ipv4_fragments": [ethernet(packet) for packet in ipv4_fragments(A, B, udp(700, 800, bytes(100)), mtu=60)],
    "ipv4_fragments_reversed": [
        ethernet(packet) for packet in reversed(ipv4_fragments(A, B, udp(700, 800, bytes(100)), ident=2, mtu=60))
    ],
    "icmp_fragments_reversed": [
        ethernet(ipv4(A, PUBLIC, udp(33_000, 33_434))),
        *(
            ethernet(packet)
            for packet in reversed(
                ipv4_fragments(
                    B, A, icmp(11, 0, payload=ipv4(A, PUBLIC, udp(33_000, 33_434, bytes(90)))), ident=4, mtu=60
                )
            )
        ),
    ],
    "ipv4_later_fragment": [ethernet(ipv4(A, B, bytes(16), protocol=17, ident=9, offset=64))],
    "tcp_tiny_fragment": [ethernet(ipv4(A, B, tcp(5, 6).octets[:8], protocol=6, ident=3, more=True))],
    "sctp": [ethernet(ipv4(A, B, sctp(1000, 2000)))],
    "udplite": [
        ethernet(ipv4(A, B, udplite(1000, 2000, b"speech"))),
        ethernet(ipv6(B6, A6, udplite(2000, 1000, coverage=8))),
        ethernet(ipv4(A, B, udplite(1000, 2000, coverage=7))),
        ethernet(ipv4(A, B, udplite(1000, 2000, coverage=9))),
        ethernet(ipv4(B, A, icmp(3, 3, payload=_quote(ipv4(A, B, udplite(1000, 2000)))))),
    ],
    "dccp": [
        ethernet(ipv4(A, B, dccp(1000, 2000))),
        ethernet(ipv4(B, A, dccp(2000, 1000, words=3, extended=False))),
        ethernet(ipv4(A, B, dccp(1000, 2000, words=3))),
        ethernet(ipv4(A, B, dccp(1000, 2000, words=5))),
        ethernet(ipv4(B, A, icmp(3, 3, payload=_quote(ipv4(A, B, dccp(1000, 2000)))))),
    ],
    "igmp": [ethernet(ipv4(A, "224.0.0.22", bytes(8), protocol=2))],
    "ospf": [ethernet(ipv4(A, "224.0.0.5", bytes(24), protocol=89))],
    "echo": [
        ethernet(ipv4(A, PUBLIC, echo(False, 7))),
        ethernet(ipv4(PUBLIC, A, echo(True, 7)), src=MAC_B),
        ethernet(ipv4(PUBLIC, A, echo(True, 8)), src=MAC_B),
    ],
    "echo_to_itself": [ethernet(ipv4(A, A, echo(True, 7))), ethernet(ipv4(A, A, echo(False, 7)))],
    "icmp_error": [
        ethernet(ipv4(A, PUBLIC, udp(33_000, 33_434))),
        ethernet(ipv4("10.0.0.254", A, icmp(11, 0, payload=_quote(ipv4(A, PUBLIC, udp(33_000, 33_434)))))),
    ],
    "icmp_error_of_echo": [
        ethernet(ipv4(A, PUBLIC, echo(False, 99))),
        ethernet(ipv4(B, A, icmp(3, 1, payload=_quote(ipv4(A, PUBLIC, echo(False, 99)))))),
    ],
    "icmp_error_alone": [ethernet(ipv4(B, A, icmp(3, 3, payload=_quote(ipv4(A, B, udp(3, 4))))))],
    "icmp_error_short": [ethernet(ipv4(B, A, icmp(3, 3, payload=b"E")))],
    "ipv6": [ethernet(ipv6(A6, B6, tcp(1, 2, SYN))), ethernet(ipv6(B6, A6, tcp(2, 1, SYN | ACK)), src=MAC_B)],
    "forwarded": [
        *(ethernet(ipv4(A, B, udp(1, 2), ttl=ttl), src=MAC_B) for ttl in (1, 32, 33, 63, 64, 65, 127, 128, 254, 255)),
        *(ethernet(ipv6(B6, A6, udp(1, 2), hop_limit=hops)) for hops in (0, 32, 57, 64, 128, 254, 255)),
        ethernet(ipv6("fd00::7", A6, udp(1, 2), hop_limit=63)),
        ethernet(ipv4(PUBLIC, A, udp(1, 2), ttl=64)),
    ],
    "ipv6_extensions": [
        ethernet(
            ipv6(A6, B6, udp(1, 2), extensions=[(0, options6()), (43, options6(16)), (60, options6()), (51, ah())])
        )
    ],
    "ipv6_fragments": [ethernet(packet) for packet in _fragmented6()],
    "ipv6_fragments_reversed": [ethernet(packet, vlans=[3]) for packet in reversed(_fragmented6())],
    "fragments_in_a_tunnel_reversed": [
        ethernet(ipv4(A, B, gre(packet), protocol=47))
        for packet in reversed(ipv4_fragments(A, B, udp(700, 800, bytes(100)), ident=5, mtu=60))
    ],
    "ipv6_nothing": [ethernet(ipv6(A6, B6, b""), pad=True)],
    "ipv4_ah": [ethernet(ipv4(A, B, bytes([17]) + ah() + udp(1, 2).octets, protocol=51))],
    "echo6": [ethernet(ipv6(A6, B6, echo6(False, 5))), ethernet(ipv6(B6, A6, echo6(True, 5)), src=MAC_B)],
    "icmp6_error": [
        ethernet(ipv6(A6, B6, udp(1, 9))),
        ethernet(ipv6("fd00::9", A6, icmp6(1, 4, payload=_quote(ipv6(A6, B6, udp(1, 9)))))),
    ],
    "ndp": [
        ethernet(ipv6("fe80::a", "ff02::1:ff00:b", neighbour_solicitation("fe80::b", MAC_A), hop_limit=255)),
        ethernet(ipv6("fe80::b", "fe80::a", neighbour_advertisement("fe80::b", MAC_B), hop_limit=255), src=MAC_B),
        ethernet(ipv6("::", "ff02::1:ff00:c", neighbour_solicitation("fe80::c"), hop_limit=255)),
        ethernet(ipv6("fe80::a", "ff02::2", router_solicitation(MAC_A), hop_limit=255)),
        ethernet(ipv6("fe80::b", "ff02::1", router_advertisement(MAC_B), hop_limit=255), src=MAC_B),
        ethernet(ipv6("fe80::b", "fe80::a", redirect6("fe80::d", B6, "02:00:00:00:00:0d"), hop_limit=255), src=MAC_B),
        ethernet(ipv6("fe80::b", "fe80::a", neighbour_advertisement("fe80::b", MAC_B), hop_limit=64), src=MAC_B),
    ],
    "mld": [
        ethernet(ipv6("fe80::a", "ff02::16", icmp6(143, 0, b"\0\0\0\1", bytes(20)), hop_limit=1, extensions=ALERT)),
        ethernet(ipv6("fe80::a", "ff02::1", icmp6(130, 0, bytes(4), bytes(16)), hop_limit=1, extensions=ALERT)),
        ethernet(ipv6("fe80::a", "ff02::1", icmp6(131, 0, bytes(4), bytes(16)), hop_limit=64)),
    ],
    "arp": [
        ethernet(arp(1, MAC_A, A, NO_MAC, B), dst=BROADCAST, ethertype=0x0806, pad=True),
        ethernet(arp(2, MAC_B, B, MAC_A, A), src=MAC_B, dst=MAC_A, ethertype=0x0806, pad=True),
        ethernet(arp(1, MAC_A, "0.0.0.0", NO_MAC, B), dst=BROADCAST, ethertype=0x0806),
        ethernet(arp(2, MAC_A, A, MAC_A, A), dst=BROADCAST, ethertype=0x0806),
    ],
    "arp_odd": [
        ethernet(arp(1, MAC_A, A, NO_MAC, B, hlen=8), ethertype=0x0806),
        ethernet(arp(1, MAC_A, A, NO_MAC, B, hardware=7), ethertype=0x0806),
        ethernet(arp(9, MAC_A, A, NO_MAC, B), ethertype=0x0806),
    ],
    "arp_snap": [ethernet_802_3(snap(0, 0x0806, arp(1, MAC_A, A, NO_MAC, B)), dst=BROADCAST)],
    "vlan": [
        ethernet(SYN_FRAME, vlans=[100]),
        ethernet(SYN_FRAME, vlans=[0x2000 | 7, 200], tpids=[0x88A8, 0x8100]),
        ethernet(SYN_FRAME, vlans=[1, 2, 3, 4, 5], tpids=[0x9100, 0x88A8, 0x8100, 0x8100, 0x8100]),
        ethernet(SYN_FRAME, vlans=[0xE000]),
        ethernet(arp(1, MAC_A, A, NO_MAC, B), ethertype=0x0806, vlans=[100]),
    ],
    "vlan_many": [ethernet(SYN_FRAME, vlans=[1] * 16), ethernet(SYN_FRAME, vlans=[1] * 17)],
    "mpls": [
        ethernet(mpls([16, 17], SYN_FRAME), ethertype=0x8847),
        ethernet(mpls([16], ipv6(A6, B6, udp(1, 2))), ethertype=0x8848),
        ethernet(mpls([18], bytes(4) + ethernet(SYN_FRAME, src="02:00:00:00:01:01")), ethertype=0x8847),
        ethernet(mpls([18], ethernet(SYN_FRAME, dst="00:00:00:00:00:01")), ethertype=0x8847),
        ethernet(mpls([18], b"\x10" * 20), ethertype=0x8847),
    ],
    "pppoe": [
        ethernet(pppoe(SYN_FRAME), ethertype=0x8864),
        ethernet(pppoe(ipv6(A6, B6, udp(1, 2)), protocol=0x0057), ethertype=0x8864, vlans=[7, 9]),
        ethernet(pppoe(b"\x01\x01\0\x04", protocol=0xC021), ethertype=0x8864),
        ethernet(b"\x11\x09\0\0\0\x04\x01\x01\0\0", ethertype=0x8863, dst=BROADCAST),
        ethernet(pppoe(bytes(8), protocol=0x003D), ethertype=0x8864),
    ],
    "pbb": [
        ethernet(pbb(ethernet(SYN_FRAME, src="02:00:00:00:06:01", vlans=[5])), ethertype=0x88E7, vlans=[100]),
        ethernet(pbb(ethernet(arp(2, MAC_B, B, MAC_A, A), src=MAC_B, ethertype=0x0806)), ethertype=0x88E7),
        ethernet(pbb(pbb(ethernet(SYN_FRAME))), ethertype=0x88E7),
        _backbones(4),
        _backbones(5),
    ],
    "lldp": [ethernet(lldp((1, b"\x04" + mac(MAC_A)), (2, b"\x05eth0"), (3, b"\0\x78")), ethertype=0x88CC)],
    "cdp": [ethernet_802_3(snap(0x00000C, 0x2000, b"\x02\xb4\0\0\0\x01\0\x08host"))],
    "stp": [ethernet_802_3(stp()), ethernet_802_3(snap(0x00000C, 0x010B, bytes(36)))],
    "llc": [ethernet_802_3(llc(0xFE, 0xFE, 3, b"is-is")), ethernet_802_3(snap(0x080007, 0x809B, b"appletalk"))],
    "eapol": [ethernet(b"\x02\x01\0\0", ethertype=0x888E)],
    "unknown": [ethernet(bytes(46), ethertype=0x88B5), ethernet(bytes(46), ethertype=0x05FF)],
    "gre": [
        ethernet(ipv4(B, PUBLIC, gre(SYN_FRAME, key=5), protocol=47)),
        ethernet(ipv4(PUBLIC, B, gre(ipv4(B, A, tcp(443, 40_000, SYN | ACK)), key=5), protocol=47)),
        ethernet(ipv4(A, B, gre(ethernet(SYN_FRAME, src="02:00:00:00:02:02"), protocol=0x6558), protocol=47)),
        ethernet(ipv4(A, B, gre(ipv6(A6, B6, udp(1, 2)), protocol=0x86DD, check=True, sequence=1), protocol=47)),
        ethernet(ipv4(A, B, PPTP + b"\xff\x03\0\x21" + SYN_FRAME, protocol=47)),
        ethernet(ipv4(A, B, gre(b"nobody's", protocol=0x88B5), protocol=47)),
        ethernet(ipv4(A, B, gre(arp(2, MAC_B, B, MAC_A, A), protocol=0x0806), protocol=47)),
        ethernet(ipv4(A, B, gre(b"\x45 broken", protocol=0x0800), protocol=47)),
        ethernet(ipv4(A, B, b"\0\x02\x08\0" + SYN_FRAME, protocol=47)),
    ],
    "vxlan": [
        ethernet(ipv4(B, PUBLIC, vxlan(ethernet(SYN_FRAME, src="02:00:00:00:03:03", vlans=[12]), 100))),
        ethernet(
            ipv4(A, B, vxlan(ethernet(arp(2, MAC_B, B, MAC_A, A), src="02:00:00:00:03:04", ethertype=0x0806), 100))
        ),
        ethernet(ipv4(A, B, vxlan(ethernet(b"\x45 broken", ethertype=0x0800), 100))),
        ethernet(ipv4(A, B, udp(1, 4789, b"\x88\0\0\x07\0\0\x64\0" + ethernet(SYN_FRAME)))),
        ethernet(ipv4(A, B, udp(1, 4789, b"\7 no vxlan at all"))),
        ethernet(ipv4(A, B, vxlan(ethernet(lldp((1, b"\x04x")), ethertype=0x88CC), 100))),
    ],
    "geneve": [
        ethernet(ipv4(A, B, geneve(ethernet(SYN_FRAME, src="02:00:00:00:03:05"), 9, options=bytes(8)))),
        ethernet(ipv4(A, B, geneve(SYN_FRAME, 9, protocol=0x0800))),
        ethernet(ipv4(A, B, geneve(arp(2, MAC_B, B, MAC_A, A), 9, protocol=0x0806))),
        ethernet(ipv4(A, B, geneve(b"?", 9, protocol=0x1234))),
    ],
    "erspan": [
        ethernet(ipv4(A, PUBLIC, erspan(ethernet(SYN_FRAME, src="02:00:00:00:04:01"), kind=1), protocol=47)),
        ethernet(ipv4(A, PUBLIC, erspan(ethernet(SYN_FRAME, src="02:00:00:00:04:02", vlans=[9]), 77), protocol=47)),
        ethernet(ipv4(A, PUBLIC, erspan(ethernet(ipv4(A, B, udp(1, 2, bytes(9))))[:44], 1, cut=True), protocol=47)),
        ethernet(ipv4(A, PUBLIC, erspan(ethernet(ipv4(A, B, udp(1, 2, bytes(9))))[:40], 1, cut=True), protocol=47)),
        ethernet(ipv4(A, PUBLIC, erspan(ethernet(ipv4(A, B, udp(1, 2, bytes(9))))[:40], 1), protocol=47)),
        ethernet(ipv4(A, PUBLIC, erspan(ethernet(SYN_FRAME), 1023, kind=3, what=1), protocol=47)),
        ethernet(ipv4(A, PUBLIC, erspan(ipv6(A6, B6, udp(1, 2)), 5, kind=3, what=2 << 10), protocol=47)),
        ethernet(ipv4(A, PUBLIC, erspan(bytes(40), 5, kind=3, what=7 << 10), protocol=47)),
        ethernet(ipv4(A, PUBLIC, gre(b"\x30" * 40, protocol=0x88BE, sequence=1), protocol=47)),
        ethernet(ipv4(A, PUBLIC, erspan(b"", 5), protocol=47)),
        ethernet(ipv4(A, B, erspan(ethernet(arp(2, MAC_B, B, MAC_A, A), src=MAC_B, ethertype=0x0806), 5), protocol=47)),
    ],
    "gtpu": [
        ethernet(ipv4(B, PUBLIC, gtpu(SYN_FRAME, 0x1000))),
        ethernet(ipv4(PUBLIC, B, gtpu(ipv4(B, A, tcp(443, 40_000, SYN | ACK)), 0x2000, sequence=7))),
        ethernet(ipv4(A, B, gtpu(ipv6(A6, B6, udp(1, 2)), 5, extensions=[(0x85, b"\0\x09"), (0x40, bytes(6))]))),
        ethernet(ipv4(A, B, gtpu(b"", 0, kind=1, sequence=1))),
        ethernet(ipv4(A, B, gtpu(b"\xc0\x21\1\1\0\4", 5))),
        ethernet(ipv4(A, B, gtpu(b"\x45 broken", 5))),
        ethernet(ipv4(A, B, gtpu(SYN_FRAME, 5, length=400))),
        ethernet(ipv4(A, B, gtpu(SYN_FRAME, 5, length=30))),
        ethernet(ipv4(A, B, gtpu(SYN_FRAME, 5, extensions=[(0x85, bytes(2))] * 17))),
        ethernet(ipv4(A, B, udp(1, 2152, b"\x36\xff\0\x09\0\0\0\x05\0\0\0\x85\0\0\0\0\0\0\0"))),
        ethernet(ipv4(A, B, udp(1, 2152, b"\x10\xff\0\0" + bytes(16)))),
    ],
    "ip_in_ip": [
        ethernet(ipv4(A, B, SYN_FRAME, protocol=4)),
        ethernet(ipv4(A, B, ipv6(A6, B6, udp(1, 2)), protocol=41)),
        ethernet(ipv6(A6, B6, SYN_FRAME, protocol=4)),
        ethernet(ipv6(A6, B6, ipv6(B6, A6, udp(1, 2)), protocol=41)),
    ],
    "tunnels_nested": [
        ethernet(_nested(4)),
        ethernet(_nested(5)),
        ethernet(_nested(6)),
        ethernet(ipv4(A, B, gre(ipv4(B, PUBLIC, vxlan(ethernet(SYN_FRAME), 7)), key=1), protocol=47)),
    ],
    "netbios": [
        ethernet(ipv4(A, "10.255.255.255", udp(137, 137, nbns(0x0110, questions=[(NAME, 0x20)]))), dst=BROADCAST),
        ethernet(
            ipv4(B, A, udp(137, 137, nbns(0x8500, answers=[(NAME, 0x20, b"\0\0" + ip(B))]))), src=MAC_B, dst=MAC_A
        ),
        ethernet(ipv4(A, "10.255.255.255", udp(138, 138, nbds(NAME, WORKGROUP, b"\xffSMB%"))), dst=BROADCAST),
        ethernet(ipv4(A, B, udp(137, 137, b"short"))),
        ethernet(ipv4(A, B, udp(138, 138, b"\x55" * 20))),
    ],
    "slow": [
        ethernet(ipv4(A, "255.255.255.255", udp(source, port, b"payload")), dst=BROADCAST)
        for source, port in ((68, 67), (546, 547), (5353, 5353), (5000, 5355), (1900, 6000))
    ],
    "lengths": [
        ethernet(ipv4(A, B, udp(1, 2), total=0)),
        ethernet(ipv4(A, B, udp(1, 2), total=19)),
        ethernet(ipv4(A, B, udp(1, 2), total=1500)),
        ethernet(ipv4(A, B, udp(1, 2, b"x", length=7))),
        ethernet(ipv4(A, B, udp(1, 2, b"x", length=0))),
        ethernet(ipv4(A, B, udp(1, 2, b"x", length=900))),
        ethernet(ipv4(A, B, udp(1, 2, b"more than it says", length=9))),
        ethernet(ipv6(A6, B6, udp(1, 2), length=0)),
        ethernet(ipv6(A6, B6, udp(1, 2), length=4000)),
        ethernet(ipv4(A, B, Datagram(6, struct.pack(">HHIIBBHHH", 1, 2, 0, 0, 0x40, 2, 0, 0, 0)))),
        ethernet(ipv4(A, B, Datagram(6, struct.pack(">HHIIBBHHH", 1, 2, 0, 0, 0xF0, 2, 0, 0, 0)))),
    ],
    "odd_addresses": [
        ethernet(ipv4("0.0.0.0", "255.255.255.255", udp(68, 67))),
        ethernet(ipv4("127.0.0.1", "127.0.0.1", udp(1, 2))),
        ethernet(ipv4("224.0.0.1", A, udp(1, 2))),
        ethernet(ipv4("169.254.3.4", A, udp(1, 2))),
        ethernet(ipv4("100.64.0.9", A, udp(1, 2)), src=NO_MAC),
        ethernet(ipv4(A, B, udp(1, 2)), src="03:00:00:00:00:01"),
        ethernet(ipv6("::1", "::1", udp(1, 2))),
        ethernet(ipv6("ff02::1", A6, udp(1, 2))),
    ],
}

UNIT = snap(0, 0x0800, SYN_FRAME)
AIR = [
    bytes(40),
    wifi(UNIT),
    wifi(UNIT, flags=1),
    wifi(UNIT, flags=2),
    wifi(UNIT, flags=3),
    wifi(UNIT, flags=3, control=0x88, qos=b"\0\0"),
    wifi(UNIT, flags=0x81, control=0x88, qos=bytes(6)),
    wifi(UNIT, flags=0x81),
    wifi(snap(0, 0x0806, arp(1, MAC_A, A, NO_MAC, B)), flags=2, dst=BROADCAST),
    wifi(snap(0, 0x888E, b"\x02\x03\0\0"), flags=2),
    wifi(llc(0xFE, 0xFE, 3, b"is-is"), flags=1),
    wifi(b"ciphertext", flags=0x41),
    wifi(b"ciphertext", flags=0x42, control=0x88, qos=b"\x80\0"),
    wifi(b"", flags=1, control=0x48),
    wifi(b"", flags=0x42, control=0xC8, qos=b"\0\0"),
    wifi(snap(0, 0x0800, ipv4(A, B, udp(1, 2, bytes(400))))[:200], flags=5),
    wifi(snap(0, 0x0800, ipv4(A, B, udp(1, 2, bytes(400))))[:200], flags=1),
    wifi(b"the rest of a unit", flags=1, fragment=1),
    wifi(amsdu(UNIT, UNIT, src="02:00:00:00:05:01"), flags=2, control=0x88, qos=b"\x80\0"),
    wifi(amsdu(UNIT, src="02:00:00:00:05:01")[:30], flags=1, control=0x88, qos=b"\x80\0"),
    wifi(UNIT, src="03:00:00:00:05:02", flags=1),
    wifi(bytes(12), control=0x80, dst=BROADCAST),
    wifi(b"", control=0xD4)[:10],
    wifi(b"", control=0x1C),
    wifi(UNIT, control=0x09),
]
OTHER_LINKS: dict[int, list[bytes]] = {
    0: [loopback(SYN_FRAME), loopback(ipv6(A6, B6, udp(1, 2)), family=30), loopback(SYN_FRAME, family=99)],
    9: [b"\xff\x03\0\x21" + SYN_FRAME, b"\x21" + SYN_FRAME, b"\0\x57" + ipv6(A6, B6, udp(1, 2))],
    51: [pppoe(SYN_FRAME)],
    101: [SYN_FRAME, ipv6(A6, B6, udp(1, 2)), b""],
    104: [b"\x0f\0\x08\0" + SYN_FRAME],
    105: AIR,
    108: [loopback(SYN_FRAME, big_endian=True), loopback(ipv6(A6, B6, udp(1, 2)), family=10, big_endian=True)],
    113: [
        cooked(SYN_FRAME),
        cooked(arp(1, MAC_A, A, NO_MAC, B), ethertype=0x0806),
        cooked(snap(0, 0x0800, SYN_FRAME), ethertype=4),
        cooked(bytes(20), hardware=824),
    ],
    119: [prism(wifi(UNIT)), prism(wifi(UNIT), big_endian=True), prism(b"", octets=23), avs(wifi(UNIT)), bytes(80)],
    127: [
        radiotap(wifi(UNIT)),
        radiotap(wifi(UNIT) + b"\1\2\3\4", flags=0x10),
        radiotap(wifi(snap(0x00000C, 0x2000, b"\x02\xb4")) + bytes(4), flags=0x10, time=True, words=3),
        radiotap(wifi(bytes(2) + UNIT, control=0x88, qos=bytes(2)), flags=0x20, time=True),
        radiotap(wifi(UNIT), flags=0x40),
        radiotap(wifi(UNIT), flags=0, words=16),
        radiotap(wifi(UNIT), flags=0, words=17),
        radiotap(b"abc", flags=0x10),
        b"\0\0\x09\0\2\0\0\x80" + bytes(40),
        b"\0\0\x08\0\2\0\0\0" + bytes(40),
        b"\0\0\x07\0\0\0\0\0" + bytes(40),
        b"\1\0\x08\0\0\0\0\0" + bytes(40),
    ],
    163: [avs(wifi(UNIT)), avs(wifi(UNIT), octets=63), avs(wifi(UNIT), octets=4000), prism(wifi(UNIT))],
    192: [
        ppi(wifi(UNIT), 105, fields=bytes(12)),
        ppi(ethernet(SYN_FRAME), 1),
        ppi(radiotap(wifi(UNIT)), 127),
        ppi(ppi(wifi(UNIT), 105), 192),
        ppi(SYN_FRAME, 65_536 + 101),
        b"\0\0\7\0" + bytes(40),
        b"\1\0\x08\0" + bytes(40),
    ],
    228: [SYN_FRAME],
    229: [ipv6(A6, B6, udp(1, 2))],
    276: [cooked(SYN_FRAME, version=2), cooked(ipv6(A6, B6, udp(1, 2)), ethertype=0x86DD, version=2)],
}
