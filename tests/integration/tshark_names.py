"""Which names and bindings tshark finds in a capture, in the terms of this project.

Each topic is a set of (subject, key, value), or of (MAC, IP) for bindings. The subject rule of the dissectors stands
here a second time, from the documentation: the source MAC where the message cannot have been routed, else the address.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path

from support.tshark import Said, Tree, addresses, every, first, inner, records, trees

LAYERS = "frame eth arp ip ipv6 icmpv6 dhcp dhcpv6 nbns nbdgm browser lldp cdp mdns llmnr"
FILTER = "arp || icmpv6 || dhcp || dhcpv6 || nbns || nbdgm || lldp || cdp || mdns || llmnr"
NETBIOS_NAME = re.compile(r"(.*?)<([0-9a-f]{2})>", re.DOTALL)


def packets(capture: Path) -> list[Tree]:
    """The layers of every packet of interest."""
    return trees(capture, FILTER, LAYERS)


def is_host(ip: str) -> bool:
    if not ip:
        return False
    address = ipaddress.ip_address(ip)
    return not (address.is_multicast or address.is_unspecified or address.is_loopback or ip == "255.255.255.255")


def sender(packet: Tree) -> str:
    ethernet = inner(packet, "eth")
    source, destination = addresses(packet)
    target = ipaddress.ip_address(destination)
    link_scope = destination == "255.255.255.255" or target in ipaddress.ip_network("224.0.0.0/24")
    link_scope = link_scope or target in ipaddress.ip_network("ff02::/16")
    group = int(first(ethernet, "eth.dst")[:2], 16) & 1
    if link_scope or (group and ipaddress.ip_address(source).is_private):
        return first(ethernet, "eth.src")
    return source


def holder(packet: Tree, ip: str) -> str:
    return sender(packet) if ip == addresses(packet)[0] else ip


def arp(capture: list[Tree]) -> Said:
    """Sender pairs of ARP; those of no host (probes, RFC 5227) bind nothing."""
    found: Said = set()
    for packet in capture:
        layer = inner(packet, "arp")
        for mac, ip in zip(every(layer, "arp.src.hw_mac"), every(layer, "arp.src.proto_ipv4"), strict=False):
            if is_host(ip):
                found.add((mac, ip))
    return found


def ndp(capture: list[Tree]) -> Said:
    """RFC 4861: the source link-layer option binds the sender's address, the target option that of an advertisement."""
    found: Said = set()
    for packet in capture:
        layer = inner(packet, "icmpv6")
        kind = first(layer, "icmpv6.type")
        option_types = list(every(layer, "icmpv6.opt.type"))
        macs = list(every(layer, "icmpv6.opt.linkaddr"))
        if kind in ("133", "134", "135") and "1" in option_types and is_host(addresses(packet)[0]):
            found.add((macs[0], addresses(packet)[0]))
        if kind == "136" and "2" in option_types:
            found.add((macs[0], first(layer, "icmpv6.nd.na.target_address")))
    return found


def dhcp(capture: list[Tree]) -> Said:
    found: Said = set()
    for packet in capture:
        layer = inner(packet, "dhcp")
        for name in ("dhcp.option.hostname", "dhcp.fqdn.name"):
            found |= {(layer["dhcp.hw.mac_addr"], "hostname", value) for value in every(layer, name)}
        layer = inner(packet, "dhcpv6")
        for value in every(layer, "dhcpv6.client_domain"):
            found.add((first(inner(packet, "eth"), "eth.src"), "hostname", value))
    return found


def netbios(capture: list[Tree]) -> Said:
    found: Said = set()
    for packet in capture:
        layer = inner(packet, "nbns")
        if layer:
            found |= _names(packet, layer)
        layer = inner(packet, "nbdgm")
        if layer:
            subject = holder(packet, first(layer, "nbdgm.src.ip"))
            match = NETBIOS_NAME.match(first(layer, "nbdgm.source_name"))
            if match:
                found.add((subject, "netbios_name", match[1]))
            browser = inner(packet, "browser")
            command = first(browser, "browser.command")
            if command in ("0x01", "0x0f"):
                found.add((subject, "netbios_name", first(browser, "browser.server")))
            elif command == "0x0c":
                found.add((subject, "netbios_group", first(browser, "browser.server")))
    return found


def _names(packet: Tree, layer: Tree) -> Said:
    response = first(layer, "nbns.flags.response") == "1"
    opcode = int(first(layer, "nbns.flags.opcode") or "0")
    if not response and opcode not in (5, 8, 9, 15):
        return set()
    found: Said = set()
    for record in records(layer, "Answers" if response else "Additional records"):
        listed = list(every(record, "nbns.netbios_name"))
        if listed:
            own = first(record, "nbns.unit_id") == first(inner(packet, "eth"), "eth.src")
            subject = first(inner(packet, "eth"), "eth.src") if own else sender(packet)
            for name, group in zip(listed, every(record, "nbns.name_flags.group"), strict=True):
                found.add((subject, "netbios_group" if group == "1" else "netbios_name", name))
        match = NETBIOS_NAME.match(first(record, "nbns.name"))
        for ip, group in zip(every(record, "nbns.addr"), every(record, "nbns.nb_flags.group"), strict=True):
            if match and (group == "1" or match[2] in ("00", "20")):
                found.add((holder(packet, ip), "netbios_group" if group == "1" else "netbios_name", match[1]))
    return found


def neighbours(capture: list[Tree]) -> Said:
    """LLDP and CDP."""
    found: Said = set()
    for packet in capture:
        mac = first(inner(packet, "eth"), "eth.src")
        for layer, name in (("lldp", "lldp.tlv.system.name"), ("cdp", "cdp.deviceid")):
            found |= {(mac, "system_name", value) for value in every(packet.get(layer, {}), name)}
    return found


def _owners(packet: Tree, listed: list[Tree]) -> Callable[[str], set[str]]:
    known: dict[str, set[str]] = {}
    for record in listed:
        for field in ("dns.a", "dns.aaaa"):
            for ip in every(record, field):
                known.setdefault(first(record, "dns.resp.name").lower(), set()).add(ip)

    def owners(name: str) -> set[str]:
        ips = known.get(name.lower(), set())
        if not ips or addresses(packet)[0] in ips:
            return {sender(packet)}
        return ips

    return owners


def mdns(capture: list[Tree]) -> Said:
    """Host names: of address records, of targets of services and of reverse names."""
    found: Said = set()
    for packet in capture:
        layer = inner(packet, "mdns")
        if not layer:
            continue
        response = first(layer, "dns.flags.response") == "1"
        sections = ("Answers", "Additional records") if response else ("Authoritative nameservers",)
        listed = [record for section in sections for record in records(layer, section)]
        owners = _owners(packet, listed)
        for record in listed:
            kind, name = first(record, "dns.resp.type"), first(record, "dns.resp.name")
            if kind == "12" and name.endswith(".arpa"):
                name = first(record, "dns.ptr.domain_name")
            elif kind == "33":
                name = first(record, "dns.srv.target")
            elif kind not in ("1", "28"):
                continue
            found |= {(subject, "hostname", name.removesuffix(".local")) for subject in owners(name)}
    return found


def llmnr(capture: list[Tree]) -> Said:
    found: Said = set()
    for packet in capture:
        layer = inner(packet, "llmnr")
        if first(layer, "dns.flags.response") != "1":
            continue
        listed = records(layer, "Answers")
        for record in listed:
            kind, name = first(record, "dns.resp.type"), first(record, "dns.resp.name")
            if kind in ("1", "28"):
                found |= {(subject, "hostname", name) for subject in _owners(packet, listed)(name)}
            elif kind == "12" and name.endswith(".in-addr.arpa"):
                ip = ".".join(reversed(name.split(".")[:4]))
                found.add((holder(packet, ip), "hostname", first(record, "dns.ptr.domain_name")))
    return found
