"""A collector's tables with plausible rows, for tests of what is read from them (lists, pages, screens).

The rows are written straight into the tables, in bulk: how they come there from batches is tested elsewhere. Everything
follows from the arguments, so two fillings with the same ones are equal.
"""

from __future__ import annotations

import ipaddress
import json
import random
import sqlite3
import zlib
from dataclasses import dataclass

from fieldwatch_proto.schema import EndReason, FlowState, SightingSource, mac_text

MINUTE_NS = 60_000_000_000

# (name, source, vendor, MAC prefix, sources, VLAN)
_PROFILES = (
    ("core-sw-{n}", "lldp", "Cisco Systems, Inc", "00:1b:54", ("eth", "lldp", "arp"), 0),
    ("printer-{n}", "mdns", "Hewlett Packard", "3c:d9:2b", ("eth", "arp", "mdns", "dhcp"), 20),
    ("cam-{n}", "dhcp", "Hangzhou Hikvision Digital Technology Co.,Ltd.", "bc:ad:28", ("eth", "arp", "dhcp"), 30),
    ("DESKTOP-{n}", "nbns", "Intel Corporate", "8c:16:45", ("eth", "arp", "nbns", "dhcp", "llmnr"), 10),
    ("nas-{n}", "mdns", "Synology Incorporated", "00:11:32", ("eth", "arp", "mdns", "ssdp"), 10),
    ("", "", "Espressif Inc.", "24:6f:28", ("eth", "arp", "dhcp"), 40),
    ("phone-{n}", "dhcp", "", "da:a1:19", ("eth", "arp", "dhcp", "mdns"), 40),
    ("pi-{n}", "mdns", "Raspberry Pi Trading Ltd", "dc:a6:32", ("eth", "arp", "ndp", "mdns"), 10),
)
# (protocol, port, application, bytes sent, bytes replied)
_TALKS = (
    (6, 443, "https", 9_000, 240_000),
    (6, 445, "smb", 60_000, 900_000),
    (17, 53, "dns", 90, 260),
    (6, 554, "rtsp", 4_000, 1_500_000),
    (17, 5353, "mdns", 220, 0),
    (6, 22, "ssh", 12_000, 31_000),
    (6, 9100, "", 420_000, 2_000),
    (17, 123, "ntp", 90, 90),
)
_FAR = ("203.0.113.10", "198.51.100.7", "192.0.2.44", "2001:db8::7")


@dataclass(frozen=True)
class Filling:
    """What was written: ids in the order of their making."""

    devices: list[str]
    agents: list[str]
    flows: int
    events: int


def device_id(place: int) -> str:
    return f"01JFW{place:021d}"


def agent_id(place: int) -> str:
    return f"00000000-0000-4000-8000-{place:012d}"


def fill(
    connection: sqlite3.Connection,
    now_ns: int,
    *,
    devices: int = 40,
    flows: int = 400,
    sites: tuple[str, ...] = ("hq",),
    seed: int = 1,
) -> Filling:
    """Write one agent a site, and devices with claims, addresses, flows and events spread over the sites."""
    chance = random.Random(seed)
    agents = [agent_id(place) for place in range(len(sites))]
    for place, site in enumerate(sites):
        _agent(connection, agents[place], site, place, now_ns)
        _metrics(connection, agents[place], now_ns)
    made: list[tuple[str, str, bytes]] = []
    for place in range(devices):
        site = place % len(sites)
        made.append(_device(connection, place, sites[site], agents[site], now_ns, chance))
    for _ in range(flows if made else 0):
        _flow(connection, made, sites, agents, now_ns, chance)
    connection.execute(
        "UPDATE device SET"
        " flows = (SELECT count(*) FROM flow WHERE device.id IN (src_device, dst_device)),"
        " bytes = (SELECT coalesce(sum(bytes + reply_bytes), 0) FROM flow WHERE device.id IN (src_device, dst_device))"
    )
    events = connection.execute("SELECT count(*) FROM event").fetchone()[0]
    return Filling([one[0] for one in made], agents, flows, events)


def _metrics(connection: sqlite3.Connection, agent: str, now_ns: int) -> None:
    """What an agent reports of itself, and what it has no name or no label for."""
    told = [
        ("agent_interface_ring_freezes_total", {"interface": "eth0"}, 3),
        ("agent_interface_nic_losses_total", {"counter": "rx_dropped", "interface": "eth0"}, 41),
        ("agent_interface_frames_total", {"interface": "eth0", "device": "02:00:00:00:00:01"}, 1),
        ("agent_interface_frames_total", ["eth0"], 1),
        ("agent_invented_total", {"interface": "eth0"}, 1),
    ]
    connection.executemany(
        "INSERT INTO metric(agent, name, labels, total, ts_ns) VALUES(?, ?, ?, ?, ?)",
        [(agent, name, json.dumps(labels, sort_keys=True), total, now_ns) for name, labels, total in told],
    )


def _agent(connection: sqlite3.Connection, identifier: str, site: str, place: int, now_ns: int) -> None:
    status = {
        "version": "0.2.0",
        "frames_seen": 1_284_332 + place,
        "frames_dropped": 17 * place,
        "frames_rejected": 212,
        "spool_records": 120 * place,
        "spool_bytes": 48_000 * place,
        "spool_oldest_ns": str(now_ns - 5 * MINUTE_NS) if place else "0",
        "rss_bytes": 41_500_000,
        "uptime_s": 86_400 * 3 + 7_322,
        "card_life_years": 0.04 if place else 0.0,
        "interfaces": [{"name": "eth0", "frames": 1_284_332 + place, "dropped": 17 * place, "up": True}],
    }
    connection.execute(
        "INSERT INTO agent(id, name, site, enrolled_ns, revoked_ns, serial, csr_digest, version, last_contact_ns,"
        " status) VALUES(?, ?, ?, ?, NULL, ?, ?, '0.2.0', ?, ?)",
        (
            identifier,
            f"pi-{site}",
            site,
            now_ns - 5_000 * MINUTE_NS,
            f"{place:x}",
            b"",
            now_ns - place * 10 * MINUTE_NS,
            json.dumps(status),
        ),
    )
    _event(
        connection, "agent.connected", now_ns - 5_000 * MINUTE_NS, site, identifier, ("agent", identifier, f"pi-{site}")
    )


def _device(
    connection: sqlite3.Connection, place: int, site: str, agent: str, now_ns: int, chance: random.Random
) -> tuple[str, str, bytes]:
    name, name_source, vendor, prefix, sources, vlan = _PROFILES[place % len(_PROFILES)]
    name = name.format(n=place + 1)
    identifier = device_id(place)
    mac = bytes.fromhex(prefix.replace(":", "")) + place.to_bytes(3, "big")
    address = ipaddress.ip_address((10 << 24) + (vlan << 16) + place + 1)
    first_ns = now_ns - chance.randrange(60, 4_000) * MINUTE_NS
    last_ns = now_ns - chance.randrange(1, 600) * 1_000_000_000
    frames = chance.randrange(50, 90_000)
    ips = [str(address)]
    if "ndp" in sources:
        ips.append(f"fe80::{place + 1:x}")
    connection.execute(
        "INSERT INTO device(id, site, key, name, name_source, vendor, macs, ips, vlans, sources, first_ns, last_ns,"
        " frames) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            identifier,
            site,
            f"mac:{mac_text(mac)}",
            name,
            name_source,
            vendor,
            json.dumps([mac_text(mac)]),
            json.dumps(ips),
            json.dumps([vlan] if vlan else []),
            json.dumps(list(sources)),
            first_ns,
            last_ns,
            frames,
        ),
    )
    stack = 0x1000 | vlan if vlan else 0
    for source, octets in (
        (SightingSource.ETH, b""),
        (SightingSource.ARP, address.packed),
        *((SightingSource.NDP, ipaddress.ip_address(ip).packed) for ip in ips[1:]),
    ):
        connection.execute(
            "INSERT INTO sighting(site, vlans, mac, ip, source, first_ns, last_ns, frames, agent, interface)"
            " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, 'eth0')",
            (
                site,
                stack,
                mac,
                octets,
                source,
                first_ns,
                last_ns,
                frames if source is SightingSource.ETH else 12,
                agent,
            ),
        )
    for ip in ips:
        connection.execute(
            "INSERT INTO device_address(site, ip, device) VALUES(?, ?, ?)",
            (site, ipaddress.ip_address(ip).packed, identifier),
        )
    claims = [("vendor_class", "MSFT 5.0", "dhcp", 60, "DHCP option 60")] if "dhcp" in sources else []
    if name:
        claims.insert(0, ("hostname", name, name_source, 90, f"{name_source} on eth0"))
    for key, value, source, confidence, evidence in claims:
        connection.execute(
            "INSERT INTO claim(site, subject, key, value, source, confidence, first_ns, last_ns, times, evidence,"
            " agent, device) VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (site, mac_text(mac), key, value, source, confidence, first_ns, last_ns, 7, evidence, agent, identifier),
        )
    _event(connection, "device.discovered", first_ns, site, agent, ("device", identifier, name))
    return identifier, site, address.packed


def _flow(
    connection: sqlite3.Connection,
    devices: list[tuple[str, str, bytes]],
    sites: tuple[str, ...],
    agents: list[str],
    now_ns: int,
    chance: random.Random,
) -> None:
    # A few devices talk much, as everywhere.
    source, site, src = devices[min(len(devices) - 1, int(chance.expovariate(8 / len(devices))))]
    protocol, port, application, sent, replied = chance.choice(_TALKS)
    neighbours = [one for one in devices if one[1] == site and one[0] != source]
    if application == "https" or not neighbours:
        target, dst = "", ipaddress.ip_address(chance.choice(_FAR[: 3 if len(src) == 4 else 4])).packed
    else:
        target, _, dst = chance.choice(neighbours)
    last_ns = now_ns - int(chance.random() ** 2 * 24 * 60 * MINUTE_NS)
    size = chance.uniform(0.2, 4.0)
    connection.execute(
        "INSERT INTO flow(site, agent, first_ns, last_ns, protocol, src, dst, src_port, dst_port, vlans, src_mac,"
        " dst_mac, packets, bytes, reply_packets, reply_bytes, tcp_flags, state, end_reason, tunnels, application,"
        " interface, src_device, dst_device, retransmits, reply_retransmits, server_rtt_us, client_rtt_us)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, 0, x'', x'', ?, ?, ?, ?, ?, ?, ?, '', ?, 'eth0', ?, ?, ?, ?, ?, ?)",
        (
            site,
            agents[sites.index(site)],
            last_ns - chance.randrange(1, 900) * 1_000_000_000,
            last_ns,
            protocol,
            src,
            dst,
            chance.randrange(32_768, 61_000),
            port,
            max(1, int(sent * size / 900)),
            int(sent * size),
            int(replied * size / 900),
            int(replied * size),
            0x1B if protocol == 6 else 0,
            FlowState.CLOSED if protocol == 6 else FlowState.ACTIVE,
            EndReason.CLOSED if protocol == 6 else EndReason.IDLE,
            application,
            source,
            target,
            # Large flows lose segments; of ssh the ACK of the opener was not seen.
            int(size) if protocol == 6 and size > 3 else 0,
            int(size) if protocol == 6 and size > 2 else 0,
            int(size * 9_000) if protocol == 6 else 0,
            int(size * 400) if protocol == 6 and application != "ssh" else 0,
        ),
    )


def _event(
    connection: sqlite3.Connection, kind: str, ts_ns: int, site: str, agent: str, subject: tuple[str, str, str]
) -> None:
    identifier = f"01JEV{zlib.crc32(f'{kind} {subject[1]}'.encode()):021d}"
    connection.execute(
        "INSERT INTO event(id, type, ts_ns, site, agent, subject_kind, subject_id, subject_name, data, evidence)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?, '{}', '[]')",
        (identifier, kind, ts_ns, site, agent, *subject),
    )
