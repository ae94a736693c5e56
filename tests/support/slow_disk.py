"""A disk whose syncs take 1.5 s each, for one process and for as long as a test wants it."""

from __future__ import annotations

import subprocess
from pathlib import Path


class SlowDisk:
    """`environ` is for the process; it is slow while `begin` was called last, and not `end`."""

    def __init__(self, folder: Path) -> None:
        library, self._mark = folder / "slow_disk.so", folder / "slow"
        source = Path(__file__).with_suffix(".c")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        self.environ = {"LD_PRELOAD": str(library), "SLOW_DISK": str(self._mark)}

    def begin(self) -> None:
        self._mark.touch()

    def end(self) -> None:
        self._mark.unlink()
