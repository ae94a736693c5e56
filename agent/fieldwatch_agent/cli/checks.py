"""What `doctor` looks at: each check gives findings, and each finding that is not well says what mends it."""

from __future__ import annotations

import ctypes
import fcntl
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

from fieldwatch_proto.cli.tables import bytes_text

from fieldwatch_agent.config import AgentConfig

COLLECTOR_NAME = "collector.fieldwatch.internal"
CONNECT_TIMEOUT_S = 5.0
SLOW_SYNC_S = 0.2
PROBE_BYTES = 2 << 20
LEAST_FREE_BYTES = 256 << 20

_CAP_NET_RAW = 13
_SYS_NET = Path("/sys/class/net")
_ARPHRD_ETHER = 1
_IFF_UP = 1
_SIOCETHTOOL = 0x8946
_ETHTOOL_GFLAGS = 0x25
_ETHTOOL_GGRO = 0x2B
_ETH_FLAG_LRO = 1 << 15
_STA_UNSYNC = 0x40
_TIMEX_BYTES = 256  # struct timex is 208 octets on 64-bit Linux
_TIMEX_STATUS = 40  # offset of `status` there: modes, four longs before it


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


def ethernet_interfaces() -> list[str]:
    """Interfaces of Ethernet type that are up, loopback not among them; what an empty `capture.interfaces` means."""
    return [name for name in sorted(os.listdir(_SYS_NET)) if _is_ethernet(name) and _is_up(name)]


def interfaces(config: AgentConfig) -> Iterator[Finding]:
    """The interfaces to listen on: there, up, with a link, and without merging of frames."""
    present = sorted(name for name in os.listdir(_SYS_NET) if (_SYS_NET / name).is_dir())
    chosen = list(config.capture.interfaces) or ethernet_interfaces()
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
        elif not _is_up(name):
            yield broken("interface", f"{name}: is down", f"ip link set dev {name} up")
        elif _sysfs(name, "carrier") == "0":
            yield note("interface", f"{name}: is up, but has no link", "look at the cable and its other end")
        else:
            yield ok("interface", f"{name}: up, MTU {_sysfs(name, 'mtu')}, {_sysfs(name, 'address')}")
        if name in present:
            yield from offloads(name)


def offloads(interface: str) -> Iterator[Finding]:
    """Receive offloads that merge frames before they are seen: counts of frames are then too low (ethtool(8))."""
    merging = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        if _ethtool(control, interface, _ETHTOOL_GGRO):
            merging.append("gro")
        if _ethtool(control, interface, _ETHTOOL_GFLAGS) & _ETH_FLAG_LRO:
            merging.append("lro")
    if merging:
        yield note(
            "offloads",
            f"{interface}: frames are merged before they are seen ({', '.join(merging)}): their number is too low",
            f"ethtool -K {interface} {' '.join(f'{name} off' for name in merging)}",
        )


def clock() -> Iterator[Finding]:
    """Whether the kernel's clock is disciplined (adjtimex(2)): records are only as good as their times."""
    timex = ctypes.create_string_buffer(_TIMEX_BYTES)
    state = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    status = struct.unpack_from("=i", timex, _TIMEX_STATUS)[0]
    if state < 0:
        yield note("clock", f"cannot be asked: {os.strerror(ctypes.get_errno())}", "none needed")
    elif status & _STA_UNSYNC:
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
    """Whether the collector's port answers, and with a certificate that the enrolled CA signed."""
    address = config.collector.address
    if not address:
        remedy = "set [collector] address, then fieldwatch-agent enrol --token-file FILE --collector HOST:7444"
        yield note("collector", "none is set: what is captured stays here", remedy)
        return
    host, _, port = address.rpartition(":")
    authority = config.data_dir / "identity" / "ca.pem"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if authority.exists():
        context.load_verify_locations(authority)
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_TIMEOUT_S) as connection,
            context.wrap_socket(connection, server_hostname=COLLECTOR_NAME) as channel,
        ):
            version = channel.version()
    except ssl.SSLCertVerificationError as problem:
        remedy = "is it the collector that this agent joined? If it was made anew, enrol again"
        yield broken("collector", f"{address}: its certificate is not good: {problem.verify_message}", remedy)
    except ssl.SSLError as problem:
        remedy = "the port for agents is 7443; look at what listens there"
        yield broken("collector", f"{address}: answers, but speaks no TLS ({problem.reason or problem})", remedy)
    except OSError as problem:
        why = problem.strerror or str(problem)
        remedy = (
            "look at the address, the firewall, and whether fieldwatch-collector runs; until then records wait here"
        )
        yield broken("collector", f"{address}: cannot be reached: {why}", remedy)
    else:
        if authority.exists():
            yield ok("collector", f"{address}: reached, {version}, certificate signed by the CA that was joined")
        else:
            remedy = "fieldwatch-agent enrol --token-file FILE --collector HOST:7444"
            yield broken("collector", f"{address}: reached, {version}, but this agent has not joined it", remedy)


def _sysfs(interface: str, name: str) -> str:
    try:
        return (_SYS_NET / interface / name).read_text().strip()
    except OSError:
        return ""  # `carrier` cannot be read while an interface is down


def _is_ethernet(interface: str) -> bool:
    return _sysfs(interface, "type") == str(_ARPHRD_ETHER)


def _is_up(interface: str) -> bool:
    flags = _sysfs(interface, "flags")
    return bool(flags and int(flags, 16) & _IFF_UP)


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
