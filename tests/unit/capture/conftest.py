from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from fieldwatch_ext.capture import FileSource
from support.capture_reading import Reading, drain


@pytest.fixture
def open_capture() -> Iterator[Callable[..., FileSource]]:
    """Opens octets as a file of that content; keywords go to FileSource."""
    with ExitStack() as stack:

        def open_octets(octets: bytes, **options: object) -> FileSource:
            fd = os.memfd_create("capture")
            stack.callback(os.close, fd)
            with open(fd, "wb", closefd=False) as file:
                file.write(octets)
            os.lseek(fd, 0, os.SEEK_SET)
            return FileSource(fd, **options)  # type: ignore[arg-type]

        yield open_octets


@pytest.fixture
def read_capture(open_capture: Callable[..., FileSource]) -> Callable[..., Reading]:
    """Reads octets as a capture to the end; `capacity` frames a block."""

    def read(octets: bytes, *, capacity: int = 4096, **options: object) -> Reading:
        source = open_capture(octets, **options)
        return Reading(drain(source, capacity), source)

    return read
