"""``run --replay``: a capture file as the source of the daemon's frames."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fieldwatch_ext.bpf import Program
from fieldwatch_ext.capture import FileSource

from fieldwatch_agent.filters import compile_filter

STANDARD_INPUT = "-"
NAME_BYTES = 32  # what the ledger keeps of it


def open_replay(path: str, expression: str = "") -> tuple[FileSource, str]:
    """The source, and the name that its records carry as their interface. Raises CaptureError, OSError."""

    def filter_for(linktype: int) -> Program | None:
        return compile_filter(expression, linktype)

    if path == STANDARD_INPUT:
        return FileSource(sys.stdin.fileno(), name="standard input", filter_for=filter_for), "stdin"
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # the daemon's to the end
    name = Path(path).name.encode("utf-8", "replace")[:NAME_BYTES].decode("utf-8", "ignore")
    return FileSource(fd, name=path, filter_for=filter_for), name
