"""The agent's configuration: `/etc/fieldwatch/agent.toml`, `FIELDWATCH_AGENT__SECTION__KEY`, flags.

Every key here does something; a key that would not is not here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fieldwatch_proto.settings import Loaded, Offer, find_file, load, setting
from fieldwatch_proto.shared_settings import Log, Network

from fieldwatch_agent.spool.wear import parse_budget

DEFAULT_FILE = Path("/etc/fieldwatch/agent.toml")
DEFAULT_DATA = "/var/lib/fieldwatch/agent"
ENV_PREFIX = "FIELDWATCH_AGENT"
METHODS = ("ring", "libpcap")
PROTOCOLS = (
    *("dhcp", "dhcpv6", "mdns", "llmnr", "nbns", "nbds", "ssdp", "lldp", "cdp"),
    *("dns", "wsd", "radius", "igmp", "quic", "tcp_syn", "tls", "http", "smb"),
)
REMOTE_COMMANDS = ("reload", "diagnostics", "log_level", "capture", "config")

# "host:port", "192.0.2.1:7443", "[2001:db8::1]:7443"
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+(%[\w.-]+)?\]|[^\s:\[\]/]+):([0-9]{1,5})")


def _check_address(text: str) -> str | None:
    match = _ADDRESS.fullmatch(text)
    if text == "" or (match is not None and 0 < int(match[3]) < 65_536):
        return None
    return 'accepted is "host:port", for instance "collector.example:7443"'


def _check_interfaces(names: Sequence[str]) -> str | None:
    # IFNAMSIZ of Linux: 16 octets with the NUL.
    wrong = [name for name in names if not 0 < len(name.encode()) < 16 or "/" in name]
    return f"{wrong[0]!r} cannot be the name of an interface" if wrong else None


def _check_budget(text: str) -> str | None:
    try:
        parse_budget(text)
    except ValueError as problem:
        return str(problem)
    return None


@dataclass(frozen=True)
class Capture:
    """From which wires, and how."""

    interfaces: tuple[str, ...] = setting(
        (), "interfaces to listen on; none = every Ethernet interface that is up", flag="-i", check=_check_interfaces
    )
    filter: str = setting("", "BPF expression (pcap-filter(7)) that frames must match", flag="--filter")
    method: str = setting(
        "ring",
        "ring: AF_PACKET rings, fastest; libpcap: for a system or an interface where these do not work",
        choices=METHODS,
    )
    ring_bytes: int = setting(
        4 << 20, "ring between kernel and agent, for each worker", unit="bytes", low=1 << 20, high=1 << 30
    )
    promiscuous: bool = setting(True, "take frames that are addressed to others as well")
    workers: int = setting(
        1,
        "rings and threads that share the frames of each interface; each has tables of its own, in memory too"
        ' (method "ring")',
        low=1,
        high=16,
    )
    block_timeout_ms: int = setting(20, "longest time a frame waits in the ring", low=1, high=1_000)

    @property
    def lanes(self) -> int:
        """How many share an interface's frames: libpcap has no means to."""
        return self.workers if self.method == "ring" else 1


@dataclass(frozen=True)
class Flows:
    """The flow table."""

    max: int = setting(
        65_536, "flows at one time; under pressure the oldest is written out early", low=1_024, high=4 << 20
    )
    idle: float = setting(60.0, "a flow without a frame for so long has ended", unit="seconds", low=1, high=3_600)
    active: float = setting(300.0, "a flow that lasts is reported this often", unit="seconds", low=1, high=86_400)


@dataclass(frozen=True)
class Sightings:
    """The table of (VLAN, MAC, IP, source)."""

    max: int = setting(16_384, "sightings kept at one time", low=1_024, high=1 << 20)


@dataclass(frozen=True)
class Spool:
    """The queue on disk: what is sealed and waits for the collector's ack."""

    max_bytes: int = setting(
        0, "most bytes on disk; 0 = the lesser of 1 GiB and a fifth of the filesystem", unit="bytes", low=0
    )
    max_age: float = setting(
        7 * 86_400.0, "batches older than this are given up (and declared lost)", unit="seconds", low=60
    )
    min_free_bytes: int = setting(
        0, "space left to others; 0 = the greater of 256 MiB and 5 % of the filesystem", unit="bytes", low=0
    )
    seal_bytes: int = setting(
        48 << 10, "records in memory are sealed at about this size", unit="bytes", low=4 << 10, high=1 << 20
    )
    seal_age: float = setting(5.0, "records in memory are sealed at this age", unit="seconds", low=0.1, high=3_600)
    write_budget: str = setting(
        "",
        'most that is written to the disk, "50 MB/day": batches are sealed later and larger to keep it, at most 5 min'
        " old; empty = none",
        check=_check_budget,
    )
    saver: bool = setting(
        False, "write batches only when the collector does not ack them, and at the stop; a power cut loses the others"
    )


@dataclass(frozen=True)
class Collector:
    """Where batches go."""

    address: str = setting(
        "",
        'collector for agents, "host:7443"; empty = the one that the agent was enrolled at',
        flag="--collector",
        check=_check_address,
    )
    retry_min: float = setting(
        1.0, "first pause before the collector is tried again", unit="seconds", low=0.01, high=3_600
    )
    retry_max: float = setting(300.0, "longest pause between two tries", unit="seconds", low=0.01, high=86_400)


@dataclass(frozen=True)
class Privacy:
    """What is not looked at."""

    ignore_protocols: tuple[str, ...] = setting(
        (), "protocols whose content is not read (no facts come of them)", choices=PROTOCOLS
    )


@dataclass(frozen=True)
class VendorTable:
    """Names of MAC vendors."""

    path: str = setting(
        "", "table made by `vendors update`; empty = vendors.bin in the data folder, else the shipped one"
    )


@dataclass(frozen=True)
class Remote:
    """What a collector may have this agent do. No collector can change this table."""

    allow: tuple[str, ...] = setting(
        ("reload", "diagnostics", "log_level", "config"),
        'commands that the collector may give; "capture" sends frames with all that is in them, so name it yourself',
        choices=REMOTE_COMMANDS,
    )
    trial: float = setting(
        300.0,
        "a configuration of the collector's goes again when no fresh record has reached it for so long",
        unit="seconds",
        low=1,
        high=86_400,
    )


@dataclass(frozen=True)
class AgentConfig:
    """The root table."""

    data: str = setting(DEFAULT_DATA, "folder of the agent's own files", flag="--data")
    capture: Capture = Capture()
    flows: Flows = Flows()
    sightings: Sightings = Sightings()
    network: Network = Network()
    spool: Spool = Spool()
    collector: Collector = Collector()
    privacy: Privacy = Privacy()
    vendors: VendorTable = VendorTable()
    remote: Remote = Remote()
    log: Log = Log()

    @property
    def vendors_file(self) -> Path:
        """Where `vendors update` puts the table."""
        return Path(self.vendors.path) if self.vendors.path else self.data_dir / "vendors.bin"

    @property
    def data_dir(self) -> Path:
        return Path(self.data)


def load_config(
    file: Path | None = None,
    flags: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    offer: Offer | None = None,
) -> Loaded[AgentConfig]:
    """The configuration in force; `file` None is `DEFAULT_FILE` where it exists. `offer`: the collector's settings,
    see `control.settings`. Raises ConfigError.
    """
    return load(
        AgentConfig,
        file=find_file(file, DEFAULT_FILE),
        env_prefix=ENV_PREFIX,
        environ=os.environ if environ is None else environ,
        flags=flags or {},
        offer=offer,
    )
