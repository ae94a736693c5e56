"""From sightings and facts to devices: the one rule, used offline by the agent and by the collector's projection.

Constraints:

- A device has a MAC, or it is a private (or locally configured) address that was seen only behind a router.
- ARP, NDP and DHCP bind an address to a MAC with authority. A plain IP frame is weak evidence: it binds a local
  address to its sender only where no authority says otherwise and the sender does not route.
- Link-local addresses are never routed (RFC 3927 section 7, RFC 4291 section 2.5.6): they belong to who sends them.
- A MAC routes a family, IPv4 or IPv6, when it sent frames of it whose source is not local and that were forwarded, or
  frames of an address that authority binds to another MAC, or of more than `MAX_WEAK_ADDRESSES` local addresses.
- A local address is behind its sender, too, when all frames of it were forwarded and the sender has another address of
  the family. A lone one stays with the sender: a host that hides others behind its own address (NAT) forwards as well.
- Whether a frame was forwarded, its hop limit tells (docs/decisions/0010-who-routes.md).
- Public addresses are never devices; multicast and broadcast MACs are no devices.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from fieldwatch_proto.schema import AUTHORITATIVE, WEAK, SightingSource, mac_text

MAX_WEAK_ADDRESSES = 8
NO_MAC = bytes(6)
FAMILIES = (4, 16)  # octets of an address
NEVER_NS = (1 << 63) - 1

# Facts whose value is a name of their subject, best first, as (key, source); "" = any source.
NAME_FACTS = (
    ("hostname", "dhcp"),
    ("hostname", "dhcpv6"),
    ("system_name", "lldp"),
    ("system_name", "cdp"),
    ("hostname", "mdns"),
    ("hostname", "smb"),
    ("netbios_name", "nbns"),
    ("netbios_name", "nbds"),
    ("netbios_name", "smb"),
    ("hostname", "llmnr"),
    ("friendly_name", "ssdp"),
    ("friendly_name", "mdns"),
    ("friendly_name", "wsd"),
    ("system_name", "radius"),
    ("dns_name", "dns"),
)
_RANK = {pair: place for place, pair in enumerate(NAME_FACTS)}

Prefix = ipaddress.IPv4Network | ipaddress.IPv6Network
Place = tuple[bytes, int]  # a MAC and a family


@dataclass(frozen=True, slots=True)
class Sighting:
    """All that was seen of one (VLANs, MAC, IP, source)."""

    vlans: tuple[int, ...]
    mac: bytes
    ip: bytes
    source: SightingSource
    first_ns: int
    last_ns: int
    frames: int


@dataclass(frozen=True, slots=True)
class Name:
    """A name of a device, and what told it."""

    name: str
    source: str


@dataclass(slots=True)
class Device:
    """`key` is stable: ``mac:<text>`` or ``ip:<text>``. There may be many: sets that most of them have are shared."""

    key: str
    mac: bytes
    ips: set[bytes] = field(default_factory=set)
    vlans: frozenset[int] = frozenset()
    names: list[Name] = field(default_factory=list)  # best first
    sources: frozenset[str] = frozenset()
    first_ns: int = NEVER_NS  # a device is made when it is seen: nobody reads this
    last_ns: int = -NEVER_NS
    frames: int = 0
    routes: bool = False

    def see(self, first_ns: int, last_ns: int) -> None:
        self.first_ns = min(self.first_ns, first_ns)
        self.last_ns = max(self.last_ns, last_ns)

    def add_source(self, source: str) -> None:
        if source not in self.sources:
            self.sources = _joined(self.sources, source)

    def add_vlans(self, vlans: Iterable[int]) -> None:
        if not self.vlans.issuperset(vlans):
            self.vlans = self.vlans.union(vlans)


@lru_cache(maxsize=1_024)
def _joined(sources: frozenset[str], source: str) -> frozenset[str]:
    return sources | {source}


def is_unicast_mac(mac: bytes) -> bool:
    """An address that a device can have: not group (IEEE 802 I/G bit), not zero."""
    return len(mac) == 6 and not mac[0] & 1 and mac != NO_MAC


def is_local(ip: bytes, prefixes: Sequence[Prefix] = ()) -> bool:
    """Private, shared (RFC 6598), unique local or link-local unicast, or within `prefixes`."""
    if len(ip) == 4:
        a, b = ip[0], ip[1]
        local = (
            a == 10
            or (a == 172 and 16 <= b < 32)
            or (a == 192 and b == 168)
            or (a == 169 and b == 254)
            or (a == 100 and 64 <= b < 128)
        )
    elif len(ip) == 16:
        local = ip[0] & 0xFE == 0xFC or (ip[0] == 0xFE and ip[1] & 0xC0 == 0x80)
    else:
        return False
    if local or not prefixes:
        return local
    address = ipaddress.ip_address(ip)
    return any(address in prefix for prefix in prefixes if prefix.version == address.version)


def is_link_local(ip: bytes) -> bool:
    """169.254.0.0/16 or fe80::/10."""
    return ip[:2] == b"\xa9\xfe" if len(ip) == 4 else len(ip) == 16 and ip[0] == 0xFE and ip[1] & 0xC0 == 0x80


def is_bindable(ip: bytes) -> bool:
    """An address that a host may hold: not unspecified, loopback, multicast or broadcast."""
    if len(ip) == 4:
        return 0 < ip[0] < 224 and ip[0] != 127
    return len(ip) == 16 and ip[0] != 0xFF and any(ip[:15])


def forwards(source: SightingSource, ip: bytes, prefixes: Sequence[Prefix] = ()) -> tuple[int, ...]:
    """The families that a MAC routes by this row alone. Rows of old agents do not tell which: both."""
    if source is not SightingSource.FORWARD or (any(ip) and is_local(ip, prefixes)):
        return ()
    return (len(ip),) if ip else FAMILIES


def resolve(
    sightings: Iterable[Sighting], facts: Iterable[tuple[str, str, str, str, int]], prefixes: Sequence[Prefix] = ()
) -> list[Device]:
    """Devices in the order of their keys. A fact is (subject, key, value, source, seen_ns).

    `subject` is the text of a MAC or of an IP address. Facts about an address count for the device that holds it.
    """
    rows = [row for row in sightings if is_unicast_mac(row.mac) or row.mac == NO_MAC]
    owners: dict[bytes, set[bytes]] = {}
    for row in rows:
        if row.source in AUTHORITATIVE and row.mac != NO_MAC and is_bindable(row.ip):
            owners.setdefault(row.ip, set()).add(row.mac)
    routers = _routers(rows, owners, prefixes)

    devices: dict[str, Device] = {}

    def device(mac: bytes, ip: bytes) -> Device:
        key = f"mac:{mac_text(mac)}" if mac != NO_MAC else f"ip:{ipaddress.ip_address(ip)}"
        found = devices.get(key)
        if found is None:
            found = devices[key] = Device(key, mac, routes=any((mac, family) in routers for family in FAMILIES))
        return found

    for row in rows:
        if row.source is SightingSource.ETH or forwards(row.source, row.ip, prefixes):
            if row.mac == NO_MAC:
                continue
            target = device(row.mac, b"")
            if row.source is SightingSource.ETH:
                target.frames += row.frames
            target.add_source(SightingSource.ETH.text)
        elif row.source in AUTHORITATIVE:
            if row.mac == NO_MAC:
                continue
            target = device(row.mac, b"")
            if is_bindable(row.ip):
                target.ips.add(row.ip)
            target.add_source(row.source.text)
        else:
            if not is_local(row.ip, prefixes):
                continue
            holders = owners.get(row.ip)
            if holders and row.mac not in holders:
                continue  # seen through a router; its owner is known
            kept = routers.get((row.mac, len(row.ip)))
            behind = kept is not None and row.ip not in kept and not holders and not is_link_local(row.ip)
            if row.mac == NO_MAC or behind:
                target = device(NO_MAC, row.ip)
                target.frames += row.frames
            else:
                target = device(row.mac, b"")
            target.ips.add(row.ip)
            target.add_source(SightingSource.IP.text)
        target.add_vlans(row.vlans)
        target.see(row.first_ns, row.last_ns)

    _attach_facts(devices, owners, facts)
    return [devices[key] for key in sorted(devices)]


def _routers(
    rows: Sequence[Sighting], owners: dict[bytes, set[bytes]], prefixes: Sequence[Prefix]
) -> dict[Place, set[bytes]]:
    """Who forwards what -> the local addresses without authority that are the MAC's own all the same."""
    found: dict[Place, set[bytes]] = {}
    weak: dict[Place, set[bytes]] = {}
    direct: dict[Place, set[bytes]] = {}  # of weak: frames came that nobody had forwarded
    for row in rows:
        if row.source not in WEAK or row.mac == NO_MAC:
            continue
        for family in forwards(row.source, row.ip, prefixes):
            found[row.mac, family] = set()
        if not any(row.ip) or not is_local(row.ip, prefixes):
            continue
        place = row.mac, len(row.ip)
        holders = owners.get(row.ip)
        if holders and row.mac not in holders:
            found[place] = set()
        elif not holders and not is_link_local(row.ip):
            weak.setdefault(place, set()).add(row.ip)
            if row.source is SightingSource.IP:
                direct.setdefault(place, set()).add(row.ip)
    held = {(mac, len(ip)) for ip, macs in owners.items() if not is_link_local(ip) for mac in macs}
    for place, addresses in weak.items():
        own = direct.get(place, set())
        if len(addresses) > MAX_WEAK_ADDRESSES:
            found[place] = set()
        elif own != addresses and (len(addresses) > 1 or place in held):
            found.setdefault(place, own)
    return found


def _mac_octets(text: str) -> bytes:
    """Of a MAC in the schema's text form; empty where it is none."""
    try:
        octets = bytes.fromhex(text.replace(":", ""))
    except ValueError:
        return b""
    return octets if mac_text(octets) == text else b""


def _attach_facts(
    devices: dict[str, Device], owners: dict[bytes, set[bytes]], facts: Iterable[tuple[str, str, str, str, int]]
) -> None:
    by_ip: dict[bytes, Device] = {}
    for found in devices.values():
        for ip in found.ips:
            holders = owners.get(ip)
            if not holders or found.mac in holders:
                by_ip[ip] = found
    named: dict[str, dict[str, tuple[int, str]]] = {}
    for subject, key, value, source, seen_ns in facts:
        found_device = devices.get(f"mac:{subject}") or devices.get(f"ip:{subject}")
        if found_device is None:
            try:
                found_device = by_ip.get(ipaddress.ip_address(subject).packed)
            except ValueError:
                octets = _mac_octets(subject)
                if not is_unicast_mac(octets):
                    continue
                found_device = devices[f"mac:{subject}"] = Device(f"mac:{subject}", octets)
        if found_device is None:
            continue
        found_device.add_source(source)
        found_device.see(seen_ns, seen_ns)
        rank = _RANK.get((key, source))
        if rank is not None:
            best = named.setdefault(found_device.key, {})
            if value not in best or rank < best[value][0]:
                best[value] = (rank, source)
    for device_key, names in named.items():
        ordered = sorted((rank, name, source) for name, (rank, source) in names.items())
        devices[device_key].names = [Name(name, source) for _, name, source in ordered]
