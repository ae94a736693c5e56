"""A wall clock that is wrong, for one process and its children: `wrong_clock.c`, preloaded.

The times that the kernel gives to captured frames stay right under it, which no real machine has: test with records
that the agent itself puts a time to. libfaketime breaks the absolute monotonic sleeps of Python: `support.faketime`
mends them.
"""

from __future__ import annotations

import mmap
import subprocess
from pathlib import Path


class WrongClock:
    """`environ` is for the process; `set` moves its clock at once, by seconds from the true time."""

    def __init__(self, folder: Path, offset_s: int) -> None:
        library, page = folder / "wrong_clock.so", folder / "wrong_clock"
        source = Path(__file__).with_suffix(".c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-Wall", "-o", library, source, "-ldl"], check=True)
        page.write_bytes(bytes(mmap.PAGESIZE))
        with page.open("r+b") as stream:
            self._page = mmap.mmap(stream.fileno(), mmap.PAGESIZE)
        self.environ = {"LD_PRELOAD": str(library), "WRONG_CLOCK": str(page)}
        self.set(offset_s)

    def set(self, offset_s: int) -> None:
        self.offset_s = offset_s
        self._page[:8] = (offset_s * 1_000_000_000).to_bytes(8, "little", signed=True)
