"""The plain-Python twin of `fieldwatch_ext.headers`."""

from __future__ import annotations

from collections.abc import Container

from fieldwatch_ext.headers import MAX_HEADERS

BLANKS = (b" ", b"\t")


def read_headers(payload: bytes, offset: int, wanted: Container[bytes]) -> tuple[dict[bytes, bytes], bool]:
    headers: dict[bytes, bytes] = {}
    *lines, cut = payload[offset:].split(b"\n", MAX_HEADERS)
    for line in lines:
        folded = line[:1] in BLANKS
        line = line.strip()
        if not line:
            return headers, True
        name, colon, value = line.partition(b":")
        name = name.strip().lower()
        if colon and not folded and name in wanted:
            headers.setdefault(name, value.strip())
    return headers, not cut.strip()
