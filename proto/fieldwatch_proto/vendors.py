"""Vendors of MAC addresses: IEEE's registries as one packed table, and lookups by the longest assigned prefix.

Sources are IEEE's CSV files (Registry, Assignment, Organization Name, Organization Address): MA-L (24 bits), MA-M (28)
and MA-S (36), and IAB, the closed registry of 36 bits before MA-S, where it is there. The table:

- header: magic, format version, raw octets, CRC-32 of the compressed body;
- body (zlib), little-endian: number of names, octets of names, number of assignments of 24, 28 and 36 bits; then per
  length the sorted prefixes (u32, u32, u64) and the name of each (u16); then the end of each name (u32) and the names.

In memory it stays as it is on disk after unpacking: about 1.5 MB, found by bisection, never changed after loading and
so safe to share between threads.

    python -m fieldwatch_proto.vendors /usr/share/ieee-data -o proto/fieldwatch_proto/vendors.bin
"""

from __future__ import annotations

import argparse
import csv
import os
import struct
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path

from fieldwatch_proto.version import VERSION

SHIPPED = Path(__file__).with_name("vendors.bin")

MAGIC = b"FWVENDOR"
FORMAT = 1
MAX_TABLE_BYTES = 16 << 20  # of the unpacked body
MAX_SOURCE_BYTES = 64 << 20  # of one CSV file
MAX_NAME_CHARACTERS = 128
TIMEOUT_S = 60

# Registry files under a folder, and under IEEE's address; IAB is optional.
FILES = {
    "oui.csv": "oui/oui.csv",
    "mam.csv": "oui28/mam.csv",
    "oui36.csv": "oui36/oui36.csv",
    "iab.csv": "iab/iab.csv",
}
OPTIONAL_FILES = frozenset({"iab.csv"})
NEEDED_FILES = ", ".join(name for name in FILES if name not in OPTIONAL_FILES)
# The registry itself stands for blocks that it cut into MA-M and MA-S; it made none of their devices.
REGISTRY_NAME = "IEEE Registration Authority"

LENGTHS = (24, 28, 36)
MAC_BITS = 48
_DIGITS = {6: 24, 7: 28, 9: 36}
_KEY_CODES = {24: "I", 28: "I", 36: "Q"}
_HEADER = struct.Struct("<8sHIII")  # magic, format, raw octets, compressed octets, CRC-32
_COUNTS = struct.Struct("<5I")


class VendorsError(Exception):
    """A source or a table that cannot be used; the text says which, why, and what mends it."""


class Vendors:
    """The packed table, unpacked. Make one with `load` or `from_bytes`."""

    __slots__ = ("_assigned", "_ends", "_names")

    def __init__(self, assigned: dict[int, tuple[array[int], array[int]]], ends: array[int], names: bytes) -> None:
        self._assigned = assigned
        self._ends = ends
        self._names = names

    @classmethod
    def load(cls, path: Path | None = None) -> Vendors:
        """The table at `path`, or the one that came with the program. Raises VendorsError."""
        path = SHIPPED if path is None else path
        try:
            data = path.read_bytes()
        except OSError as problem:
            raise VendorsError(f"{path}: {problem.strerror}; run `fieldwatch-agent vendors update`") from None
        try:
            return cls.from_bytes(data)
        except VendorsError as problem:
            raise VendorsError(f"{path}: {problem}; run `fieldwatch-agent vendors update`") from None

    @classmethod
    def from_bytes(cls, data: bytes) -> Vendors:
        """A table in memory. Raises VendorsError where it is damaged or of another format."""
        reader = _Reader(_unpack(data))
        count, names_bytes, *assignments = _COUNTS.unpack(reader.take(_COUNTS.size))
        assigned = {}
        for bits, entries in zip(LENGTHS, assignments, strict=True):
            keys = reader.numbers(_KEY_CODES[bits], entries)
            numbers = reader.numbers("H", entries)
            if entries and max(numbers) >= count:
                raise VendorsError("an assignment names a vendor that is not in the table")
            assigned[bits] = (keys, numbers)
        ends = reader.numbers("I", count)
        names = reader.take(names_bytes)
        if reader.rest or (count and ends[-1] != names_bytes):
            raise VendorsError("the lengths in the table do not add up")
        return cls(assigned, ends, names)

    def __len__(self) -> int:
        """Assigned prefixes."""
        return sum(len(keys) for keys, _ in self._assigned.values())

    def lookup(self, mac: bytes) -> str:
        """The organisation that the address is assigned to; "" where none is known.

        Group addresses, locally administered ones (private and random MACs) and all zeros (not known) have no vendor.
        """
        if len(mac) != 6 or mac[0] & 0x03 or not any(mac):
            return ""
        value = int.from_bytes(mac, "big")
        for bits in reversed(LENGTHS):
            keys, numbers = self._assigned[bits]
            key = value >> (MAC_BITS - bits)
            at = bisect_left(keys, key)
            if at < len(keys) and keys[at] == key:
                return self._name(numbers[at])
        return ""

    def _name(self, number: int) -> str:
        start = self._ends[number - 1] if number else 0
        return self._names[start : self._ends[number]].decode("utf-8", "replace")


class _Reader:
    """Takes a body apart from the front. Raises VendorsError where it is too short."""

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._offset = 0

    @property
    def rest(self) -> int:
        return len(self._body) - self._offset

    def take(self, octets: int) -> bytes:
        if octets > self.rest:
            raise VendorsError("the lengths in the table do not add up")
        start, self._offset = self._offset, self._offset + octets
        return self._body[start : self._offset]

    def numbers(self, code: str, count: int) -> array[int]:
        found = array(code)
        found.frombytes(self.take(count * found.itemsize))
        return _little(found)


def _little(numbers: array[int]) -> array[int]:
    """The numbers in the order of octets of the table (and back)."""
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _unpack(data: bytes) -> bytes:
    if len(data) < _HEADER.size or data[: len(MAGIC)] != MAGIC:
        raise VendorsError("not a vendor table")
    _, version, raw_bytes, body_bytes, crc = _HEADER.unpack_from(data)
    if version != FORMAT:
        raise VendorsError(f"vendor table of format {version}, this program reads {FORMAT}")
    body = data[_HEADER.size :]
    if len(body) != body_bytes:
        raise VendorsError(f"vendor table cut: {len(body)} octets, its header says {body_bytes}")
    if zlib.crc32(body) != crc:
        raise VendorsError("vendor table damaged: wrong CRC")
    if raw_bytes > MAX_TABLE_BYTES:
        raise VendorsError(f"vendor table of {raw_bytes} octets, the limit is {MAX_TABLE_BYTES}")
    unpacker = zlib.decompressobj()
    try:
        raw = unpacker.decompress(body, raw_bytes + 1)
    except zlib.error as problem:
        raise VendorsError(f"vendor table damaged: {problem}") from None
    if len(raw) != raw_bytes or not unpacker.eof:
        raise VendorsError("vendor table damaged: it does not hold the stated number of octets")
    return raw


def build(csv_texts: Iterable[str]) -> bytes:
    """A table from the texts of IEEE's CSV files. Raises VendorsError where one holds no assignments.

    Single rows that make no sense are left out; of several holders of one prefix the first counts.
    """
    assigned: dict[int, dict[int, str]] = {bits: {} for bits in LENGTHS}
    for place, text in enumerate(csv_texts, start=1):
        if not _read_csv(text, assigned):
            raise VendorsError(
                f"source {place} holds no assignments; expected IEEE's columns Assignment, Organization Name"
            )
    names = sorted({name for entries in assigned.values() for name in entries.values()})
    if len(names) > 0x10000:
        raise VendorsError(f"{len(names)} vendors, the table holds {0x10000}")
    numbers = {name: number for number, name in enumerate(names)}
    encoded = [name.encode("utf-8") for name in names]
    ends = array("I")
    total = 0
    for octets in encoded:
        total += len(octets)
        ends.append(total)
    parts = [_COUNTS.pack(len(names), total, *(len(assigned[bits]) for bits in LENGTHS))]
    for bits in LENGTHS:
        entries = sorted(assigned[bits].items())
        parts.append(_little(array(_KEY_CODES[bits], [key for key, _ in entries])).tobytes())
        parts.append(_little(array("H", [numbers[name] for _, name in entries])).tobytes())
    parts += [_little(ends).tobytes(), *encoded]
    raw = b"".join(parts)
    body = zlib.compress(raw, 9)
    return _HEADER.pack(MAGIC, FORMAT, len(raw), len(body), zlib.crc32(body)) + body


def _read_csv(text: str, assigned: dict[int, dict[int, str]]) -> int:
    """Assignments added or already known; 0 where the text is something else."""
    rows = csv.DictReader(text.splitlines())
    understood = 0
    try:
        for row in rows:
            digits = (row.get("Assignment") or "").strip()
            name = _clean(row.get("Organization Name") or "")
            bits = _DIGITS.get(len(digits))
            if bits is None or not name:
                continue
            try:
                key = int(digits, 16)
            except ValueError:
                continue
            understood += 1
            if name != REGISTRY_NAME:
                assigned[bits].setdefault(key, name)
    except csv.Error as problem:
        raise VendorsError(f"line {rows.line_num}: {problem}") from None
    return understood


def _clean(name: str) -> str:
    """One line without control characters, of bounded length."""
    return "".join(c for c in " ".join(name.split()) if c.isprintable())[:MAX_NAME_CHARACTERS].strip()


def read_sources(source: str) -> bytes:
    """A table from a folder with IEEE's files, or from an http(s) address above IEEE's own paths. Raises VendorsError.

    `https://standards-oui.ieee.org` is IEEE's own address; a mirror keeps the same paths.
    """
    scheme = urllib.parse.urlsplit(source).scheme
    if scheme in ("http", "https"):
        texts = [_fetch(source.rstrip("/") + "/" + path, name in OPTIONAL_FILES) for name, path in FILES.items()]
    elif "://" in source:
        raise VendorsError(f"{source}: expected a folder, or an address that begins with http:// or https://")
    else:
        folder = Path(source)
        if not folder.is_dir():
            raise VendorsError(f"{source}: no such folder; expected one with {NEEDED_FILES}")
        texts = [_read_file(folder / name, name in OPTIONAL_FILES) for name in FILES]
    return build(text for text in texts if text is not None)


def _read_file(path: Path, optional: bool) -> str | None:
    try:
        if path.stat().st_size > MAX_SOURCE_BYTES:
            raise VendorsError(f"{path}: larger than {MAX_SOURCE_BYTES} octets")
        return path.read_text("utf-8", "replace")
    except FileNotFoundError:
        if optional:
            return None
        raise VendorsError(f"{path}: missing; IEEE's files are {NEEDED_FILES}") from None
    except OSError as problem:
        raise VendorsError(f"{path}: {problem.strerror}") from None


def _fetch(address: str, optional: bool) -> str | None:
    request = urllib.request.Request(address, headers={"User-Agent": f"fieldwatch/{VERSION}"})  # noqa: S310  # scheme checked
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S) as reply:  # noqa: S310
            data: bytes = reply.read(MAX_SOURCE_BYTES + 1)
    except urllib.error.HTTPError as problem:
        if optional and problem.code == 404:
            return None
        raise VendorsError(f"{address}: HTTP status {problem.code}") from None
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "reason", problem)
        raise VendorsError(f"{address}: {getattr(reason, 'strerror', None) or reason}") from None
    if len(data) > MAX_SOURCE_BYTES:
        raise VendorsError(f"{address}: larger than {MAX_SOURCE_BYTES} octets")
    return data.decode("utf-8", "replace")


def install(data: bytes, path: Path) -> None:
    """Put a table at `path` in one step: a reader sees the old one or the new one. Raises VendorsError."""
    Vendors.from_bytes(data)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name, delete=False) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as problem:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise VendorsError(f"{path}: {problem.strerror}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Build a table: `python -m fieldwatch_proto.vendors SOURCE -o FILE`."""
    parser = argparse.ArgumentParser(prog="python -m fieldwatch_proto.vendors", description="Build a vendor table.")
    parser.add_argument("source", help="folder with IEEE's CSV files, or an http(s) address above IEEE's own paths")
    parser.add_argument("-o", "--output", type=Path, default=SHIPPED, metavar="FILE", help="default: the shipped table")
    options = parser.parse_args(arguments)
    try:
        data = read_sources(options.source)
        install(data, options.output)
    except VendorsError as problem:
        print(problem, file=sys.stderr)
        return 1
    print(f"{options.output}: {len(Vendors.from_bytes(data))} prefixes, {len(data)} octets")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
