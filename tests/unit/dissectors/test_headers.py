"""Header fields: the first of each counts, whole lines only, a bounded number."""

from __future__ import annotations

import pytest
from fieldwatch_ext.headers import MAX_HEADERS, read_headers
from hypothesis import given
from hypothesis import strategies as st
from support import twin_headers

WANTED = frozenset({b"host", b"server", b"via", b"x"})


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"Host: a\r\nServer:b \r\n\r\nVia: c\r\n", ({b"host": b"a", b"server": b"b"}, True)),
        (b"Host: a\nServer: b\n", ({b"host": b"a", b"server": b"b"}, True)),
        (b"Host: a\r\nHOST: b\r\n\r\n", ({b"host": b"a"}, True)),
        (b"Host: a\r\nServer: b", ({b"host": b"a"}, False)),
        (b"no colon\r\nHost: a\r\n\r\n", ({b"host": b"a"}, True)),
        (b"Server: a\r\n\tHost: b\r\n Via: c\r\n\r\n", ({b"server": b"a"}, True)),  # RFC 9112 section 5.2
        (b"Date: a\r\nHost : b\r\nhosts: c\r\nX:\r\n\r\n", ({b"host": b"b", b"x": b""}, True)),
        (b"", ({}, True)),
    ],
)
def test_fields(data: bytes, expected: tuple[dict[bytes, bytes], bool]) -> None:
    assert expected == read_headers(data, 0, WANTED)
    assert expected == read_headers(b"GET / HTTP/1.1\r\n" + data, 16, WANTED)


def test_the_number_of_lines_is_bounded() -> None:
    lines = [b"x%d: y\r\n" % number for number in range(1000)]
    names = frozenset(line.partition(b":")[0] for line in lines)
    headers, whole = read_headers(b"".join(lines), 0, names)

    assert (len(headers), whole) == (MAX_HEADERS, False)


@pytest.mark.parametrize("offset", [-1, 5])
def test_an_offset_outside_is_our_mistake(offset: int) -> None:
    with pytest.raises(IndexError, match="the payload has 4 octets"):
        read_headers(b"x: y", offset, WANTED)


@pytest.mark.parametrize("end", range(60))
def test_every_prefix_is_read_as_by_the_twin(end: int) -> None:
    data = b"Host: a\r\n VIA: b\r\nServer:\tc d \r\nX : \r\nvia:z\r\n\r\nHost: x"[:end]

    assert twin_headers.read_headers(data, 0, WANTED) == read_headers(data, 0, WANTED)


PIECES = (*(b"Host", b"VIA", b"server", b"X", b"y" * 70), *(b":", b": ", b"\r\n", b"\n", b" ", b"\t", b"\v\f", b"\0"))


@given(st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join), st.integers(0, 20))
def test_fields_are_those_of_the_twin(data: bytes, offset: int) -> None:
    offset = min(offset, len(data))

    assert twin_headers.read_headers(data, offset, WANTED) == read_headers(data, offset, WANTED)
