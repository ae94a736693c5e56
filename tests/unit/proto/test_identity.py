"""From sightings to devices: who holds an address, who routes, who has a name."""

from __future__ import annotations

import ipaddress

import pytest
from fieldwatch_proto.identity import NO_MAC, Device, Name, Sighting, is_local, is_unicast_mac, resolve
from fieldwatch_proto.schema import SightingSource

HOST, ROUTER, OTHER = (bytes.fromhex(f"00163e00000{i}") for i in range(1, 4))


def ip(text: str) -> bytes:
    return ipaddress.ip_address(text).packed


def seen(mac: bytes, address: str, source: SightingSource, *, frames: int = 1, at: int = 10) -> Sighting:
    return Sighting((), mac, ip(address) if address else b"", source, at, at + 5, frames)


def holders(devices: list[Device]) -> dict[str, set[str]]:
    return {device.key: {str(ipaddress.ip_address(a)) for a in device.ips} for device in devices}


ETH, IP, ARP, NDP, FORWARD = (SightingSource[n] for n in ("ETH", "IP", "ARP", "NDP", "FORWARD"))


def test_a_plain_host_gets_its_weak_address() -> None:
    """No authority, no routing: a local source address belongs to the MAC that sent it."""
    devices = resolve([seen(HOST, "", ETH, frames=7), seen(HOST, "192.168.1.5", IP)], [])

    assert holders(devices) == {"mac:00:16:3e:00:00:01": {"192.168.1.5"}}
    assert devices[0].frames == 7
    assert devices[0].sources == {"eth", "ip"}
    assert (devices[0].first_ns, devices[0].last_ns) == (10, 15)


def test_many_devices_share_their_sets() -> None:
    """Of a crowd that was seen alike, a device costs an address and no more: what they have in common stands once."""
    crowd = [bytes.fromhex("0200") + number.to_bytes(4, "big") for number in range(1, 4)]
    rows = [seen(mac, f"10.0.0.{mac[-1]}", source) for mac in crowd for source in (ARP, IP)]
    tagged = [Sighting((vlan,), HOST, b"", ETH, 10, 15, 1) for vlan in (7, 8, 7)]
    devices = resolve([*rows, *tagged], [])

    assert [device.vlans for device in devices] == [{7, 8}, set(), set(), set()]
    assert [device.sources for device in devices[1:]] == [{"arp", "ip"}] * 3
    assert len({id(device.sources) for device in devices[1:]}) == len({id(device.vlans) for device in devices[1:]}) == 1


def test_a_router_gets_only_what_authority_binds() -> None:
    """Private addresses behind a MAC that forwards are devices without a MAC; its own ARP address stays its own."""
    devices = resolve(
        [
            seen(ROUTER, "", FORWARD),
            seen(ROUTER, "192.168.1.1", ARP),
            seen(ROUTER, "192.168.1.1", IP),
            seen(ROUTER, "10.9.0.4", IP, frames=3),
        ],
        [],
    )

    assert holders(devices) == {"ip:10.9.0.4": {"10.9.0.4"}, "mac:00:16:3e:00:00:02": {"192.168.1.1"}}
    assert devices[0].mac == NO_MAC
    assert devices[0].frames == 3
    assert devices[1].routes


def test_a_family_is_routed_by_itself() -> None:
    """Forwarded frames of global IPv6 sources say nothing of a private IPv4 address, and the other way round."""
    addresses = [seen(ROUTER, "192.168.1.5", IP), seen(ROUTER, "fd00::5", IP)]
    six = resolve([seen(ROUTER, "::", FORWARD), *addresses], [])
    four = resolve([seen(ROUTER, "0.0.0.0", FORWARD), *addresses], [])
    old = resolve([seen(ROUTER, "", FORWARD), *addresses], [])  # of an agent that told no family

    assert holders(six) == {"ip:fd00::5": {"fd00::5"}, "mac:00:16:3e:00:00:02": {"192.168.1.5"}}
    assert holders(four) == {"ip:192.168.1.5": {"192.168.1.5"}, "mac:00:16:3e:00:00:02": {"fd00::5"}}
    assert [device.key for device in old] == ["ip:192.168.1.5", "ip:fd00::5", "mac:00:16:3e:00:00:02"]
    assert [[device.routes for device in devices] for devices in (six, four, old)] == [
        [False, True],
        [False, True],
        [False, False, True],
    ]


@pytest.mark.parametrize("source", [ARP, IP])
def test_a_gateway_keeps_its_own_address_of_few(source: SightingSource) -> None:
    """One private address that was forwarded, beside one that was not: with or without ARP each is where it belongs."""
    rows = [seen(ROUTER, "192.168.1.1", source), seen(ROUTER, "10.9.0.4", FORWARD)]

    assert holders(resolve(rows, [])) == {"ip:10.9.0.4": {"10.9.0.4"}, "mac:00:16:3e:00:00:02": {"192.168.1.1"}}


def test_forwarded_addresses_alone_are_not_the_senders() -> None:
    """Two addresses, both forwarded: the MAC has none that is known."""
    rows = [seen(ROUTER, "", ETH), seen(ROUTER, "10.9.0.4", FORWARD), seen(ROUTER, "10.9.0.5", FORWARD)]

    assert holders(resolve(rows, [])) == {
        "ip:10.9.0.4": {"10.9.0.4"},
        "ip:10.9.0.5": {"10.9.0.5"},
        "mac:00:16:3e:00:00:02": set(),
    }


@pytest.mark.parametrize(
    "rows",
    [
        [seen(HOST, "192.168.1.5", FORWARD)],
        [seen(HOST, "192.168.1.5", FORWARD), seen(HOST, "fe80::5", NDP), seen(HOST, "169.254.1.1", ARP)],
        [seen(HOST, "192.168.1.5", FORWARD), seen(HOST, "192.168.1.5", ARP), seen(HOST, "192.168.1.6", IP)],
        [seen(HOST, "192.168.1.5", FORWARD), seen(HOST, "192.168.1.5", IP), seen(HOST, "192.168.1.6", IP)],
    ],
)
def test_a_host_that_hides_others_behind_its_address(rows: list[Sighting]) -> None:
    """Containers and virtual machines behind NAT: forwarded frames of the host's own address, which stays its own."""
    devices = resolve(rows, [])

    assert holders(devices) == {"mac:00:16:3e:00:00:01": {str(ipaddress.ip_address(row.ip)) for row in rows}}


def test_frames_of_an_address_owned_elsewhere_make_a_router() -> None:
    """An address that ARP binds to one MAC and another sends from: the other routes, the owner keeps it."""
    devices = resolve(
        [seen(HOST, "192.168.1.5", ARP), seen(ROUTER, "192.168.1.5", IP), seen(ROUTER, "192.168.7.7", IP)], []
    )

    assert holders(devices) == {"ip:192.168.7.7": {"192.168.7.7"}, "mac:00:16:3e:00:00:01": {"192.168.1.5"}}


def test_many_weak_addresses_make_a_router() -> None:
    """Nine local addresses of one family from one MAC are the network behind it, not its own."""
    devices = resolve([seen(ROUTER, f"10.0.0.{i}", IP) for i in range(1, 10)], [])

    assert len(devices) == 9
    assert {device.mac for device in devices} == {NO_MAC}


def test_link_local_and_unique_local_do_not_count_against_each_other() -> None:
    """A host with several IPv6 addresses and one IPv4 address is one host."""
    addresses = ["192.168.1.5", "fe80::1", "fd00::1", "fd00::2"]

    devices = resolve([seen(HOST, address, IP) for address in addresses], [])

    assert holders(devices) == {"mac:00:16:3e:00:00:01": set(addresses)}


def test_a_router_keeps_its_link_local_address() -> None:
    """Nobody forwards link-local packets: such a source is the sender's own, however much else it forwards."""
    rows = [seen(ROUTER, "", FORWARD), seen(ROUTER, "fe80::1", FORWARD), seen(ROUTER, "169.254.1.1", IP)]

    assert holders(resolve(rows, [])) == {"mac:00:16:3e:00:00:02": {"fe80::1", "169.254.1.1"}}


def test_public_addresses_are_no_devices() -> None:
    """Weak evidence of a public address gives nothing, unless its prefix is configured as local."""
    rows = [seen(HOST, "93.184.216.34", IP)]

    assert resolve(rows, []) == []
    assert holders(resolve(rows, [], [ipaddress.ip_network("93.184.216.0/24")])) == {
        "mac:00:16:3e:00:00:01": {"93.184.216.34"}
    }


@pytest.mark.parametrize("mac", ["ffffffffffff", "01005e000001", "333300000001", "000000000000"])
def test_group_and_zero_macs_are_no_devices(mac: str) -> None:
    """Multicast, broadcast and zero never make a device."""
    assert not is_unicast_mac(bytes.fromhex(mac))
    assert resolve([seen(bytes.fromhex(mac), "", ETH)], []) == []


@pytest.mark.parametrize("address", ["0.0.0.0", "255.255.255.255", "224.0.0.1", "127.0.0.1", "::", "::1", "ff02::1"])
def test_addresses_that_nobody_can_hold_are_not_bound(address: str) -> None:
    """ARP or NDP for such an address shows the MAC, not the address."""
    devices = resolve([seen(HOST, address, NDP)], [])

    assert holders(devices) == {"mac:00:16:3e:00:00:01": set()}


def test_names_come_best_first_from_mac_and_address() -> None:
    """DHCP before mDNS before NetBIOS; a fact about an address counts for its holder; the same name once."""
    devices = resolve(
        [seen(HOST, "192.168.1.5", ARP)],
        [
            ("00:16:3e:00:00:01", "netbios_name", "FILESRV", "nbns", 12),
            ("192.168.1.5", "hostname", "filesrv", "mdns", 13),
            ("192.168.1.5", "hostname", "files", "dhcp", 99),
            ("192.168.1.5", "hostname", "files", "mdns", 14),
            ("192.168.9.9", "hostname", "nobody", "mdns", 14),
            ("00:16:3e:00:00:01", "vendor_class", "MSFT 5.0", "dhcp", 14),
        ],
    )

    assert devices[0].names == [Name("files", "dhcp"), Name("filesrv", "mdns"), Name("FILESRV", "nbns")]
    assert devices[0].sources == {"arp", "nbns", "mdns", "dhcp"}
    assert devices[0].last_ns == 99


def test_a_fact_alone_makes_a_device() -> None:
    """LLDP from a switch that sent nothing else."""
    devices = resolve([], [("00:16:3e:00:00:03", "system_name", "sw1", "lldp", 4)])

    assert [(d.key, d.names, d.first_ns) for d in devices] == [("mac:00:16:3e:00:00:03", [Name("sw1", "lldp")], 4)]


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("10.0.0.1", True),
        ("172.15.0.1", False),
        ("172.16.0.1", True),
        ("172.31.255.1", True),
        ("172.32.0.1", False),
        ("192.168.0.1", True),
        ("169.254.3.4", True),
        ("100.63.0.1", False),
        ("100.64.0.1", True),
        ("100.128.0.1", False),
        ("8.8.8.8", False),
        ("fe80::1", True),
        ("febf::1", True),
        ("fec0::1", False),
        ("fc00::1", True),
        ("fdff::1", True),
        ("2001:db8::1", False),
    ],
)
def test_local_ranges(address: str, local: bool) -> None:
    """The edges of RFC 1918, 3927, 4193, 4291 and 6598."""
    assert is_local(ip(address)) is local


def test_times_from_zero_on() -> None:
    """A capture whose clock began at zero, or before it, has a beginning like any other."""
    rows = [seen(HOST, "", ETH, at=0), seen(HOST, "192.168.1.5", IP, at=40)]
    early = [seen(HOST, "", ETH, at=-90)]

    assert [(device.first_ns, device.last_ns) for device in resolve(rows, [])] == [(0, 45)]
    assert [(device.first_ns, device.last_ns) for device in resolve(early, [])] == [(-90, -85)]


@pytest.mark.parametrize(
    "subject", ["", "kitchen", "00:16", "0:16:3e:0:0:1", "zz:zz:zz:zz:zz:zz", "ff:ff:ff:ff:ff:ff", "é"]
)
def test_facts_about_nobody_are_left_out(subject: str) -> None:
    """A subject that is neither a MAC nor an address makes no device and stops nothing."""
    facts = [(subject, "hostname", "x", "mdns", 1), ("00:16:3e:00:00:01", "hostname", "nas", "mdns", 2)]

    assert [(device.key, [name.name for name in device.names]) for device in resolve([], facts)] == [
        ("mac:00:16:3e:00:00:01", ["nas"])
    ]
