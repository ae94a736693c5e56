"""A progress line on the terminal for work that takes longer than a moment."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from fieldwatch_proto.cli.tables import bytes_text, count_text, cut
from fieldwatch_proto.logs import printable

PATIENCE_S = 0.5  # before anything is shown
INTERVAL_S = 0.1
BAR_CHARS = 24
NAME_CHARS = 30


class Progress:
    """``capture.pcap  [######......]  45 %  1,200,000 frames``; nothing at all where `stream` is no terminal."""

    def __init__(self, *, quiet: bool = False, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._shown = not quiet and self._stream.isatty()
        self._next_s = time.monotonic() + PATIENCE_S
        self._drawn = False

    def update(self, name: str, position: int, total: int, frames: int) -> None:
        """`total` octets of the file, 0 where it cannot be known (a pipe)."""
        if not self._shown or (now_s := time.monotonic()) < self._next_s:
            return
        self._next_s = now_s + INTERVAL_S
        if total:
            share = min(1.0, position / total)
            done = round(share * BAR_CHARS)
            part = f"[{'#' * done}{'.' * (BAR_CHARS - done)}] {share:4.0%}"
        else:
            part = bytes_text(position)
        line = f"{cut(printable(name), NAME_CHARS)}  {part}  {count_text(frames)} frames"
        self._stream.write(f"\r\x1b[K{line}")
        self._stream.flush()
        self._drawn = True

    def clear(self) -> None:
        """Leave the terminal as it was."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._drawn = False
