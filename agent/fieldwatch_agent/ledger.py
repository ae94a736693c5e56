"""The ledger: what was taken from the wire, in a 16 KiB file mapped shared, which survives SIGKILL.

The engine writes the number of frames it has taken (before it looks at them); Python adds what it learns rarely. The
spool's account, written in the same transaction as each batch, is the other half: at the next start

    frames observed (ledger) - frames sealed or declared (account) = frames that went with the process

and the same for records of each kind. A power cut may lose the page's last state: then the count is not known.

For each interface there is a *wire base* as well. With W = the interface's own counter of frames and P = frames that
passed the socket (ring drops included) since it was opened, ``base = W - P - (observed and dropped before that)`` holds
at any moment: what stood on the wire at ``base + observed + dropped`` is accounted for. At the next opening, with the
same boot and the same interface, W - P - that position = frames that passed while nobody listened, those that were
still in the ring of a killed agent included. `accounts` does the sums; this is the file.

Beside that the page remembers the spool's newest commit (`spool.state.Mark`): a spool file that lacks it at the next
start has lost what was committed since, and it is known how much that was. There are two marks, written in turn: a kill
while one is written leaves the one before.

Layout, little-endian u64 where not said otherwise: magic (8 octets), run, boot id (16 octets), at 64 records of each
kind (8), then at 256 one slot of 128 octets for each worker: observed, earlier, drops, base, generation, interface
index, name (32 octets, UTF-8, zero-padded); behind the slots two marks of 256 octets: how many were written, epoch,
next number, numbers that wait (the highest bit: `volatile`), frames, frames that wait, frames of the file, records of
each kind (8), those that wait (8), those of the file (8), CRC-32 of all that and the run. Every counter is written by
one aligned store.

The first worker of an interface has the slot of the interface's name, with the base for all of them; those beside it
have ``eth0/1``, ``eth0/2`` ... (no interface has a slash in its name).
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from zlib import crc32

from fieldwatch_proto.schema import Kind

from fieldwatch_agent.ownership import give
from fieldwatch_agent.spool import ballast
from fieldwatch_agent.spool.state import Mark

FILE_NAME = "ledger"
FRESH_NAME = "ledger.new"
LEDGER_BYTES = 16_384
MAX_SLOTS = 122
UNKNOWN = (1 << 64) - 1

_MAGIC = b"FWLEDG01"
_RUN, _BOOT, _RECORDS, _SLOTS, _SLOT_BYTES = 8, 16, 64, 256, 128
_OBSERVED, _EARLIER, _DROPS, _BASE, _GENERATION, _NAME = 0, 1, 2, 3, 4, 48
_KINDS = 8
_MARK_BYTES = 256
_MARKS = LEDGER_BYTES - 2 * _MARK_BYTES
_MARK_WORDS = struct.Struct("<31Q")  # and the checksum
_VOLATILE = 1 << 63


def boot_id() -> bytes:
    """16 octets that change with each boot of the machine."""
    text = Path("/proc/sys/kernel/random/boot_id").read_text("ascii")
    return bytes.fromhex(text.strip().replace("-", ""))


@dataclass(frozen=True)
class SlotState:
    """What a ledger that was left behind says of an interface, all its workers. `base` None: not known."""

    observed: int = 0
    drops: int = 0
    base: int | None = None
    generation: int = 0


@dataclass(frozen=True)
class LedgerState:
    """A ledger that was left behind."""

    run: int
    boot: bytes
    records: Mapping[int, int]
    slots: Mapping[str, SlotState]
    mark: Mark | None = None

    @property
    def frames(self) -> int:
        return sum(slot.observed for slot in self.slots.values())


def read_ledger(folder: Path) -> LedgerState | None:
    """The ledger of the run before; None where there is none that can be read."""
    try:
        octets = (folder / FILE_NAME).read_bytes()
    except OSError:
        return None
    if len(octets) != LEDGER_BYTES or not octets.startswith(_MAGIC):
        return None
    words = memoryview(octets).cast("Q")
    slots: dict[str, SlotState] = {}
    for place in range(MAX_SLOTS):
        start = _SLOTS + place * _SLOT_BYTES
        name = octets[start + _NAME : start + _NAME + 32].rstrip(b"\0").decode("utf-8", "replace")
        if name:
            word = start // 8
            base = words[word + _BASE]
            interface, _, beside = name.partition("/")
            state = slots.get(interface, SlotState())
            if not beside:
                known = None if base == UNKNOWN else base
                state = replace(state, base=known, generation=words[word + _GENERATION])
            slots[interface] = replace(
                state,
                observed=state.observed + words[word + _OBSERVED] + words[word + _EARLIER],
                drops=state.drops + words[word + _DROPS],
            )
    records = {kind: words[_RECORDS // 8 + kind] for kind in range(_KINDS) if words[_RECORDS // 8 + kind]}
    return LedgerState(words[_RUN // 8], octets[_BOOT : _BOOT + 16], records, slots, _read_mark(octets))


def _read_mark(octets: bytes) -> Mark | None:
    """The newer of the two that are whole; None where there is none."""
    run, newest, found = int.from_bytes(octets[_RUN : _RUN + 8], "little"), 0, None
    for place in (_MARKS, _MARKS + _MARK_BYTES):
        packed = octets[place : place + _MARK_WORDS.size]
        check = int.from_bytes(octets[place + _MARK_WORDS.size : place + _MARK_BYTES], "little")
        written, epoch, next_seq, waiting, frames, waiting_frames, file_frames, *counts = _MARK_WORDS.unpack(packed)
        if written <= newest or check != _mark_check(run, packed):
            continue
        newest = written
        found = Mark(
            epoch,
            next_seq,
            run,
            frames,
            _by_kind(counts[:_KINDS]),
            waiting & ~_VOLATILE,
            bool(waiting & _VOLATILE),
            waiting_frames,
            _by_kind(counts[_KINDS : 2 * _KINDS]),
            file_frames,
            _by_kind(counts[2 * _KINDS :]),
        )
    return found


def _by_kind(counts: list[int]) -> dict[int, int]:
    return {kind: count for kind, count in enumerate(counts) if count}


def _mark_check(run: int, packed: bytes) -> int:
    return crc32(packed, run & 0xFFFFFFFF)


class Slot:
    """One worker's counters in the mapped file. Written by one thread."""

    def __init__(self, octets: memoryview, start: int) -> None:
        self._words = octets.cast("Q")
        self._word = start // 8
        self.observed = octets[start : start + 8]
        """For the engine: frames taken from the source."""

    def new_engine(self) -> memoryview:
        """Keep what the engine before has counted; the buffer for the next one."""
        words, word = self._words, self._word
        words[word + _EARLIER] += words[word + _OBSERVED]
        words[word + _OBSERVED] = 0
        return self.observed

    def release(self) -> None:
        self.observed.release()
        self._words.release()

    @property
    def frames(self) -> int:
        """Frames observed in this run."""
        return self._words[self._word + _OBSERVED] + self._words[self._word + _EARLIER]

    @property
    def drops(self) -> int:
        """Frames dropped by the kernel in this run, as far as known."""
        return self._words[self._word + _DROPS]

    @drops.setter
    def drops(self, total: int) -> None:
        self._words[self._word + _DROPS] = total

    def set_base(self, base: int | None, generation: int | None = None) -> None:
        """The wire base. A new generation counts only once it is written, which is last."""
        self._words[self._word + _BASE] = UNKNOWN if base is None or base < 0 else base
        if generation is not None:
            self._words[self._word + _GENERATION] = generation


def _mapped(path: Path, run: int) -> mmap.mmap:
    """A new ledger file, mapped, with room on the disk for all of it. Raises OSError."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        give(fd, path.parent)
        os.posix_fallocate(fd, 0, LEDGER_BYTES)
        os.pwrite(fd, (_MAGIC + run.to_bytes(8, "little") + boot_id()).ljust(LEDGER_BYTES, b"\0"), 0)
        os.fsync(fd)
        return mmap.mmap(fd, LEDGER_BYTES, mmap.MAP_SHARED)
    finally:
        os.close(fd)


class Ledger:
    """This run's ledger. Replaces the file of the run before, in one rename: at once, or (`later`) by `replace`."""

    def __init__(self, folder: Path, run: int, *, later: bool = False) -> None:
        self.run, self._folder, self._waits = run, folder, True
        fresh = folder / FRESH_NAME
        try:
            self._map = _mapped(fresh, run)
        except OSError as problem:
            if not ballast.is_full(problem):
                raise
            ballast.drop(folder)  # this is what it is for
            self._map = _mapped(fresh, run)
        if not later:
            self.replace()
        self._octets = memoryview(self._map)
        self._words = self._octets.cast("Q")
        self._slots: dict[str, Slot] = {}
        self._marks = 0  # written so far

    def replace(self) -> None:
        """What the run before has left is on the books: a kill from now on is this run's. Raises OSError."""
        if self._waits:
            (self._folder / FRESH_NAME).rename(self._folder / FILE_NAME)
            self._waits = False

    def slots(self, interface: str, workers: int) -> list[Slot]:
        """Those of an interface's workers. Raises ValueError when all are taken."""
        return [self.slot(f"{interface}/{number}" if number else interface) for number in range(workers)]

    def slot(self, name: str) -> Slot:
        """The slot of that name; the same one when it is asked for again. Raises ValueError when all are taken."""
        found = self._slots.get(name)
        if found is None:
            if len(self._slots) == MAX_SLOTS:
                raise ValueError(f"the ledger has room for {MAX_SLOTS} workers, of all interfaces together")
            start = _SLOTS + len(self._slots) * _SLOT_BYTES
            slot_octets = name.encode("utf-8")[:32].ljust(32, b"\0")
            found = self._slots[name] = Slot(self._octets, start)
            self._octets[start + _NAME : start + _NAME + 32] = slot_octets
        return found

    def remember(self, mark: Mark) -> None:
        """Keep the spool's newest commit."""
        self._marks += 1
        counts = [
            records.get(kind, 0)
            for records in (mark.records, mark.waiting_records, mark.file_records)
            for kind in range(_KINDS)
        ]
        packed = _MARK_WORDS.pack(
            self._marks,
            mark.epoch,
            mark.next_seq,
            mark.waiting | mark.volatile * _VOLATILE,
            mark.frames,
            mark.waiting_frames,
            mark.file_frames,
            *counts,
        )
        place = _MARKS + self._marks % 2 * _MARK_BYTES
        self._octets[place : place + _MARK_BYTES] = packed + _mark_check(self.run, packed).to_bytes(8, "little")

    def observe(self, kind: Kind, records: int) -> None:
        """Count records that came to be. The caller serialises."""
        self._words[_RECORDS // 8 + int(kind)] += records

    @property
    def frames(self) -> int:
        return sum(slot.frames for slot in self._slots.values())

    def close(self) -> None:
        """Unmap the file. An engine that is still there (an error's traceback may hold it) keeps its page."""
        with contextlib.suppress(BufferError):
            for slot in self._slots.values():
                slot.release()
            self._words.release()
            self._octets.release()
            self._map.close()

    @property
    def records(self) -> dict[int, int]:
        first = _RECORDS // 8
        return {kind: self._words[first + kind] for kind in range(_KINDS) if self._words[first + kind]}
