"""The collector's configuration: `/etc/fieldwatch/collector.toml`, `FIELDWATCH_COLLECTOR__SECTION__KEY`, flags.

Every key here does something; a key that would not is not here.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fieldwatch_proto.settings import Loaded, find_file, load, setting
from fieldwatch_proto.shared_settings import Log, Network

DEFAULT_FILE = Path("/etc/fieldwatch/collector.toml")
DEFAULT_DATA = "/var/lib/fieldwatch/collector"
ENV_PREFIX = "FIELDWATCH_COLLECTOR"
SQLITE = "sqlite:"

# "host:port", "192.0.2.1:7443", "[2001:db8::1]:7443"; port 0 = any free one, told in ports.json
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[^\s:\[\]/]+):([0-9]{1,5})")


def split_address(text: str) -> tuple[str, int]:
    """("::1", 7443) of "[::1]:7443". Raises ValueError."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > 65_535:
        raise ValueError(f"{text!r} is no address; accepted is host:port")
    return match[1].strip("[]"), int(match[2])


def join_address(host: str, port: int) -> str:
    """ "[::1]:7443" of ("::1", 7443)."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_address(text: str) -> str | None:
    try:
        split_address(text)
    except ValueError:
        return 'accepted is "host:port", for instance "127.0.0.1:7443" or "[::]:7443"'
    return None


def _check_store(text: str) -> str | None:
    if text == "" or (text.startswith(SQLITE) and len(text) > len(SQLITE)):
        return None
    return 'accepted is "sqlite:PATH", or nothing for collector.db in the data folder'


@dataclass(frozen=True)
class Commands:
    """What agents' commands leave behind: the files that they make (diagnostics, captures)."""

    keep: float = setting(7 * 86_400.0, "files are deleted after this time", unit="seconds", low=60, high=3650 * 86_400)
    file_bytes: int = setting(16 << 20, "the largest file that is taken", unit="bytes", low=1 << 10, high=1 << 30)
    total_bytes: int = setting(
        256 << 20, "all files together; the oldest go for new ones", unit="bytes", low=1 << 20, high=1 << 40
    )

    def __post_init__(self) -> None:
        if self.file_bytes > self.total_bytes:
            raise ValueError("commands.file_bytes is more than commands.total_bytes; lower one, or raise the other")


@dataclass(frozen=True)
class Listen:
    """Where the server listens: loopback until told otherwise."""

    grpc: str = setting("127.0.0.1:7443", "agents (mutual TLS)", flag="--grpc", check=_check_address)
    public_grpc: str = setting(
        "127.0.0.1:7444", "enrolment and queries (server TLS)", flag="--public-grpc", check=_check_address
    )
    http: str = setting(
        "127.0.0.1:7480", "page and REST; plain HTTP on loopback only", flag="--http", check=_check_address
    )


@dataclass(frozen=True)
class Tls:
    """The certificate of the page, when it is not to be that of the collector's own CA."""

    certificate: str = setting("", "PEM file with the chain; empty = issued by the collector's own CA")
    key: str = setting("", "PEM file with the key of `certificate`")
    names: tuple[str, ...] = setting((), "further names and addresses for the collector's own certificate")


@dataclass(frozen=True)
class Enrolment:
    """Who may become an agent."""

    approve: bool = setting(False, "a person lets each new agent in: fieldwatch-collector agents approve ID")


@dataclass(frozen=True)
class Limits:
    """What agents and the database may use. Whoever is over a rate is paused; nothing is lost by it."""

    agent_records_per_s: int = setting(1_000_000, "records a second of one agent; 0 = no limit", low=0)
    agent_bytes_per_s: int = setting(64 << 20, "octets a second of one agent; 0 = no limit", unit="bytes", low=0)
    min_free_bytes: int = setting(
        0,
        "batches are not taken below so much free space; 0 = the lesser of 256 MiB and 5 % of the filesystem",
        unit="bytes",
        low=0,
    )
    cache_bytes: int = setting(
        64 << 20, "pages of the database that are kept in memory", unit="bytes", low=2 << 20, high=1 << 32
    )


@dataclass(frozen=True)
class CollectorConfig:
    """The root table."""

    data: str = setting(DEFAULT_DATA, "folder of the collector's own files", flag="--data")
    store: str = setting("", "database; empty = collector.db in the data folder", flag="--store", check=_check_store)
    listen: Listen = Listen()
    tls: Tls = Tls()
    enrolment: Enrolment = Enrolment()
    network: Network = Network()
    limits: Limits = Limits()
    commands: Commands = Commands()
    log: Log = Log()

    def __post_init__(self) -> None:
        if bool(self.tls.certificate) != bool(self.tls.key):
            raise ValueError("tls.certificate and tls.key go together; give both, or neither")

    @property
    def data_dir(self) -> Path:
        return Path(self.data)

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return Path(self.store.removeprefix(SQLITE)) if self.store else self.data_dir / "collector.db"


def load_config(
    file: Path | None = None, flags: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None
) -> Loaded[CollectorConfig]:
    """The configuration in force; `file` None is `DEFAULT_FILE` where it exists. Raises ConfigError."""
    return load(
        CollectorConfig,
        file=find_file(file, DEFAULT_FILE),
        env_prefix=ENV_PREFIX,
        environ=os.environ if environ is None else environ,
        flags=flags or {},
    )
