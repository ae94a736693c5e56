"""What `doctor` looks at: each check gives findings, and each finding that is not well says what mends it."""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import os
import socket
import ssl
import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from fieldwatch_ext.clock import is_disciplined
from fieldwatch_proto.cli.tables import bytes_text

from fieldwatch_agent import wire
from fieldwatch_agent.config import AgentConfig
from fieldwatch_agent.enrolment.identity import TARGET_NAME, EnrolmentError, Identity, usable_identity
from fieldwatch_agent.interfaces import Device, list_devices
from fieldwatch_agent.spool.control import ask_daemon
from fieldwatch_agent.spool.items import SpoolError

CONNECT_TIMEOUT_S = 5.0
SLOW_SYNC_S = 0.2
PROBE_BYTES = 2 << 20
LEAST_FREE_BYTES = 256 << 20

_CAP_NET_RAW = 13
_SIOCETHTOOL = 0x8946
_ETHTOOL_GTSO = 0x1E
_ETHTOOL_GFLAGS = 0x25
_ETHTOOL_GGRO = 0x2B
_ETH_FLAG_LRO = 1 << 15


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"  # works, but not as well as it could
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    level: Level
    check: str
    what: str
    remedy: str = ""


def ok(check: str, what: str) -> Finding:
    return Finding(Level.OK, check, what)


def note(check: str, what: str, remedy: str) -> Finding:
    return Finding(Level.NOTE, check, what, remedy)


def broken(check: str, what: str, remedy: str) -> Finding:
    return Finding(Level.BROKEN, check, what, remedy)


def examine(config: AgentConfig) -> Iterator[Finding]:
    """Every check, in the order in which the agent would stumble."""
    yield from rights()
    yield from interfaces(config)
    yield from giants(config)
    yield from libpcap(config)
    yield from clock()
    yield from disk(config)
    yield from collector(config)


def rights() -> Iterator[Finding]:
    """CAP_NET_RAW, the one right that capture needs (capabilities(7))."""
    status = Path("/proc/self/status").read_text()
    held = next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)
    if held >> _CAP_NET_RAW & 1:
        yield ok("rights", "may capture (CAP_NET_RAW)")
    else:
        yield broken(
            "rights",
            f"user {os.geteuid()} may not capture (no CAP_NET_RAW)",
            "run it as root, or as the service: systemctl start fieldwatch-agent",
        )


def interfaces(config: AgentConfig) -> Iterator[Finding]:
    """The interfaces to listen on: there, up, with a link, and without merging of frames."""
    present = sorted(name for name in os.listdir(wire.NET) if (wire.NET / name).is_dir())
    chosen = list(config.capture.interfaces) or wire.ethernet_interfaces()
    if not chosen:
        yield broken(
            "interface",
            f"no Ethernet interface is up (there are: {', '.join(present)})",
            "ip link set dev NAME up, or name the interfaces in [capture] interfaces",
        )
    for name in chosen:
        if name not in present:
            remedy = f"set [capture] interfaces to some of: {', '.join(present)}"
            yield broken("interface", f"{name}: there is no such interface", remedy)
        elif not wire.is_up(name):
            yield broken("interface", f"{name}: is down", f"ip link set dev {name} up")
        elif _sysfs(name, "carrier") == "0":
            yield note("interface", f"{name}: is up, but has no link", "look at the cable and its other end")
        else:
            yield ok("interface", f"{name}: up, MTU {_sysfs(name, 'mtu')}, {_sysfs(name, 'address')}")
        if name in present:
            yield from offloads(name)


def libpcap(config: AgentConfig) -> Iterator[Finding]:
    """What libpcap may capture: the way out where rings do not work, and the only one with method "libpcap"."""
    in_use = config.capture.method == "libpcap"
    try:
        devices = list_devices()
    except OSError as problem:
        finding = broken if in_use else note
        yield finding("libpcap", str(problem), 'pip install pcapy-ng; [capture] method "ring" does without')
        return
    usable = [_named(device) for device in devices if not device.problem]
    yield ok("libpcap", f"may capture {', '.join(usable) or 'nothing'}" + ("" if in_use else " (not in use)"))
    if in_use:
        problems = {device.name: device.problem for device in devices}
        for name in config.capture.interfaces or wire.ethernet_interfaces():
            if why := problems.get(name, "libpcap does not list it"):
                yield broken("libpcap", f"{name}: {why}", 'name another interface, or set [capture] method to "ring"')


def _named(device: Device) -> str:
    """`eth0 (192.0.2.0/24)`; the bare name where it has no IPv4 network."""
    if not device.network:
        return device.name
    return f"{device.name} ({ipaddress.ip_network(f'{device.network}/{device.netmask}')})"


def offloads(interface: str) -> Iterator[Finding]:
    """Offloads that merge frames before they are seen, or cut them after that: counts are then too low (ethtool(8))."""
    merging, cutting = [], False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        if _ethtool(control, interface, _ETHTOOL_GGRO):
            merging.append("gro")
        if _ethtool(control, interface, _ETHTOOL_GFLAGS) & _ETH_FLAG_LRO:
            merging.append("lro")
        cutting = bool(_ethtool(control, interface, _ETHTOOL_GTSO))
    if merging:
        yield note(
            "offloads",
            f"{interface}: frames are merged before they are seen ({', '.join(merging)}): their number is too low",
            f"ethtool -K {interface} {' '.join(f'{name} off' for name in merging)}",
        )
    if cutting:
        yield note(
            "offloads",
            f"{interface}: frames that this host sends are seen before they are cut (tso): their number is too low",
            f"ethtool -K {interface} tso off, if this host's own traffic matters",
        )


def giants(config: AgentConfig) -> Iterator[Finding]:
    """What offloads have come to, as the running agent has counted; nothing where none runs."""
    try:
        status: dict[str, Any] = next(ask_daemon(config.data_dir, "status"), {})
    except SpoolError:
        return
    for interface, frames in status.get("giant_frames", {}).items():
        yield note(
            "offloads",
            f"{interface}: {frames:,} frames longer than its MTU allows, since the agent started: offloads merged them",
            "switch off those that are named above, here and on the host of a virtual machine",
        )


def clock() -> Iterator[Finding]:
    """Whether the kernel's clock is disciplined (adjtimex(2)): records are only as good as their times."""
    try:
        disciplined = is_disciplined()
    except OSError as problem:
        yield note("clock", f"cannot be asked: {problem.strerror}", "none needed")
        return
    if not disciplined:
        remedy = "timedatectl set-ntp true (or install chrony); in a container, see to the host"
        yield note("clock", "is not synchronised: times of records may be wrong", remedy)
    else:
        yield ok("clock", "is synchronised")


def disk(config: AgentConfig) -> Iterator[Finding]:
    """The data folder: writable, with room, and how long a synced write takes."""
    folder = config.data_dir
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent  # the agent makes what is missing
    if not place.is_dir() or not os.access(place, os.W_OK | os.X_OK):
        remedy = f"install -d -m 0700 -o USER {folder}, or give another with --data"
        yield broken("disk", f"{folder}: cannot be written by user {os.geteuid()}", remedy)
        return
    room = os.statvfs(place)
    free_bytes = room.f_bavail * room.f_frsize
    least_bytes = config.spool.min_free_bytes or LEAST_FREE_BYTES
    try:
        speed_bytes, sync_s = _probe(place)
    except OSError as problem:
        remedy = "make room, or give another folder with --data"
        yield broken("disk", f"{folder}: writing fails: {problem.strerror}", remedy)
        return
    what = f"{folder}: {bytes_text(free_bytes)} free, {bytes_text(speed_bytes)}/s, a sync takes {sync_s * 1000:.1f} ms"
    if free_bytes < least_bytes:
        remedy = f"free {bytes_text(least_bytes - free_bytes)}, or lower [spool] min_free_bytes"
        yield note("disk", f"{what}; that is little: old batches would be given up", remedy)
    elif sync_s > SLOW_SYNC_S:
        yield note("disk", f"{what}; that is slow", "raise [spool] seal_age, or use a better card")
    else:
        yield ok("disk", what)


def collector(config: AgentConfig) -> Iterator[Finding]:
    """Whether this agent has joined a collector, and whether the two shake hands with the certificates they hold."""
    enrol = "fieldwatch-agent enrol --token-file FILE --collector HOST:7444"
    try:
        identity = usable_identity(config.data_dir)
    except EnrolmentError as problem:
        what, _, remedy = str(problem).rpartition("; ")
        yield broken("collector", what, remedy)
        return
    address = config.collector.address or (identity.address if identity else "")
    if not address:
        yield note("collector", "none is joined: what is captured stays here", enrol)
        return
    if identity is None:
        yield broken("collector", f"{address}: this agent has not joined it", enrol)
    elif identity.not_after < time.time():
        remedy = "the running agent gets another with its key when it reaches the collector; if refused, enrol again"
        yield note("collector", f"this agent's certificate has expired (agent {identity.agent_id})", remedy)
    yield _shake_hands(config, address, identity)


def _shake_hands(config: AgentConfig, address: str, identity: Identity | None) -> Finding:
    host, _, port = address.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_alpn_protocols(["h2"])
    try:
        if identity is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            place = config.data_dir / "identity"
            context.load_verify_locations(place / "ca.crt")
            context.load_cert_chain(place / "agent.crt", place / "agent.key")
        with (
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S) as connection,
            context.wrap_socket(connection, server_hostname=TARGET_NAME) as channel,
        ):
            version = channel.version()
            if identity is not None:
                channel.recv(1)  # with TLS 1.3 a refusal of our certificate comes only now (RFC 8446 4.6.2)
    except ssl.SSLCertVerificationError as problem:
        remedy = "is it the collector that this agent joined? If it was made anew, enrol again"
        return broken("collector", f"{address}: its certificate is not good: {problem.verify_message}", remedy)
    except ssl.SSLError as problem:
        remedy = "the port for agents is 7443; look at what listens there, and whether this agent was revoked"
        return broken("collector", f"{address}: answers, but the TLS handshake fails ({problem.reason})", remedy)
    except OSError as problem:
        remedy = (
            "look at the address, the firewall, and whether fieldwatch-collector runs; until then records wait here"
        )
        return broken("collector", f"{address}: cannot be reached: {problem.strerror or problem}", remedy)
    return ok("collector", f"{address}: reached, {version}" + (", both certificates are good" if identity else ""))


def _sysfs(interface: str, name: str) -> str:
    try:
        return (wire.NET / interface / name).read_text().strip()
    except OSError:
        return ""  # `carrier` cannot be read while an interface is down


def _ethtool(control: socket.socket, interface: str, command: int) -> int:
    """The u32 of an ETHTOOL_G... command (linux/ethtool.h: struct ethtool_value); 0 where it is not known."""
    value = bytearray(struct.pack("=II", command, 0))
    holder = (ctypes.c_char * len(value)).from_buffer(value)
    request = struct.pack("@16sP", interface.encode(), ctypes.addressof(holder)).ljust(40, b"\0")
    try:
        fcntl.ioctl(control, _SIOCETHTOOL, request)
    except OSError:
        return 0
    return int(struct.unpack("=II", value)[1])


def _probe(folder: Path) -> tuple[float, float]:
    """Octets a second of a synced write, and seconds of a small one."""
    with tempfile.TemporaryFile(dir=folder) as file:
        start_s = time.perf_counter()
        file.write(os.urandom(PROBE_BYTES))
        file.flush()
        os.fsync(file.fileno())
        written_s = time.perf_counter()
        file.write(b"\0" * 4_096)
        file.flush()
        os.fsync(file.fileno())
        return PROBE_BYTES / (written_s - start_s), time.perf_counter() - written_s
