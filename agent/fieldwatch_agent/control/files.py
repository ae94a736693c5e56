"""Small files that must be whole after any cut: written beside, synced, renamed."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fieldwatch_proto.logs import get_logger

from fieldwatch_agent.ownership import give

FOLDER = "control"
MAX_BYTES = 1 << 20

log = get_logger(__name__)


def read_object(data: Path, name: str) -> dict[str, Any]:
    """The JSON object of a file of ours; empty where there is none, or where it is damaged (which is logged)."""
    path = data / FOLDER / name
    try:
        with path.open("rb") as stream:
            found = json.loads(stream.read(MAX_BYTES))
        if not isinstance(found, dict):
            raise ValueError("no object")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:
        log.error("a file of the agent's cannot be used; it is written anew", file=str(path), problem=str(problem))
        return {}
    return found


def write_object(data: Path, name: str, value: dict[str, Any]) -> None:
    """Put a JSON object in force, all or nothing, on disk when this returns. Raises OSError."""
    folder = data / FOLDER
    if not folder.exists():
        folder.mkdir(mode=0o700)
        _with(folder, lambda fd: give(fd, data))
        _with(data, os.fsync)
    fresh = folder / f"{name}.new"
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        give(fd, data)
        octets = json.dumps(value).encode("ascii")
        while octets:
            octets = octets[os.write(fd, octets) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    fresh.rename(folder / name)
    _with(folder, os.fsync)


def _with(folder: Path, work: Callable[[int], None]) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        work(fd)
    finally:
        os.close(fd)
