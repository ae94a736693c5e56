"""What the inventory keeps in memory of its tables: the entries that were used last, and no more of them than a bound.

The tables hold everything; an entry is read when it is asked for and stays until others were asked for since. Whoever
changes an entry writes the same change to the tables in the same transaction. Nothing is let go of but by `trim`, which
is called when the tables are up to date: until then an entry that was read or changed is the one that everybody gets.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, NamedTuple, TypeVar

from fieldwatch_proto.identity import FAMILIES, MAX_WEAK_ADDRESSES
from fieldwatch_proto.schema import WEAK

from fieldwatch_collector.projections.devices import DeviceRow

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
MAX_REMEMBERED = 16_384  # entries of each sort, of all sites
ENOUGH = MAX_WEAK_ADDRESSES + 1  # addresses that show whether a MAC routes
SAMPLE = 4 * ENOUGH


class Recent(Generic[K, V]):
    """Entries by key, in the order in which they were used."""

    def __init__(self) -> None:
        self._kept: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K, load: Callable[[K], V]) -> V:
        """The entry, loaded where it is not there."""
        try:
            self._kept.move_to_end(key)
        except KeyError:
            self._kept[key] = load(key)
        return self._kept[key]

    def find(self, key: K) -> V | None:
        """The entry where it is there."""
        return self._kept.get(key)

    def put(self, key: K, value: V) -> None:
        self._kept[key] = value
        self._kept.move_to_end(key)

    def drop(self, key: K) -> None:
        """Have it loaded anew."""
        self._kept.pop(key, None)

    def trim(self, most: int) -> None:
        """Let go of what was not used for longest."""
        while len(self._kept) > most:
            self._kept.popitem(last=False)


class SightingKey(NamedTuple):
    mac: bytes
    ip: bytes
    vlans: int
    source: int


@dataclass(slots=True)
class Seen:
    first_ns: int
    last_ns: int
    frames: int


@dataclass(slots=True)
class Rows:
    """The sightings of an address, or those of a MAC that have none. `owners`: MACs that hold it by authority."""

    seen: dict[SightingKey, Seen] = field(default_factory=dict)
    owners: set[bytes] = field(default_factory=set)

    def has_weak(self, mac: bytes) -> bool:
        return any(key.mac == mac and key.source in WEAK for key in self.seen)


class Sample:
    """A set of addresses by its size and some of its members: all of them where it is small."""

    __slots__ = ("count", "some")

    def __init__(self) -> None:
        self.count = 0
        self.some: set[bytes] = set()

    def add(self, ip: bytes) -> None:
        """One that is not in it."""
        self.count += 1
        if len(self.some) < SAMPLE:
            self.some.add(ip)

    def remove(self, ip: bytes) -> None:
        """One that is in it."""
        self.count -= 1
        self.some.discard(ip)


@dataclass(slots=True)
class Station:
    """What the sightings of a MAC come to. A family is 4 or 16, the octets of its addresses."""

    firm: set[SightingKey] = field(default_factory=set)  # of every source but weak ones, with an address
    forwards: set[int] = field(default_factory=set)  # families of which it forwarded a source that is not local
    held: set[int] = field(default_factory=set)  # of which it holds an address that is not link-local
    near: set[bytes] = field(default_factory=set)  # link-local addresses that nobody holds: they are its own
    weak: dict[int, Sample] = field(default_factory=lambda: {family: Sample() for family in FAMILIES})  # others
    foreign: dict[int, Sample] = field(default_factory=lambda: {family: Sample() for family in FAMILIES})
    is_short: bool = False  # too many that a sample had at hand were removed: it must be loaded anew


class ClaimKey(NamedTuple):
    key: str
    value: str
    source: str


Claims = dict[ClaimKey, tuple[int, int]]  # first, last


class Memory:
    """Of all sites; a key begins with the site."""

    def __init__(self) -> None:
        self.rows: Recent[tuple[str, bytes], Rows] = Recent()  # by address; by MAC where there is none
        self.stations: Recent[tuple[str, bytes], Station] = Recent()  # by MAC
        self.claims: Recent[tuple[str, str], Claims] = Recent()  # by subject
        self.devices: Recent[tuple[str, str], DeviceRow | None] = Recent()  # by key
        self.device_keys: Recent[tuple[str, str], str] = Recent()  # by id; they never change
        self.holders: Recent[tuple[str, bytes], str] = Recent()  # address -> device id, or none

    def __len__(self) -> int:
        """Entries of the sort that has most."""
        return max(map(len, self._sorts))

    @property
    def _sorts(self) -> tuple[Recent[Any, Any], ...]:
        return self.rows, self.stations, self.claims, self.devices, self.device_keys, self.holders

    def trim(self) -> None:
        for sort in self._sorts:
            sort.trim(MAX_REMEMBERED)
