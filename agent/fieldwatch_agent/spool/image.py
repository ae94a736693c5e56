"""The octets of a spool file and its WAL, read without SQLite: what is there when the file's structure is not.

Formats: https://www.sqlite.org/fileformat2.html, sections 1.6 (b-tree pages), 2.1 (records), 4 (the WAL).

- Pages are those of the file with the WAL's frames laid over them. A frame counts where its own checksum holds, given
  the one that its predecessor carries: one damaged frame does not take those behind it with it, as it does for SQLite.
- Frames that do not count, and those behind the last commit, are `loose`: pages that may hold rows all the same.
- Nothing is believed of trees, free lists and page headers: `records` finds rows by the form of their record header,
  wherever they lie. Whether a record is whole is for its checksum to say; rows that were deleted are found as well.
- Memory: one page, one record, and a number for each frame of the WAL.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PAGE_BYTES = 4096  # of every spool file, see `file`
_WAL_HEAD = struct.Struct(">8I")  # magic, version, page size, checkpoint, salt 1, salt 2, checksum 1, checksum 2
_FRAME_HEAD = struct.Struct(">6I")  # page, pages after a commit or 0, salt 1, salt 2, checksum 1, checksum 2
_FRAME_BYTES = _FRAME_HEAD.size + PAGE_BYTES
_BIG_ENDIAN_MAGIC = 0x377F0683
_SALT_VOTES = 8  # frames asked for the salts of this WAL, beside its header
_WORDS = PAGE_BYTES // 4 + 2
_MASK = 0xFFFFFFFF
# Local payload of cells: fileformat2, 1.6, with 4096 usable octets.
_MIN_LOCAL = (PAGE_BYTES - 12) * 32 // 255 - 23
_MAX_LOCAL_TABLE = PAGE_BYTES - 35
_MAX_LOCAL_INDEX = (PAGE_BYTES - 12) * 64 // 255 - 23
_INTEGER_WIDTHS = (0, 1, 2, 3, 4, 6, 8)  # by serial type, 0 = NULL
MAX_RECORD_BYTES = 8 << 20

Value = int | bytes | None


class Form(NamedTuple):
    """How the records of a table are recognised: by the serial types in their header."""

    header: re.Pattern[bytes]
    columns: int
    max_local: int


def form(columns: str, *, key: str | None = None, index: bool = False) -> Form:
    """`columns`: a letter each, i = integer, v = text or blob, d = blob of 16. `key`: what column 1 says, a text.

    `index`: the table is WITHOUT ROWID.
    """
    types = {"i": rb"[\x00-\x06\x08\x09]", "v": rb"(?:[\x0c-\x7f]|[\x80-\xff]{1,3}[\x00-\x7f])", "d": rb"\x2c"}
    parts = [types[letter] for letter in columns]
    least = 1 + len(columns)
    lengths = b"[" + re.escape(bytes([least])) + b"-" + re.escape(bytes([least + 3 * columns.count("v")])) + b"]"
    said = b""
    if key is not None:
        parts[0] = re.escape(bytes([13 + 2 * len(key)]))
        said = re.escape(key.encode())
    header = re.compile(lengths + b"".join(parts) + said, re.DOTALL)
    return Form(header, len(columns), _MAX_LOCAL_INDEX if index else _MAX_LOCAL_TABLE)


class Image:
    """A spool file and its -wal; either may be missing, cut or damaged. Nothing is read before `overlay_wal`.

    Both stay in reach however they are renamed or unlinked: SQLite takes the WAL away when it closes a file, and with
    it the frames that it did not understand. Raises OSError where they cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self._db = _open(path)
        self._wal = _open(path.with_name(f"{path.name}-wal"))
        self._over: dict[int, int] = {}  # page -> where the WAL has it
        self._loose: list[int] = []
        self._loose_over: dict[int, int] = {}
        self.pages = 0

    def close(self) -> None:
        for fd in (self._db, self._wal):
            if fd is not None:
                os.close(fd)

    # --- the WAL ------------------------------------------------------------------------------------------------

    def overlay_wal(self) -> None:
        """Look at the WAL: what counts of it lies over the file's pages from now on."""
        self.pages = -(-_size(self._db) // PAGE_BYTES)
        if self._wal is None:
            return
        size = _size(self._wal)
        count = max(0, size - _WAL_HEAD.size) // _FRAME_BYTES
        head = _WAL_HEAD.unpack(self._read(self._wal, 0, _WAL_HEAD.size))
        heads = [_FRAME_HEAD.unpack(self._read(self._wal, self._frame(n), _FRAME_HEAD.size)) for n in range(count)]
        votes = Counter([head[4:6], *(frame[2:4] for frame in heads[:_SALT_VOTES])])
        salts = votes.most_common(1)[0][0]
        order = ">" if head[0] == _BIG_ENDIAN_MAGIC else "<"
        sound: list[tuple[int, int]] = []  # of the transaction that is being read
        before = head[6:8]
        for number, frame in enumerate(heads):
            place = self._frame(number)
            octets = self._read(self._wal, place, _FRAME_BYTES)
            holds = frame[2:4] == salts and _checksum(octets, before, order) == frame[4:6]
            before = frame[4:6]
            if not holds:
                self._loose.append(place)
                continue
            sound.append((frame[0], place))
            if frame[1]:
                for page, where in sound:
                    self._over[page] = where
                    self.pages = max(self.pages, page)
                sound = []
        self._loose += [place for _, place in sound]
        if (size - _WAL_HEAD.size) % _FRAME_BYTES > _FRAME_HEAD.size:
            self._loose.append(self._frame(count))
        for place in sorted(self._loose):
            page, _, *its_salts = _FRAME_HEAD.unpack(self._read(self._wal, place, _FRAME_HEAD.size))[:4]
            if tuple(its_salts) == salts:
                self._loose_over[page] = place
                self.pages = max(self.pages, min(page, size // PAGE_BYTES + self.pages))

    @staticmethod
    def _frame(number: int) -> int:
        return _WAL_HEAD.size + number * _FRAME_BYTES

    # --- pages --------------------------------------------------------------------------------------------------

    @staticmethod
    def _read(fd: int | None, place: int, octets: int) -> bytes:
        """Zeros for what is not there or cannot be read."""
        found = b""
        if fd is not None:
            with contextlib.suppress(OSError):
                found = os.pread(fd, octets, place)
        return found.ljust(octets, b"\0")

    def page(self, number: int, *, loose: bool = False) -> bytes:
        """A page as the last commit left it, numbered from 1; a loose one in its place where that is asked for."""
        place = self._loose_over.get(number) if loose else None
        if place is None:
            place = self._over.get(number)
        if place is not None:
            return self._read(self._wal, place + _FRAME_HEAD.size, PAGE_BYTES)
        return self._read(self._db, (number - 1) * PAGE_BYTES, PAGE_BYTES)

    def all_pages(self) -> Iterator[bytes]:
        """Every page there is: the file's, what the WAL has laid over them, and loose ones."""
        for number in range(1, self.pages + 1):
            yield self.page(number)
            if number in self._over:
                yield self._read(self._db, (number - 1) * PAGE_BYTES, PAGE_BYTES)
        for place in self._loose:
            yield self._read(self._wal, place + _FRAME_HEAD.size, PAGE_BYTES)

    # --- records ------------------------------------------------------------------------------------------------

    def records(self, wanted: Form) -> Iterator[list[Value]]:
        """The columns of everything that has the form of such a record, texts as octets; some may come twice."""
        for octets in self.all_pages():
            for match in wanted.header.finditer(octets):
                found = _Header.read(octets, match.start(), wanted)
                if found is None:
                    continue
                yield found.values(self._payload(octets, found, loose=False))
                if self._loose_over and found.local < found.size:
                    yield found.values(self._payload(octets, found, loose=True))

    def _payload(self, page: bytes, record: _Header, *, loose: bool) -> bytes:
        """A record with what of it lies on overflow pages; zeros for what is missing."""
        end = record.start + record.local
        parts = [page[record.start : end]]
        left = record.size - record.local
        following = int.from_bytes(page[end : end + 4], "big") if left else 0
        while left > 0 and 0 < following <= self.pages:
            octets = self.page(following, loose=loose)
            following = int.from_bytes(octets[:4], "big")
            parts.append(octets[4 : 4 + left])
            left -= len(parts[-1])
        return b"".join(parts).ljust(record.size, b"\0")


class _Header(NamedTuple):
    """The header of a record that begins at `start` of a page."""

    start: int
    types: tuple[int, ...]
    size: int
    local: int  # octets of it on its own page

    @classmethod
    def read(cls, page: bytes, start: int, wanted: Form) -> _Header | None:
        header_bytes = page[start]
        end = start + header_bytes
        if end > PAGE_BYTES:
            return None
        types, place = [], start + 1
        while place < end:
            kind, place = _varint(page, place)
            types.append(kind)
        size = header_bytes + sum(map(_width, types))
        if place != end or len(types) != wanted.columns or size > MAX_RECORD_BYTES:
            return None
        local = size
        if size > wanted.max_local:
            local = _MIN_LOCAL + (size - _MIN_LOCAL) % (PAGE_BYTES - 4)
            local = local if local <= wanted.max_local else _MIN_LOCAL
        return cls(start, tuple(types), size, local)

    def values(self, payload: bytes) -> list[Value]:
        found: list[Value] = []
        place = payload[0]
        for kind in self.types:
            octets = payload[place : place + _width(kind)]
            place += len(octets)
            if kind >= 12:
                found.append(octets)
            elif kind in (8, 9):
                found.append(kind - 8)
            else:
                found.append(int.from_bytes(octets, "big", signed=True) if kind else None)
        return found


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _size(fd: int | None) -> int:
    return 0 if fd is None else os.fstat(fd).st_size


def _varint(octets: bytes, place: int) -> tuple[int, int]:
    """A value and the place behind it; fileformat2, 1.6. At most four octets: no record here is larger."""
    value = 0
    for octet in octets[place : place + 4]:
        value = value << 7 | octet & 0x7F
        place += 1
        if octet < 0x80:
            break
    return value, place


def _width(kind: int) -> int:
    """Octets that a serial type takes in the record's body."""
    if kind < 7:
        return _INTEGER_WIDTHS[kind]
    return (kind - 12) // 2 if kind >= 12 else 0


def _checksum(frame: bytes, before: tuple[int, ...], order: str) -> tuple[int, int]:
    """That of a frame of the WAL, fileformat2, 4.2: over the first 8 octets of its header, then the page."""
    words = struct.unpack(f"{order}{_WORDS}I", frame[:8] + frame[_FRAME_HEAD.size :])
    one, two = before
    for place in range(0, _WORDS, 2):
        one = (one + words[place] + two) & _MASK
        two = (two + words[place + 1] + one) & _MASK
    return one, two
