"""What commands make: ``DATA/command-files/ID``, 0600 in a folder of 0700, complete or not there.

A file grows as ``ID.*.part`` and gets its name when the agent has said that it is whole. Each is bounded, all of them
together are, and none is kept for ever: the oldest goes first, and its command says when.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Collection
from pathlib import Path

CHUNK_BYTES = 256 << 10  # agent.proto: the most that one report carries
_PART = ".part"
_NAME = re.compile(r"[^A-Za-z0-9._-]+")


class TooLargeError(Exception):
    """A file beyond its bound."""


class Draft:
    """A file that is being received. Each has a part of its own: two calls may bring the same command's at one time."""

    def __init__(self, folder: Path, command_id: str, limit_bytes: int) -> None:
        self._target = folder / command_id
        self._limit_bytes = limit_bytes
        self.size_bytes = 0
        descriptor, path = tempfile.mkstemp(_PART, f"{command_id}.", folder)
        self._stream, self._path = open(descriptor, "wb", buffering=0), Path(path)  # noqa: SIM115 - until keep or drop

    def write(self, octets: bytes) -> None:
        """Raises TooLargeError, OSError."""
        if self.size_bytes + len(octets) > self._limit_bytes:
            raise TooLargeError
        view = memoryview(octets)
        while view:
            view = view[self._stream.write(view) :]
        self.size_bytes += len(octets)

    def keep(self) -> None:
        """It is whole: on the disk, and under its own name. Raises OSError."""
        os.fsync(self._stream.fileno())
        self._path.replace(self._target)
        self._stream.close()

    def drop(self) -> None:
        """Also after a `keep` that failed."""
        self._stream.close()
        self._path.unlink(missing_ok=True)


class CommandFiles:
    """The folder of one collector; made with the first file."""

    def __init__(self, data: Path, *, file_bytes: int, total_bytes: int) -> None:
        self.folder = data / "command-files"
        self.file_bytes = file_bytes
        self.total_bytes = total_bytes

    def begin(self, command_id: str) -> Draft:
        """Raises OSError."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        return Draft(self.folder, command_id, self.file_bytes)

    def path(self, command_id: str) -> Path:
        return self.folder / command_id

    def held(self) -> list[tuple[str, int]]:
        """(command id, octets) of each whole file, the oldest first: the ids sort by time."""
        with contextlib.suppress(FileNotFoundError):
            return sorted(
                (entry.name, entry.stat().st_size)
                for entry in os.scandir(self.folder)
                if not entry.name.endswith(_PART)
            )
        return []

    def delete(self, command_id: str) -> None:
        self.path(command_id).unlink(missing_ok=True)

    def forget_all_but(self, kept: Collection[str]) -> None:
        """At a start: parts, for nobody sends them any more, and whole files that no command knows."""
        for path in self.folder.glob("*"):
            if path.name not in kept:
                path.unlink(missing_ok=True)


def safe_name(text: str, fallback: str) -> str:
    """A file name that a stranger proposes, as any system takes it: letters, digits, . _ -, at most 100."""
    return _NAME.sub("-", text.rpartition("/")[2])[-100:].strip(".-") or fallback
