"""From octets on a wire to facts: the kernel hands over what a dissector reads, wherever in a frame it stands."""

from __future__ import annotations

import pytest
from fieldwatch_agent.dissectors import dissect
from fieldwatch_agent.facts import Fact
from fieldwatch_ext.capture import MemorySource
from fieldwatch_ext.engine import Engine
from messages import IP_TEXT, address, dns, netbios_name, said, slow
from messages import datagram as netbios_datagram
from support.frames import ethernet, ethernet_802_3, gre, ipv4, ipv6, mpls, pppoe, snap, udp, vxlan
from test_cdp import GOLDEN as CDP
from test_dhcpv6 import GLOBAL, SOLICIT, relayed
from test_lldp import GOLDEN as LLDP
from test_ssdp import NOTIFY

MAC = "02:00:00:00:00:0a"
LLDP_MAC = "01:80:c2:00:00:0e"
CDP_MAC = "01:00:0c:cc:cc:cc"
LOCAL = "fe80::a"
MDNS = dns(flags=0x8400, answers=(address("printer.local", IP_TEXT),))
LLMNR = dns(flags=0x8000, answers=(address("FILES", IP_TEXT, klass=1),))
MDNS_PACKET = ipv4("10.0.0.1", "224.0.0.251", udp(5353, 5353, MDNS))
CDP_SNAP = snap(0x00000C, 0x2000, CDP)


def group6(group: str, port: int, payload: bytes, **options: object) -> bytes:
    """A datagram from a link-local address to an IPv6 group, in Ethernet."""
    packet = ipv6(LOCAL, group, udp(port, port, payload), hop_limit=255)
    return ethernet(packet, src=MAC, dst="33:33:00:00:00:fb", **options)  # type: ignore[arg-type]


def read(octets: bytes) -> list[tuple[str, set[str], tuple[int, ...]]]:
    """(protocol, keys of the facts, ids of the VLANs) for each payload handed over."""
    engine = Engine()
    engine.process(MemorySource([(1, octets, len(octets))]))
    return [
        (
            frame.protocol,
            {item.key for item in dissect(frame) if isinstance(item, Fact)},
            tuple(frame.vlans >> shift & 0x0FFF for shift in (0, 16, 32, 48) if frame.vlans >> shift & 0xFFFF),
        )
        for frame in engine.take_slow()
    ]


@pytest.mark.parametrize(
    ("octets", "protocol", "key", "vlans"),
    [
        (ethernet(LLDP, dst=LLDP_MAC, ethertype=0x88CC), "lldp", "system_name", ()),
        (ethernet(LLDP, dst=LLDP_MAC, ethertype=0x88CC, vlans=[7]), "lldp", "system_name", (7,)),
        (ethernet(LLDP, dst=LLDP_MAC, ethertype=0x88CC, vlans=[7, 8]), "lldp", "system_name", (7, 8)),
        (ethernet_802_3(CDP_SNAP, dst=CDP_MAC), "cdp", "system_name", ()),
        (ethernet(CDP_SNAP, dst=CDP_MAC, ethertype=len(CDP_SNAP), vlans=[7]), "cdp", "system_name", (7,)),
        (group6("ff02::fb", 5353, MDNS), "mdns", "hostname", ()),
        (group6("ff02::fb", 5353, MDNS, vlans=[9]), "mdns", "hostname", (9,)),
        (group6("ff02::1:3", 5355, LLMNR), "llmnr", "hostname", ()),
        (group6("ff02::c", 1900, NOTIFY), "ssdp", "server", ()),
        (group6("ff05::c", 1900, NOTIFY), "ssdp", "server", ()),
        (group6("ff02::1:2", 547, SOLICIT), "dhcpv6", "hostname", ()),
        (
            ethernet(ipv6("2001:db8::2", "2001:db8::1", udp(547, 547, relayed(12, GLOBAL, SOLICIT)))),
            "dhcpv6",
            "hostname",
            (),
        ),
        (ethernet(mpls([16], MDNS_PACKET), ethertype=0x8847), "mdns", "hostname", ()),
        (ethernet(pppoe(MDNS_PACKET), ethertype=0x8864), "mdns", "hostname", ()),
        (ethernet(ipv4("10.0.0.1", "10.0.0.2", udp(5355, 50_000, LLMNR))), "llmnr", "hostname", ()),
    ],
)  # fmt: skip
def test_messages_are_handed_over(octets: bytes, protocol: str, key: str, vlans: tuple[int, ...]) -> None:
    """Tagged, over IPv6, relayed, labelled: the payload comes whole, with its VLANs, and the dissector reads it."""
    (handed,) = read(octets)

    assert (handed[0], key in handed[1], handed[2]) == (protocol, True, vlans)


@pytest.mark.parametrize("tunnel", ["vxlan", "gre"])
def test_messages_inside_a_tunnel(tunnel: str) -> None:
    """What stands in a tunnelled Ethernet frame is about a device all the same."""
    inner = ethernet(MDNS_PACKET, src=MAC)
    outer = ipv4(
        "10.9.0.1",
        "10.9.0.2",
        vxlan(inner, 5) if tunnel == "vxlan" else gre(inner, protocol=0x6558),
        protocol=None if tunnel == "vxlan" else 47,
    )

    assert [(handed[0], "hostname" in handed[1]) for handed in read(ethernet(outer))] == [("mdns", True)]


def test_a_netbios_datagram_without_destination_names_its_source() -> None:
    """A destination that is no NetBIOS name takes nothing from what the datagram says of its source."""
    source = netbios_name("DESK-7", 0)
    whole = slow("nbds", netbios_datagram(source, netbios_name("OFFICE", 0x1D), b"data"))
    cut = slow("nbds", netbios_datagram(source, b"\x20" + b"Z" * 32 + b"\0", b"data"))

    assert said(cut) == said(whole) == [("02:00:00:00:00:01", "netbios_name", "DESK-7")]
