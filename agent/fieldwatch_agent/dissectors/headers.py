"""Header fields as HTTP/1 and SSDP write them (RFC 9112 section 5): a name, a colon, a value, one a line."""

from __future__ import annotations

MAX_HEADERS = 32

BLANKS = (b" ", b"\t")


def read_headers(data: bytes) -> tuple[dict[bytes, bytes], bool]:
    """{lower-case name: value}, the first of each counts, at most `MAX_HEADERS`; and whether the last line was whole.

    A line without its end was cut and does not count. The empty line at the end may be missing: many devices forget it.
    A line that begins with a blank goes on with the one before it (section 5.2): it is no field of its own.
    """
    headers: dict[bytes, bytes] = {}
    *lines, cut = data.split(b"\n", MAX_HEADERS)
    for line in lines:
        folded = line[:1] in BLANKS
        line = line.strip()
        if not line:
            return headers, True
        name, colon, value = line.partition(b":")
        if colon and not folded:
            headers.setdefault(name.strip().lower(), value.strip())
    return headers, not cut.strip()
