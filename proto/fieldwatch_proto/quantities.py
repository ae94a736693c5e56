"""Sizes and durations as people write them: "64 MiB", "50 MB", "30 s", "5 min"."""

from __future__ import annotations

import re
from collections.abc import Mapping

BYTE_UNITS = {
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "KiB": 1 << 10,
    "MB": 1000**2,
    "MiB": 1 << 20,
    "GB": 1000**3,
    "GiB": 1 << 30,
    "TB": 1000**4,
    "TiB": 1 << 40,
}
SECOND_UNITS = {"ms": 0.001, "s": 1, "min": 60, "h": 3600, "d": 86_400}
_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def _quantity(text: str, units: Mapping[str, float], bare: float, example: str) -> float:
    match = _QUANTITY.fullmatch(text)
    if match is None or (match[2] and match[2] not in units):
        raise ValueError(f"accepted is a number with one of the units {', '.join(units)}: {example}")
    return float(match[1]) * (units[match[2]] if match[2] else bare)


def parse_bytes(text: str) -> int:
    """Octets of "64 MiB", "50 MB" or "4096". Raises ValueError."""
    return int(_quantity(text, BYTE_UNITS, 1, '"64 MiB"'))


def parse_seconds(text: str) -> float:
    """Seconds of "30 s", "250 ms", "5 min", "7 d" or "30". Raises ValueError."""
    return round(_quantity(text, SECOND_UNITS, 1, '"30 s"'), 9)


def bytes_exact(value: int) -> str:
    """The shortest exact text that `parse_bytes` reads back: "64 MiB", "1000 B"."""
    for name in ("TiB", "GiB", "MiB", "KiB", "TB", "GB", "MB"):
        if value and value % BYTE_UNITS[name] == 0:
            return f"{value // BYTE_UNITS[name]} {name}"
    return f"{value} B"


def seconds_exact(value: float) -> str:
    """The shortest exact text that `parse_seconds` reads back: "5 min", "250 ms"."""
    for name in ("d", "h", "min"):
        if value and value % SECOND_UNITS[name] == 0:
            return f"{int(value // SECOND_UNITS[name])} {name}"
    if 0 < value < 1 and (value * 1000).is_integer():
        return f"{int(value * 1000)} ms"
    return f"{value:.9f}".rstrip("0").rstrip(".") + " s"
