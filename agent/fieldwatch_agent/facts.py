"""What a dissector yields: facts about a device, and bindings of an address to a MAC."""

from __future__ import annotations

from typing import NamedTuple

from fieldwatch_proto.schema import SightingSource


class Fact(NamedTuple):
    """One assertion. Keys in use (add to the list, never change a meaning):

    hostname, netbios_name, netbios_group, system_name, friendly_name   names (`identity.NAME_FACTS` ranks them)
    vendor_class, dhcp_fingerprint (option 55, "1,3,6,15"), client_id    DHCP
    service (mDNS / SSDP service type), server, user_agent, location, model, manufacturer, device_type
    dns_name, tls_name, http_host                           what others call the host at an address: hearsay
    ja4, tcp_fingerprint, os, smb_dialect, dns_domain       what programs and systems show of themselves
    ssid, framed_ip, user_name (a person's; RADIUS accounting only), multicast_group, role, device_uuid, place
    system_description, platform, port_id, port_description, management_ip, capabilities, native_vlan, chassis_id
    netbios_suffix is never a key: it stands in the evidence of the name
    """

    subject: str  # MAC text of the device the fact is about, or its IP text when the MAC is a router's or not known
    key: str
    value: str
    source: str  # dhcp, mdns, ...
    evidence: str  # one line for people: "DHCP REQUEST option 12"
    confidence: int  # 0..100
    seen_ns: int
    frame: int
    vlans: int
    ip: bytes  # the address that said it, or empty


class Binding(NamedTuple):
    """A MAC holds an address: authority of the same rank as ARP."""

    mac: bytes
    ip: bytes
    source: SightingSource
    seen_ns: int
    vlans: int
