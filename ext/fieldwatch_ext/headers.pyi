"""Header fields as HTTP/1 and SSDP write them (RFC 9112 section 5): a name, a colon, a value, one a line."""

MAX_HEADERS: int

def read_headers(payload: bytes, offset: int, wanted: frozenset[bytes]) -> tuple[dict[bytes, bytes], bool]:
    """{lower-case name: value} of the `wanted` fields behind `offset`, and whether the last line was whole.

    The first of each counts; at most `MAX_HEADERS` lines are looked at. A line without its end was cut and does not
    count. The empty line at the end may be missing: many devices forget it. A line that begins with a blank goes on
    with the one before it (section 5.2): it is no field of its own.
    """
