"""A disk that is watched and made to fail: `disk_shim.c` under a process, its log, and what a power cut may leave.

What a power cut leaves is any state that the log allows (`Disk.states`): of each file everything that was written
before its last sync, and of what came later any part, in sectors of `SECTOR` octets; of creations, renames, deletions
a prefix of those that came after the last sync of a folder (file systems keep them in order, and only that).
"""

from __future__ import annotations

import ctypes
import mmap
import os
import random
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

SECTOR = 512
WRITE, TRUNCATE, SYNC, CREATE, UNLINK, RENAME, SYNC_FOLDER = range(1, 8)
_HEAD = struct.Struct("<BHQQ")
_SOURCE = Path(__file__).with_name("disk_shim.c")


def build_shim(folder: Path) -> Path:
    """The library, compiled into `folder`. Skips the test where there is no compiler (the kernel needs one too)."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    made = folder / "disk_shim.so"
    command = [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", str(made), str(_SOURCE), "-ldl"]
    done = subprocess.run([*command, "-lpthread"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return made


class Faults(ctypes.Structure):
    """The page that the shim reads at each call; zeros = the disk is well. As `struct faults` in disk_shim.c."""

    _fields_ = (
        ("sync_delay_ms", ctypes.c_uint32),
        ("write_errno", ctypes.c_uint32),
        ("sync_errno", ctypes.c_uint32),
        ("syncs", ctypes.c_uint32),
    )


@dataclass
class WatchedDisk:
    """A folder whose files are watched in every process that has `environ`; `scratch` is for log and library."""

    folder: Path
    scratch: Path
    logs: bool = True
    faults: Faults = field(init=False)

    def __post_init__(self) -> None:
        self._library = build_shim(self.scratch)
        self.log = self.scratch / "disk.log"
        page = self.scratch / "disk.faults"
        page.write_bytes(bytes(mmap.PAGESIZE))
        with page.open("r+b") as stream:
            self._mapping = mmap.mmap(stream.fileno(), mmap.PAGESIZE)
        self.faults = Faults.from_buffer(self._mapping)
        self._page = page

    @property
    def environ(self) -> dict[str, str]:
        """For the process that is watched."""
        return {
            "LD_PRELOAD": str(self._library),
            "FIELDWATCH_DISK_FOLDER": str(self.folder),
            "FIELDWATCH_DISK_LOG": str(self.log) if self.logs else "",
            "FIELDWATCH_DISK_FAULTS": str(self._page),
        }


class Operation(NamedTuple):
    """One record of the log. `offset`: of a write; `length`: of a truncation."""

    code: int
    name: str
    offset: int
    length: int
    octets: bytes


def read_log(path: Path) -> list[Operation]:
    """The operations, in the order in which they took effect."""
    octets, place, found = path.read_bytes(), 0, []
    while place < len(octets):
        code, name_length, offset, length = _HEAD.unpack_from(octets, place)
        place += _HEAD.size
        name = octets[place : place + name_length].decode()
        place += name_length
        size = length if code in (WRITE, RENAME) else 0
        found.append(Operation(code, name, offset, length, octets[place : place + size]))
        place += size
    return found


@dataclass
class _File:
    """What is durable of a file, and the operations after that."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Operation] = field(default_factory=list)

    def sync(self) -> None:
        for operation in self.pending:
            _apply(self.durable, operation, _all(operation))
        self.pending.clear()


State = dict[str, bytes]
"""What lies in the folder: path below it -> octets."""
Taken = Callable[[Operation], Sequence[bool]]
"""Which sectors of an operation that was not synced took effect; a truncation has one."""


class _Move(NamedTuple):
    """A change of names. `file`: the one that a creation made."""

    operation: Operation
    file: int


class Disk:
    """Replays a log; at every point `states` gives what a power cut there may leave."""

    def __init__(self) -> None:
        self._files: list[_File] = []
        self._names: dict[str, int] = {}
        self._durable_names: dict[str, int] = {}
        self._moves: list[_Move] = []  # since the last sync of a folder

    def run(self, operation: Operation) -> None:
        code, name = operation.code, operation.name
        if code in (WRITE, TRUNCATE):
            self._file(name).pending.append(operation)
        elif code == SYNC:
            self._file(name).sync()
        elif code == SYNC_FOLDER:
            self._durable_names = dict(self._names)
            self._moves.clear()
        else:
            if code == CREATE:
                self._files.append(_File())
            move = _Move(operation, len(self._files) - 1)
            _rename(self._names, move)
            self._moves.append(move)

    def _file(self, name: str) -> _File:
        return self._files[self._names[name]]

    def now(self) -> State:
        """Without a power cut: everything took effect."""
        return self._state(len(self._moves), _all)

    def states(self, dice: random.Random, torn: int) -> Iterator[Callable[[], State]]:
        """Nothing of what was not synced; names alone; all of it; all but one operation, and one operation alone (of at
        most four); `torn` random ones, torn in sectors. Each is made when it is called, before the next `run`.
        """
        moves = len(self._moves)
        yield partial(self._state, 0, _nothing)
        yield partial(self._state, moves, _nothing)
        yield self.now
        pending = [operation for file in self._files for operation in file.pending]
        for chosen in dice.sample(pending, min(4, len(pending))):
            yield partial(self._state, moves, partial(_all_but, chosen))
            yield partial(self._state, moves, partial(_alone, chosen))
        for _ in range(torn if pending else 0):
            yield partial(self._state, dice.randint(0, moves), partial(_some, dice, dice.random()))

    def _state(self, moves: int, taken: Taken) -> State:
        names = dict(self._durable_names)
        for move in self._moves[:moves]:
            _rename(names, move)
        state = {}
        for name, number in names.items():
            file = self._files[number]
            content = bytearray(file.durable)
            for operation in file.pending:
                _apply(content, operation, taken(operation))
            state[name] = bytes(content)
        return state


def _all(operation: Operation) -> list[bool]:
    return [True] * max(1, -(-len(operation.octets) // SECTOR))


def _nothing(operation: Operation) -> list[bool]:
    return [False] * len(_all(operation))


def _all_but(chosen: Operation, operation: Operation) -> list[bool]:
    return _nothing(operation) if operation is chosen else _all(operation)


def _alone(chosen: Operation, operation: Operation) -> list[bool]:
    return _all(operation) if operation is chosen else _nothing(operation)


def _some(dice: random.Random, share: float, operation: Operation) -> list[bool]:
    return [dice.random() < share for _ in _all(operation)]


def _rename(names: dict[str, int], move: _Move) -> None:
    code, name, *_, octets = move.operation
    if code == CREATE:
        names[name] = move.file
    elif code == UNLINK:
        names.pop(name, None)
    elif name in names:
        names[octets.decode()] = names.pop(name)


def _apply(content: bytearray, operation: Operation, taken: Sequence[bool]) -> None:
    if not any(taken):
        return
    if operation.code == TRUNCATE:
        content.extend(bytes(max(0, operation.length - len(content))))
        del content[operation.length :]
        return
    content.extend(bytes(max(0, operation.offset + len(operation.octets) - len(content))))
    for number, took_effect in enumerate(taken):
        if took_effect:
            part = operation.octets[number * SECTOR : (number + 1) * SECTOR]
            low = operation.offset + number * SECTOR
            content[low : low + len(part)] = part


def lay_out(state: State, folder: Path) -> None:
    """Put a state into an empty folder."""
    for name, octets in state.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.write(fd, octets)
        finally:
            os.close(fd)
