"""HTTP: what programs say of themselves, what servers are called, and heads that are cut."""

from __future__ import annotations

import pytest
from fieldwatch_agent.dissectors import http
from listening import PEER_IP_TEXT, Heard, listen, prefixes_say_a_part, to_peer
from messages import IP_TEXT
from support.cost import cpu_s

# RFC 9112 section 2.1 and 3, RFC 9110 sections 7.2, 10.1.5 and 10.2.4.
REQUEST = (
    b"GET /where?q=now HTTP/1.1\r\nUser-Agent: curl/7.64.1\r\nHost: www.Example.org:8080\r\nAccept-Language: en\r\n\r\n"
)
RESPONSE = (
    b"HTTP/1.1 200 OK\r\nDate: Mon, 27 Jul 2009 12:28:53 GMT\r\nServer: Apache/2.4.1 (Unix)\r\n"
    b"Content-Length: 51\r\n\r\nHello World! My content includes a trailing CRLF.\r\n"
)
ASKS = (IP_TEXT, "user_agent", "curl/7.64.1")
NAMES = (PEER_IP_TEXT, "http_host", "www.example.org")
ANSWERS = (IP_TEXT, "server", "Apache/2.4.1 (Unix)")


def heard(payload: bytes) -> Heard:
    return listen(http.dissect, to_peer("http", payload))


def test_a_request_tells_of_its_program_and_names_the_server() -> None:
    assert [item[:6] for item in http.dissect(to_peer("http", REQUEST))] == [
        (*ASKS, "http", "HTTP User-Agent", 60),
        (*NAMES, "http", "HTTP Host of a request to it", 50),
    ]


def test_a_response_tells_of_the_server() -> None:
    assert [item[:6] for item in http.dissect(to_peer("http", RESPONSE))] == [(*ANSWERS, "http", "HTTP Server", 70)]


@pytest.mark.parametrize("payload", [REQUEST, RESPONSE])
def test_every_prefix_says_a_part_and_nothing_else(payload: bytes) -> None:
    assert prefixes_say_a_part(http.dissect, to_peer("http", payload))


def test_a_line_that_the_segment_cuts_does_not_count() -> None:
    assert heard(REQUEST[: REQUEST.index(b"xample.org")]) == Heard([ASKS], False)


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        (b"Printer", "printer"),
        (b"example.org.", "example.org"),
        (b"xn--bcher-kva.example:80", "xn--bcher-kva.example"),
        (b"3com.example", "3com.example"),
        (b"my_nas:", "my_nas"),
        (b"a" * 63 + b".example", "a" * 63 + ".example"),
        (b"192.168.1.20", ""),
        (b"192.168.1.20:8080", ""),
        (b"192.168.1.20.", ""),
        (b"[fe80::1]", ""),
        (b"[fe80::1]:80", ""),
        (b"fe80::1", ""),
        (b"2130706433", ""),  # an address as one number
        (b":80", ""),
        (b"", ""),
        (b"a..example", ""),
        (b"user@example.org", ""),
        (b"<script>", ""),
        (b"\xff\xfe", ""),
        (b"a." * 150 + b"example", ""),  # longer than a name can be
    ],
)
def test_the_name_in_a_host_field(field: bytes, expected: str) -> None:
    facts = [(PEER_IP_TEXT, "http_host", expected)] if expected else []

    assert Heard(facts, True) == heard(b"GET / HTTP/1.1\r\nHost: " + field + b"\r\n\r\n")


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"OPTIONS * HTTP/1.1", [ASKS, NAMES]),
        (b"M-SEARCH /x HTTP/1.0", [ASKS, NAMES]),
        (b"GET http://www.example.org/ HTTP/1.1", [ASKS]),  # to a proxy
        (b"CONNECT www.example.org:443 HTTP/1.1", [ASKS]),
    ],
)
def test_the_form_of_the_target(start: bytes, expected: list[tuple[str, str, str]]) -> None:
    """RFC 9112 section 3.2: only origin form and asterisk form ask the server itself."""
    assert Heard(expected, True) == heard(start + REQUEST[REQUEST.index(b"\r\n") :])


@pytest.mark.parametrize("field", [b"Via: 1.1 vegur", b"Forwarded: for=192.0.2.60", b"X-Forwarded-For: 192.0.2.60"])
def test_who_passes_messages_on_does_not_speak_of_itself(field: bytes) -> None:
    request, response = (octets.replace(b"\r\n", b"\r\n" + field + b"\r\n", 1) for octets in (REQUEST, RESPONSE))

    assert (heard(request), heard(response)) == (Heard([NAMES], True), Heard([], True))


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"GET / HTTP/1.1",
        b"GET / HTTP/2.0\r\nUser-Agent: x\r\n\r\n",
        b"GET  HTTP/1.1\r\nUser-Agent: x\r\n\r\n",
        b"GET / with blanks HTTP/1.1\r\nUser-Agent: x\r\n\r\n",
        b"HTTP/1.1 OK\r\nServer: x\r\n\r\n",
        b"HTTP/1.1 2000\r\nServer: x\r\n\r\n",
        b"\x16\x03\x01\n" * 20,
    ],
)
def test_what_is_no_head_says_nothing(payload: bytes) -> None:
    assert heard(payload) == Heard([], False)


def test_a_folded_line_is_no_field() -> None:
    """RFC 9112 section 5.2; read as a field, it would let one program speak as another."""
    assert heard(b"GET / HTTP/1.1\r\nX: y\r\n User-Agent: evil\r\n\r\n") == Heard([], True)


def test_control_characters_are_escaped() -> None:
    assert heard(b"HTTP/1.0 200\r\nServer: \x1b[2J\r\n\r\n") == Heard([(IP_TEXT, "server", "\\x1b[2J")], True)


@pytest.mark.parametrize(
    "payload",
    [
        b"GET / HTTP/1.1\r\nHost: " + b"a" * 65_000 + b"!\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + b"1" * 250 + b"!\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 12_000,
        b"a" * 65_000 + b"\n",
        b"GET " + b"a" * 65_000 + b"\n",
        b"HTTP/1.1 200 " + b"\r" * 65_000 + b"\n",
    ],
)
def test_the_costliest_heads_cost_little(payload: bytes) -> None:
    assert cpu_s(lambda: heard(payload)) < 0.05
