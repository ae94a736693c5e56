"""HTTP/1 heads (RFC 9112, fields RFC 9110): which program asks, which answers, and the name a server is asked by.

- Only the first segment of a side is read: a head that it cuts gives its whole lines.
- Who passes messages on for others says so, and then the program in them is theirs: it gives no fact.
- `Host` is what the client calls the server: hearsay about the address that it spoke to. A request through a proxy
  (absolute or authority form, section 3.2) names somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from fieldwatch_ext.engine import Slow
from fieldwatch_ext.headers import read_headers

from fieldwatch_agent.dissectors.notes import MalformedError, fact, holder, sender
from fieldwatch_agent.facts import Binding, Fact

REQUEST = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,32}) ([^ ]+) HTTP/1\.[0-9]\r?", re.DOTALL)
RESPONSE = re.compile(rb"HTTP/1\.[0-9] [0-9]{3}(?: .*)?\r?", re.DOTALL)
ORIGIN_FORM = (b"/", b"*")  # of a target that the server itself is asked for

PASSED_ON = frozenset({b"via", b"forwarded", b"x-forwarded-for"})
WANTED = PASSED_ON | {b"user-agent", b"host", b"server"}

MAX_HOST_OCTETS = 253 + len(":65535")  # RFC 1035 section 2.3.4, as text
# Names as hosts have them, with the port behind; the last label of a name is no number (RFC 1123 section 2.1).
HOST = re.compile(rb"((?:[A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]*[A-Za-z_-][A-Za-z0-9_-]*)\.?(?::[0-9]*)?")


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """Facts about the sender, and about the address that it asks."""
    line_end = slow.payload.find(b"\n")
    if line_end < 0:
        raise MalformedError
    start = slow.payload[:line_end]
    headers, complete = read_headers(slow.payload, line_end + 1, WANTED)
    own = PASSED_ON.isdisjoint(headers)
    request = REQUEST.fullmatch(start)
    if request is not None:
        program = headers.get(b"user-agent")
        if program and own:
            yield fact(slow, sender(slow), "user_agent", program, "HTTP User-Agent", 60)
        name = host_name(headers.get(b"host", b""))
        if name and request[2].startswith(ORIGIN_FORM):
            yield fact(slow, holder(slow, slow.dst_ip), "http_host", name, "HTTP Host of a request to it", 50)
    elif RESPONSE.fullmatch(start) is not None:
        program = headers.get(b"server")
        if program and own:
            yield fact(slow, sender(slow), "server", program, "HTTP Server", 70)
    else:
        raise MalformedError
    if not complete:
        raise MalformedError


def host_name(value: bytes) -> bytes:
    """The lower-case name of a Host field without its port; empty where it is an address or no name."""
    match = HOST.fullmatch(value) if len(value) <= MAX_HOST_OCTETS else None
    return match[1].lower() if match else b""
