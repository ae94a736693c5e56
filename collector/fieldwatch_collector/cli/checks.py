"""What `doctor` looks at. It reads only: a healthy machine is not changed by being looked at."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from fieldwatch_proto.cli.tables import amount_text

from fieldwatch_collector import admin
from fieldwatch_collector.config import CollectorConfig, is_loopback, split_address

LOW_DISK_BYTES = 1 << 30
SHORT_DISK_BYTES = 64 << 20
EXPIRY_WARNING_S = 14 * 86_400
CA_WARNING_S = 365 * 86_400  # every agent and every token has to hear of a new one while the old one is valid
NO_END_NS = 253_402_300_799_000_000_000  # 9999-12-31, RFC 5280, 4.1.2.5
OLDEST_SANE_CLOCK_S = 1_735_689_600  # 2025-01-01: before it the clock was never set


class Level(StrEnum):
    OK = "ok"
    NOTE = "note"  # works, but not for long, or not as well as it could
    BROKEN = "broken"


@dataclass(frozen=True)
class Finding:
    level: Level
    check: str
    what: str
    remedy: str = ""


def examine(config: CollectorConfig) -> Iterator[Finding]:
    """Every finding, good ones too."""
    running = False
    readable = True
    for finding in _data(config):
        yield finding
        readable = finding.level is not Level.BROKEN
    if config.data_dir.is_dir() and readable:
        running = _is_running(config)
        yield Finding(Level.OK, "server", "runs on this data folder" if running else "does not run")
    yield from _ports(config, running)
    yield from _disk(config)
    yield from _clock()
    if readable:  # what is in a folder that this user may not read is not for guessing
        yield from _certificate(config)
        yield from _store(config)


def _data(config: CollectorConfig) -> Iterator[Finding]:
    data = config.data_dir
    if not data.exists():
        yield Finding(Level.OK, "data", f"{data}: not there yet; serve makes it")
    elif not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        owner = _owner(data)
        yield Finding(
            Level.BROKEN, "data", f"{data}: belongs to {owner}, and is closed to this user", f"sudo -u {owner} ..."
        )
    elif data.stat().st_mode & 0o077:
        yield Finding(Level.NOTE, "data", f"{data}: open to other users", f"chmod 700 {data}")
    else:
        yield Finding(Level.OK, "data", f"{data}: closed to others, writable")


def _owner(path: Path) -> str:
    try:
        return path.owner()
    except KeyError:
        return f"#{path.stat().st_uid}"


def _is_running(config: CollectorConfig) -> bool:
    try:
        with admin.lock(config.data_dir):
            return False
    except (admin.DataInUseError, OSError):
        return True


def _ports(config: CollectorConfig, running: bool) -> Iterator[Finding]:
    listen = config.listen
    for flag, address in (("--grpc", listen.grpc), ("--public-grpc", listen.public_grpc), ("--http", listen.http)):
        host, port = split_address(address)
        reach = "this machine only" if is_loopback(host) else "other machines"
        if running or port == 0:
            yield Finding(Level.OK, "ports", f"{flag} {address}: for {reach}")
            continue
        try:
            family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            with socket.socket(family, kind, protocol) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
        except OSError as problem:
            remedy = f"stop what uses it (ss -ltnp 'sport = :{port}'), or give another with {flag}"
            yield Finding(Level.BROKEN, "ports", f"{flag} {address}: {problem.strerror}", remedy)
        else:
            yield Finding(Level.OK, "ports", f"{flag} {address}: free, for {reach}")


def _disk(config: CollectorConfig) -> Iterator[Finding]:
    folder = next(path for path in (config.database.parent, *config.database.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    what = f"{folder}: {free / 1e9:.1f} GB free"
    if free < SHORT_DISK_BYTES:
        yield Finding(Level.BROKEN, "disk", what, "free some space; agents keep their data until then")
    elif free < LOW_DISK_BYTES:
        yield Finding(Level.NOTE, "disk", what, "free some space soon")
    else:
        yield Finding(Level.OK, "disk", what)


def _clock() -> Iterator[Finding]:
    if time.time() < OLDEST_SANE_CLOCK_S:
        yield Finding(
            Level.BROKEN, "clock", f"it is {time.strftime('%Y-%m-%d')}", "set the clock: timedatectl set-ntp true"
        )
    else:
        yield Finding(Level.OK, "clock", time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))


def _certificate(config: CollectorConfig) -> Iterator[Finding]:
    from fieldwatch_collector.identity.authority import certificate_expiry_ns

    places = (
        ("ca.crt", "replace it while agents still trust it: fieldwatch-collector ca rotate --begin", CA_WARNING_S),
        ("server.crt", "restart the server", EXPIRY_WARNING_S),
        ("page.crt", "restart the server", EXPIRY_WARNING_S),
    )
    for name, remedy, soon_s in places:
        path = config.data_dir / "pki" / name
        try:
            expiry_ns = certificate_expiry_ns(path.read_bytes())
            left_s = expiry_ns / 1e9 - time.time()
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as problem:
            yield Finding(Level.BROKEN, "certificate", f"{path}: {problem}", "restore the data folder from a backup")
            continue
        if expiry_ns >= NO_END_NS:
            yield Finding(Level.OK, "certificate", f"{name} is good at any time, also for agents without a clock")
            continue
        what = f"{name} is valid for {left_s / 86_400:.0f} days"
        if left_s <= 0:
            yield Finding(Level.BROKEN, "certificate", f"{name} has expired", remedy)
        elif left_s < soon_s:
            yield Finding(Level.NOTE, "certificate", what, remedy)
        else:
            yield Finding(Level.OK, "certificate", what)


def _store(config: CollectorConfig) -> Iterator[Finding]:
    path = config.database
    if not path.exists():
        return
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=5)
        try:
            newest = connection.execute("SELECT coalesce(max(position), 0) FROM batch").fetchone()[0]
            behind = newest - connection.execute("SELECT coalesce(min(position), 0) FROM projection").fetchone()[0]
            dead = connection.execute("SELECT count(*) FROM dead_letter").fetchone()[0]
            admins = connection.execute("SELECT count(*) FROM user WHERE role = 'admin'").fetchone()[0]
            waiting = _waiting(connection)
        finally:
            connection.close()
    except sqlite3.Error as problem:
        yield Finding(Level.BROKEN, "store", f"{path}: {problem}", "see: fieldwatch-collector fsck")
        return
    size, batches = path.stat().st_size, amount_text(newest, "batch", "batches")
    yield Finding(Level.OK, "store", f"{json.dumps(path.name)}: {size / 1e6:.1f} MB, {batches}, {behind:,} to project")
    if not admins:
        remedy = "fieldwatch-collector user add NAME --role admin"
        yield Finding(Level.NOTE, "people", "nobody can log in to the page as an administrator yet", remedy)
    if waiting:
        what = f"{amount_text(waiting, 'device waits', 'devices wait')} for approval"
        yield Finding(Level.NOTE, "agents", what, "fieldwatch-collector agents pending")
    if dead:
        yield Finding(
            Level.NOTE,
            "store",
            f"{amount_text(dead, 'batch', 'batches')} kept that could not be decoded",
            "update the collector, then: fieldwatch-collector rebuild",
        )


def _waiting(connection: sqlite3.Connection) -> int:
    """Devices that wait for approval; 0 in a database that the next start has yet to migrate."""
    try:
        found = connection.execute("SELECT count(*) FROM pending_enrolment WHERE state = 'waiting'").fetchone()
    except sqlite3.OperationalError:
        return 0
    return int(found[0])
