"""What a test says about a capture: the frames it should give, and those it gave."""

from __future__ import annotations

from typing import NamedTuple

from fieldwatch_ext.capture import FileSource, Frame, Source

from support.capture_files import ETHERNET, Record, original_of


class Reading(NamedTuple):
    """A capture read to its end."""

    frames: list[Frame]
    source: FileSource


def drain(source: Source, capacity: int = 4096) -> list[Frame]:
    """Every frame that the source still has. Not for live sources: these have no end."""
    frames: list[Frame] = []
    while (block := source.read_block(capacity)) is not None:
        frames += block
    return frames


def expected(records: list[Record], *, linktype: int = ETHERNET, interface: int = 0, unit_ns: int = 1) -> list[Frame]:
    """The frames of records whose times were cut to `unit_ns`."""
    return [
        Frame(record[0] - record[0] % unit_ns, record[1], original_of(record), linktype, interface)
        for record in records
    ]
