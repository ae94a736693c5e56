"""The sample capture: a few minutes of a small office that speaks every protocol the agent learns from.

``python -m support.sample FILE`` writes it. Generated, seeded, the same octets each time; addresses outside are those
reserved for documentation (RFC 5737). `./dev demo` replays it where the right to capture is missing.
"""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import dpkt

from support.sample_payloads import client_hello, dns_answer, dns_query, host_name, http_request, http_response

START_NS = 1_700_000_000_000_000_000
DURATION_NS = 240_000_000_000
BROADCAST = b"\xff" * 6
IOT_VLAN = 20


@dataclass(frozen=True)
class Station:
    """One device of the office."""

    name: str
    mac: bytes
    ip: bytes
    vlan: int = 0

    @property
    def link_local(self) -> bytes:
        """fe80:: address from the MAC (RFC 4291 appendix A)."""
        return bytes.fromhex("fe80000000000000") + bytes([self.mac[0] ^ 2, *self.mac[1:3], 0xFF, 0xFE, *self.mac[3:]])


def _station(name: str, mac: str, ip: str, vlan: int = 0) -> Station:
    return Station(name, bytes.fromhex(mac.replace(":", "")), IPv4Address(ip).packed, vlan)


GATEWAY = _station("gateway", "74:ac:b9:10:00:01", "192.168.10.1")
SWITCH = _station("sw-office-1", "00:1b:54:10:00:02", "192.168.10.2")
ACCESS_POINT = _station("ap-hall", "f0:9f:c2:10:00:03", "192.168.10.3")
NAS = _station("nas", "00:11:32:10:00:04", "192.168.10.4")
PRINTER = _station("printer-hall", "3c:d9:2b:10:00:05", "192.168.10.5")
LAPTOP = _station("LAPTOP-SALES", "3c:97:0e:10:00:06", "192.168.10.21")
DESKTOP = _station("DESKTOP-LAB", "00:1e:67:10:00:07", "192.168.10.22")
PHONE = _station("phone", "da:a1:19:10:00:08", "192.168.10.23")
SENSOR_PI = _station("sensor-pi", "b8:27:eb:10:00:09", "192.168.10.24")
MEDIA = _station("meeting-room-tv", "8c:79:f5:10:00:0a", "192.168.10.25")
CAMERA = _station("door-camera", "44:19:b6:10:00:0b", "192.168.20.11", IOT_VLAN)
PLUG = _station("plug-3", "24:0a:c4:10:00:0c", "192.168.20.12", IOT_VLAN)
IOT_GATEWAY = _station("gateway", "74:ac:b9:10:00:01", "192.168.20.1", IOT_VLAN)
LEASED = (LAPTOP, DESKTOP, PHONE, SENSOR_PI, MEDIA, CAMERA, PLUG)
STATIONS = (GATEWAY, SWITCH, ACCESS_POINT, NAS, PRINTER, *LEASED)

Frame = tuple[int, bytes]


# --- layers --------------------------------------------------------------------------------------------------------


def _link(source: bytes, target: bytes, ethertype: int, body: bytes, vlan: int = 0) -> bytes:
    tag = struct.pack(">HH", 0x8100, vlan) if vlan else b""
    return (target + source + tag + struct.pack(">H", ethertype) + body).ljust(60, b"\0")


def _ip(source: bytes, target: bytes, upper: dpkt.Packet, protocol: int, ttl: int = 64) -> bytes:
    return bytes(dpkt.ip.IP(src=source, dst=target, p=protocol, ttl=ttl, id=1, data=upper))


def _udp(source: bytes, target: bytes, sport: int, dport: int, payload: bytes, ttl: int = 64) -> bytes:
    upper = dpkt.udp.UDP(sport=sport, dport=dport, data=payload)
    upper.ulen = 8 + len(payload)
    return _ip(source, target, upper, dpkt.ip.IP_PROTO_UDP, ttl)


def _multicast_mac(group: bytes) -> bytes:
    """RFC 1112 section 6.4."""
    return bytes([0x01, 0x00, 0x5E, group[1] & 0x7F, group[2], group[3]])


def _to_group(station: Station, group: str, port: int, payload: bytes, sport: int = 0) -> bytes:
    target = IPv4Address(group).packed
    packet = _udp(station.ip, target, sport or port, port, payload, 255 if port == 5353 else 2)
    return _link(station.mac, _multicast_mac(target), 0x0800, packet, station.vlan)


# --- what stations say ---------------------------------------------------------------------------------------------


def _arp(operation: int, station: Station, target_mac: bytes, target_ip: bytes) -> bytes:
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, operation) + station.mac + station.ip + target_mac + target_ip
    return _link(station.mac, target_mac if any(target_mac) else BROADCAST, 0x0806, body, station.vlan)


def _neighbour_advertisement(station: Station) -> bytes:
    """Unsolicited NA with the target link-layer option (RFC 4861 section 4.4)."""
    body = b"\x20\0\0\0" + station.link_local + b"\x02\x01" + station.mac
    target = IPv6Address("ff02::1").packed
    upper = struct.pack(">BBH", 136, 0, 0) + body
    pseudo = station.link_local + target + struct.pack(">II", len(upper), 58) + upper
    total = sum(struct.unpack(f">{len(pseudo) // 2}H", pseudo))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~(total + (total >> 16)) & 0xFFFF
    header = struct.pack(">IHBB", 0x60000000, len(upper), 58, 255) + station.link_local + target
    packet = header + upper[:2] + struct.pack(">H", checksum) + upper[4:]
    return _link(station.mac, bytes.fromhex("333300000001"), 0x86DD, packet, station.vlan)


def _dhcp(station: Station, number: int, vendor_class: bytes, fingerprint: bytes) -> Iterator[bytes]:
    """REQUEST and ACK of one lease (RFC 2131)."""
    server = IOT_GATEWAY if station.vlan else GATEWAY
    asked = bytes([53, 1, 3, 12, len(station.name)]) + station.name.encode()
    asked += bytes([60, len(vendor_class)]) + vendor_class + bytes([55, len(fingerprint)]) + fingerprint
    given = bytes([53, 1, 5, 54, 4]) + server.ip + bytes([51, 4]) + struct.pack(">I", 86_400)
    for operation, options, yours in ((1, asked, bytes(4)), (2, given, station.ip)):
        fixed = struct.pack(">BBBBIHH", operation, 1, 6, 0, 0x5EED0000 + number, 0, 0)
        fixed += bytes(4) + yours + bytes(8) + station.mac.ljust(16, b"\0") + bytes(192)
        message = fixed + b"\x63\x82\x53\x63" + options + b"\xff"
        if operation == 1:
            packet = _udp(bytes(4), b"\xff" * 4, 68, 67, message)
            yield _link(station.mac, BROADCAST, 0x0800, packet, station.vlan)
        else:
            yield _link(server.mac, station.mac, 0x0800, _udp(server.ip, station.ip, 67, 68, message), station.vlan)


def _labels(name: str) -> bytes:
    return b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"


def _mdns(station: Station, services: list[str], model: str = "") -> bytes:
    """An announcement: the host's address, its services, and a device-info TXT record (RFC 6762, RFC 6763)."""
    host = _labels(f"{station.name.lower()}.local")
    answers = [host + struct.pack(">HHIH", 1, 0x8001, 120, 4) + station.ip]
    for service in services:
        instance = bytes([len(station.name)]) + station.name.encode() + _labels(f"{service}.local")
        answers.append(_labels(f"{service}.local") + struct.pack(">HHIH", 12, 1, 4500, len(instance)) + instance)
        target = struct.pack(">HHH", 0, 0, 443) + host
        answers.append(instance + struct.pack(">HHIH", 33, 0x8001, 120, len(target)) + target)
    if model:
        text = bytes([len(model) + 6]) + b"model=" + model.encode()
        owner = bytes([len(station.name)]) + station.name.encode() + _labels("_device-info._tcp.local")
        answers.append(owner + struct.pack(">HHIH", 16, 0x8001, 4500, len(text)) + text)
    message = struct.pack(">HHHHHH", 0, 0x8400, 0, len(answers), 0, 0) + b"".join(answers)
    return _to_group(station, "224.0.0.251", 5353, message)


def _netbios_label(name: str, suffix: int) -> bytes:
    """First-level encoding (RFC 1001 section 14.1)."""
    octets = name.upper().encode().ljust(15)[:15] + bytes([suffix])
    return b"\x20" + b"".join(bytes([0x41 + (o >> 4), 0x41 + (o & 15)]) for o in octets) + b"\0"


def _nbns_registration(station: Station, name: str, suffix: int, group: bool) -> bytes:
    """NAME REGISTRATION REQUEST by broadcast (RFC 1002 section 4.2.2)."""
    message = struct.pack(">HHHHHH", 0x1234, 0x2910, 1, 0, 0, 1) + _netbios_label(name, suffix) + b"\0\x20\0\x01"
    message += b"\xc0\x0c\0\x20\0\x01" + struct.pack(">IHH", 300_000, 6, 0x8000 if group else 0) + station.ip
    packet = _udp(station.ip, station.ip[:3] + b"\xff", 137, 137, message)
    return _link(station.mac, BROADCAST, 0x0800, packet, station.vlan)


def _browser_announcement(station: Station, group: str) -> bytes:
    """HOST ANNOUNCEMENT to \\\\MAILSLOT\\\\BROWSE in a direct group datagram (RFC 1002 section 4.4.2)."""
    browse = b"\x01\0" + struct.pack("<I", 60_000) + station.name.encode()[:15].ljust(16, b"\0")
    browse += bytes([10, 0]) + struct.pack("<IBBH", 0x00039003, 15, 1, 0xAA55) + b"sales\0"
    slot = b"\\MAILSLOT\\BROWSE\0"
    smb = b"\xffSMB\x25" + bytes(27) + bytes([17]) + struct.pack("<HH", 0, len(browse)) + bytes(16)
    smb += struct.pack("<HHHBB", 86, len(browse), 86, 3, 0) + struct.pack("<HHH", 1, 1, 2)
    smb += struct.pack("<H", len(slot) + len(browse)) + slot + browse
    names = _netbios_label(station.name, 0x20) + _netbios_label(group, 0x1D)
    head = struct.pack(">BBH", 0x11, 0x0A, 0x4321) + station.ip + struct.pack(">HHH", 138, len(names) + len(smb), 0)
    packet = _udp(station.ip, station.ip[:3] + b"\xff", 138, 138, head + names + smb)
    return _link(station.mac, BROADCAST, 0x0800, packet, station.vlan)


def _llmnr(station: Station, number: int) -> bytes:
    """A response (RFC 4795) to whoever asked for the station's name."""
    name = _labels(station.name)
    message = struct.pack(">HHHHHH", number, 0x8000, 1, 1, 0, 0) + name + b"\0\x01\0\x01"
    message += name + struct.pack(">HHIH", 1, 1, 30, 4) + station.ip
    return _link(station.mac, DESKTOP.mac, 0x0800, _udp(station.ip, DESKTOP.ip, 5355, 50_000 + number, message))


def _ssdp(station: Station, server: str, kind: str) -> bytes:
    address = IPv4Address(station.ip)
    text = (
        f"NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nCACHE-CONTROL: max-age=1800\r\n"
        f"LOCATION: http://{address}:8200/rootDesc.xml\r\nSERVER: {server}\r\nNT: {kind}\r\n"
        f"USN: uuid:{station.mac.hex()}::{kind}\r\nNTS: ssdp:alive\r\n\r\n"
    )
    return _to_group(station, "239.255.255.250", 1900, text.encode(), 40_000)


def _lldp(station: Station, port: str, description: str) -> bytes:
    """Chassis, port, TTL, names, capabilities and management address (IEEE 802.1AB)."""

    def tlv(kind: int, value: bytes) -> bytes:
        return struct.pack(">H", kind << 9 | len(value)) + value

    unit = tlv(1, b"\x04" + station.mac) + tlv(2, b"\x05" + port.encode()) + tlv(3, b"\0\x78")
    unit += tlv(4, b"uplink") + tlv(5, station.name.encode()) + tlv(6, description.encode()) + tlv(7, b"\0\x14\0\x04")
    unit += tlv(8, b"\x05\x01" + station.ip + b"\x02\0\0\0\x01\0") + tlv(0, b"")
    return _link(station.mac, bytes.fromhex("0180c200000e"), 0x88CC, unit)


def _cdp(station: Station) -> bytes:
    """Device, address, port, capabilities, version and platform in LLC/SNAP (Cisco Discovery Protocol 2)."""

    def tlv(kind: int, value: bytes) -> bytes:
        return struct.pack(">HH", kind, len(value) + 4) + value

    address = struct.pack(">I", 1) + b"\x01\x01\xcc\0\x04" + station.ip
    body = tlv(1, station.name.encode()) + tlv(2, address) + tlv(3, b"eth0") + tlv(4, b"\0\0\0\x02")
    body += tlv(5, b"AP firmware 6.2") + tlv(6, b"Access Point")
    packet = b"\xaa\xaa\x03\0\0\x0c\x20\0" + b"\x02\xb4\0\0" + body
    return bytes.fromhex("01000ccccccc") + station.mac + struct.pack(">H", len(packet)) + packet


# --- traffic -------------------------------------------------------------------------------------------------------


REQUEST_OCTETS = 220
CIPHERS = {  # hosts of one system have one TLS library
    LAPTOP: (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F),
    DESKTOP: (0x1301, 0x1302, 0x1303, 0xC02B, 0xC02F),
    PHONE: (0x1301, 0x1303, 0x1302, 0xCCA9, 0xC02B),
    MEDIA: (0xC02F, 0xC030, 0x009C),
    SENSOR_PI: (0x1302, 0x1303, 0x1301),
}
PROGRAMS = {LAPTOP: "Updater/10.0", DESKTOP: "Updater/10.0", PHONE: "Phone/14", MEDIA: "TV/3.0", SENSOR_PI: "probe/1.2"}


def _opening(source: Station, name: str, port: int) -> bytes:
    """What a client says first, `REQUEST_OCTETS` of it."""
    if port in (443, 993, 8883):
        return client_hello(name, CIPHERS[source], REQUEST_OCTETS)
    return http_request(name, PROGRAMS[source], REQUEST_OCTETS) if port == 80 else bytes(REQUEST_OCTETS)


def _session(
    source: Station, via: Station, to: bytes, sport: int, dport: int, sizes: list[int], name: str = ""
) -> Iterator[bytes]:
    """A whole TCP connection: handshake, answers of `sizes` octets, each acknowledged, and a close from both sides."""
    syn, ack, fin, push = 0x02, 0x10, 0x01, 0x08
    near, far = 1000, 2000

    def sent(flags: int, data: bytes = b"") -> bytes:
        seen = 0 if flags == syn else far
        upper = dpkt.tcp.TCP(sport=sport, dport=dport, seq=near, ack=seen, flags=flags, win=64_240, data=data)
        packet = _ip(source.ip, to, upper, dpkt.ip.IP_PROTO_TCP)
        return _link(source.mac, via.mac, 0x0800, packet, source.vlan)

    def answered(flags: int, data: bytes = b"") -> bytes:
        upper = dpkt.tcp.TCP(sport=dport, dport=sport, seq=far, ack=near, flags=flags, win=64_240, data=data)
        packet = _ip(to, source.ip, upper, dpkt.ip.IP_PROTO_TCP)
        return _link(via.mac, source.mac, 0x0800, packet, source.vlan)

    yield sent(syn)
    near += 1
    yield answered(syn | ack)
    far += 1
    yield sent(ack)
    yield sent(ack | push, _opening(source, name, dport))
    near += REQUEST_OCTETS
    for number, size in enumerate(sizes):
        yield answered(ack | push, http_response("web/2.4", size) if dport == 80 and not number else bytes(size))
        far += size
        yield sent(ack)
    yield sent(fin | ack)
    near += 1
    yield answered(fin | ack)
    far += 1
    yield sent(ack)


def _exchange(
    source: Station, via: Station, to: bytes, sport: int, dport: int, said: tuple[bytes, bytes]
) -> list[bytes]:
    """One UDP question and its answer."""
    there = _udp(source.ip, to, sport, dport, said[0])
    back = _udp(to, source.ip, dport, sport, said[1])
    return [
        _link(source.mac, via.mac, 0x0800, there, source.vlan),
        _link(via.mac, source.mac, 0x0800, back, source.vlan),
    ]


def _ping(source: Station, target: Station, number: int) -> list[bytes]:
    echo = dpkt.icmp.ICMP.Echo(id=7, seq=number, data=bytes(32))
    there = dpkt.icmp.ICMP(type=8, data=echo)
    back = dpkt.icmp.ICMP(type=0, data=echo)
    return [
        _link(source.mac, target.mac, 0x0800, _ip(source.ip, target.ip, there, dpkt.ip.IP_PROTO_ICMP)),
        _link(target.mac, source.mac, 0x0800, _ip(target.ip, source.ip, back, dpkt.ip.IP_PROTO_ICMP)),
    ]


def _introductions() -> list[bytes]:
    frames: list[bytes] = []
    fingerprints = {LAPTOP: b"\x01\x03\x06\x0f\x1f\x21", PHONE: b"\x01\x79\x03\x06\x0f\x6c"}
    classes = {LAPTOP: b"MSFT 5.0", DESKTOP: b"MSFT 5.0", PHONE: b"android-dhcp-14"}
    for number, station in enumerate(LEASED):
        vendor_class = classes.get(station, b"udhcp 1.36.1")
        frames += _dhcp(station, number, vendor_class, fingerprints.get(station, b"\x01\x03\x06\x0c\x0f\x1c"))
    for station in STATIONS:
        gateway = IOT_GATEWAY if station.vlan else GATEWAY
        if station is not GATEWAY:
            frames += [_arp(1, station, bytes(6), gateway.ip), _arp(2, gateway, station.mac, station.ip)]
        frames.append(_neighbour_advertisement(station))
    frames += [
        _mdns(NAS, ["_smb._tcp", "_http._tcp"], "RackStation"),
        _mdns(PRINTER, ["_ipp._tcp", "_printer._tcp"]),
        _mdns(PHONE, []),
        _mdns(SENSOR_PI, ["_ssh._tcp"]),
        _mdns(MEDIA, ["_googlecast._tcp"]),
        _ssdp(NAS, "Linux/5.10 UPnP/1.0 MediaServer/2.1", "urn:schemas-upnp-org:device:MediaServer:1"),
        _ssdp(MEDIA, "Linux UPnP/1.0 TV/3.0", "urn:schemas-upnp-org:device:MediaRenderer:1"),
        _ssdp(GATEWAY, "Linux UPnP/1.1 Gateway/4.3", "urn:schemas-upnp-org:device:InternetGatewayDevice:1"),
        _llmnr(LAPTOP, 1),
        _cdp(ACCESS_POINT),
        _lldp(SWITCH, "Gi0/1", "Switch, software 15.2"),
    ]
    for station in (LAPTOP, DESKTOP):
        frames += [
            _nbns_registration(station, station.name, 0x00, False),
            _nbns_registration(station, station.name, 0x20, False),
            _nbns_registration(station, "OFFICE", 0x00, True),
            _browser_announcement(station, "OFFICE"),
        ]
    return frames


def _traffic(dice: random.Random) -> list[bytes]:
    frames: list[bytes] = []
    outside = [IPv4Address(f"198.51.100.{host}").packed for host in range(10, 40)]
    services = [(443, 12), (443, 30), (80, 4), (993, 3), (8883, 2)]
    for number in range(90):
        station = dice.choice([LAPTOP, LAPTOP, DESKTOP, PHONE, MEDIA, SENSOR_PI])
        port, answers = dice.choice(services)
        sizes = [dice.randrange(60, 1400) for _ in range(dice.randrange(1, answers + 1))]
        server = dice.choice(outside)
        name = host_name(outside.index(server))
        asked = dns_query(number, name), dns_answer(number, name, server, 96)
        frames += _exchange(station, GATEWAY, GATEWAY.ip, 30_000 + number, 53, asked)
        frames += _session(station, GATEWAY, server, 40_000 + number, port, sizes, name)
    for number in range(25):
        client = dice.choice([LAPTOP, DESKTOP])
        sizes = [dice.randrange(400, 1400) for _ in range(20)]
        frames += _session(client, NAS, NAS.ip, 50_000 + number, 445, sizes)
    for number in range(20):
        sizes = [dice.randrange(900, 1400) for _ in range(6)]
        frames += _session(CAMERA, IOT_GATEWAY, NAS.ip, 51_000 + number, 554, sizes)
        frames += _exchange(
            PLUG, IOT_GATEWAY, IPv4Address("203.0.113.9").packed, 52_000 + number, 123, (bytes(48), bytes(48))
        )
        frames += _ping(SENSOR_PI, GATEWAY, number)
    return frames


def sample_frames(start_ns: int = START_NS) -> list[Frame]:
    """(time, frame) of the whole sample; it lasts `DURATION_NS`."""
    dice = random.Random(2026)
    frames = _introductions() + _traffic(dice)
    step = DURATION_NS // len(frames)
    return [(start_ns + number * step, frame) for number, frame in enumerate(frames)]


def write_sample(path: Path, start_ns: int = START_NS) -> int:
    """Write the sample as a pcap with nanosecond times; the number of frames."""
    frames = sample_frames(start_ns)
    with path.open("wb") as out:
        out.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 262_144, 1))
        for at, octets in frames:
            seconds, fraction = divmod(at, 1_000_000_000)
            out.write(struct.pack("<IIII", seconds, fraction, len(octets), len(octets)) + octets)
    return len(frames)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m support.sample FILE")
    print(f"{write_sample(Path(sys.argv[1]))} frames")
