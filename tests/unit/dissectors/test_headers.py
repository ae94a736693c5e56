"""Header fields: the first of each counts, whole lines only, a bounded number."""

from __future__ import annotations

import pytest
from fieldwatch_agent.dissectors.headers import MAX_HEADERS, read_headers


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"Host: a\r\nServer:b \r\n\r\nbody: c\r\n", ({b"host": b"a", b"server": b"b"}, True)),
        (b"Host: a\nServer: b\n", ({b"host": b"a", b"server": b"b"}, True)),
        (b"Host: a\r\nHOST: b\r\n\r\n", ({b"host": b"a"}, True)),
        (b"Host: a\r\nServer: b", ({b"host": b"a"}, False)),
        (b"no colon\r\nHost: a\r\n\r\n", ({b"host": b"a"}, True)),
        (b"Server: a\r\n\tHost: b\r\n Via: c\r\n\r\n", ({b"server": b"a"}, True)),  # RFC 9112 section 5.2
        (b"", ({}, True)),
    ],
)
def test_fields(data: bytes, expected: tuple[dict[bytes, bytes], bool]) -> None:
    assert expected == read_headers(data)


def test_their_number_is_bounded() -> None:
    headers, whole = read_headers(b"".join(b"x%d: y\r\n" % number for number in range(1000)))

    assert (len(headers), whole) == (MAX_HEADERS, False)
