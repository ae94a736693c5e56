from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest
from fieldwatch_ext.capture import FileSource
from support.capture_reading import Reading, drain


@contextmanager
def descriptor_of(octets: bytes) -> Iterator[int]:
    """A regular file of that content, nowhere on disk, at its start."""
    fd = os.memfd_create("capture")
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(octets)
        os.lseek(fd, 0, os.SEEK_SET)
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
def open_capture() -> Iterator[Callable[..., FileSource]]:
    """Opens octets as a file of that content; keywords go to FileSource."""
    with ExitStack() as stack:

        def open_octets(octets: bytes, **options: object) -> FileSource:
            return FileSource(stack.enter_context(descriptor_of(octets)), **options)  # type: ignore[arg-type]

        yield open_octets


@pytest.fixture
def read_capture() -> Callable[..., Reading]:
    """Reads octets as a capture to the end; `capacity` frames a block."""

    def read(octets: bytes, *, capacity: int = 4096, **options: object) -> Reading:
        with descriptor_of(octets) as fd:
            source = FileSource(fd, **options)  # type: ignore[arg-type]
            return Reading(drain(source, capacity), source)

    return read
