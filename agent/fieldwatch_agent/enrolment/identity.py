"""The agent's identity on disk: ``identity.json``, ``agent.key``, ``agent.crt``, ``ca.crt`` in the data folder.

The four files change together: new ones are written to a folder of their own, and one rename of the link ``identity``
puts it in force, so that a cut at any moment leaves a key and a certificate that belong to each other.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from fieldwatch_agent.ownership import give

INGEST_PORT = 7443
ENROLMENT_PORT = 7444
TARGET_NAME = "collector.fieldwatch.internal"

FILES = ("agent.key", "agent.crt", "ca.crt", "identity.json")
ENROL = "fieldwatch-agent enrol --token-file FILE --collector HOST"
ENROL_AGAIN = (
    f"enrol again: {ENROL} --anew, or, where it was not revoked, with --replace AGENT_ID, which keeps name and history"
)
_LINK = "identity"
# One or more: while the collector's CA is being replaced, the agent trusts the old one and the new.
_PEM = re.compile(rb"(?:\s*-----BEGIN [A-Z ]+-----\s[A-Za-z0-9+/=\s]+-----END [A-Z ]+-----\s*)+")


class EnrolmentError(Exception):
    """The agent has no usable identity, or cannot get one: one line, with what mends it."""


class DamagedError(EnrolmentError):
    """A file of the identity is gone or is not what was written: enrolling again puts a new identity in its place."""

    def __init__(self, path: Path, problem: object) -> None:
        super().__init__(f"{path}: cannot be used ({problem}); {ENROL_AGAIN}")


@dataclass(frozen=True)
class Identity:
    """`collector` is the host as it was dialled; times are Unix seconds of the certificate's validity."""

    agent_id: str
    site: str
    collector: str
    ingest_port: int
    enrolment_port: int
    not_before: int
    not_after: int

    @property
    def address(self) -> str:
        """Where batches go, as gRPC takes it."""
        host = f"[{self.collector}]" if ":" in self.collector else self.collector
        return f"{host}:{self.ingest_port}"

    def renew_at(self, spread: float) -> float:
        """When to renew: at half of the certificate's life, later by up to a tenth of it (`spread` 0..1)."""
        life = self.not_after - self.not_before
        return self.not_before + life / 2 + spread * life / 10


@dataclass(frozen=True)
class Credentials:
    """PEM octets for a mutual TLS channel; `ca` holds every root that is trusted."""

    key: bytes
    certificate: bytes
    ca: bytes


def load_identity(folder: Path) -> Identity | None:
    """The identity in force; None where the agent is not enrolled. Raises EnrolmentError for a damaged one."""
    path = folder / _LINK / "identity.json"
    try:
        return Identity(**json.loads(_read(path)))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError) as problem:
        raise DamagedError(path, problem) from None


def load_credentials(folder: Path) -> Credentials:
    """Raises EnrolmentError. What is no PEM is refused here: gRPC ends the whole process for an empty key."""
    return Credentials(*(_pem(folder / _LINK / name) for name in FILES[:3]))


def usable_identity(folder: Path) -> Identity | None:
    """`load_identity`, with credentials beside it that can be loaded. Raises EnrolmentError."""
    identity = load_identity(folder)
    if identity is not None:
        load_credentials(folder)
    return identity


def _pem(path: Path) -> bytes:
    try:
        octets = _read(path)
    except FileNotFoundError as problem:
        raise DamagedError(path, problem.strerror) from None
    if _PEM.fullmatch(octets) is None:
        raise DamagedError(path, "not in PEM form")
    return octets


def _read(path: Path) -> bytes:
    """Raises FileNotFoundError, and EnrolmentError for every other reason."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise
    except PermissionError:
        raise EnrolmentError(f"{path}: cannot be read by this user; run this as root or as the agent's user") from None
    except OSError as problem:
        raise DamagedError(path, problem.strerror) from None


def store_identity(folder: Path, identity: Identity, credentials: Credentials) -> None:
    """Put a new identity in force, all or nothing."""
    serial = 1
    while (place := folder / f"{_LINK}.{serial}").exists():
        serial += 1
    place.mkdir(mode=0o700)
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        give(fd, folder)
    finally:
        os.close(fd)
    contents = (credentials.key, credentials.certificate, credentials.ca, json.dumps(asdict(identity)).encode())
    for name, octets in zip(FILES, contents, strict=True):
        _write(place / name, octets)
    _sync(place)
    fresh = folder / f"{_LINK}.new"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(place.name)
    fresh.rename(folder / _LINK)
    _sync(folder)
    for old in folder.glob(f"{_LINK}.[0-9]*"):
        if old.name != place.name:
            shutil.rmtree(old, ignore_errors=True)


def _write(path: Path, octets: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        give(fd, path.parent)
        os.write(fd, octets)
        os.fsync(fd)
    finally:
        os.close(fd)


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
