"""Simple service discovery protocol (UPnP Device Architecture 2.0 section 1): what devices offer, and what asks for it.

The friendly name stands only in the description that LOCATION points to; a passive listener does not fetch it.
"""

from __future__ import annotations

from collections.abc import Iterator

from fieldwatch_ext.engine import Slow
from fieldwatch_ext.headers import read_headers

from fieldwatch_agent.dissectors.notes import MalformedError, fact, sender
from fieldwatch_agent.facts import Binding, Fact

KINDS = ((b"NOTIFY ", "NOTIFY"), (b"M-SEARCH ", "M-SEARCH"), (b"HTTP/", "response"))
WANTED = frozenset({b"nt", b"nts", b"st", b"server", b"user-agent", b"location"})
GOODBYE = b"ssdp:byebye"


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """Facts about the sender."""
    start, line_end, _ = slow.payload.partition(b"\n")
    kind = next((name for mark, name in KINDS if start.upper().startswith(mark)), None)
    if kind is None:
        raise MalformedError
    headers, complete = read_headers(slow.payload, len(start + line_end), WANTED)
    subject = sender(slow)
    evidence = f"SSDP {kind}"
    if headers.get(b"nts", b"").lower() != GOODBYE:
        for name, key in ((b"server", "server"), (b"user-agent", "user_agent"), (b"location", "location")):
            value = headers.get(name)
            if value:
                yield fact(slow, subject, key, value, f"{evidence} {name.decode().upper()}", 70)
        # What a search names (ST) is what it looks for; in a response it is what the sender has.
        target = headers.get(b"nt" if kind == "NOTIFY" else b"st", b"") if kind != "M-SEARCH" else b""
        if target.lower().startswith(b"urn:"):
            yield fact(slow, subject, "service", target, evidence, 70)
            device_type = device_type_of(target)
            if device_type:
                yield fact(slow, subject, "device_type", device_type, evidence, 70)
    if not complete:
        raise MalformedError


def device_type_of(target: bytes) -> bytes:
    """ "MediaServer" of urn:schemas-upnp-org:device:MediaServer:1; empty where it names no device."""
    parts = target.split(b":")
    return parts[3] if len(parts) >= 4 and parts[2].lower() == b"device" else b""
