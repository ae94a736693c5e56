"""Web services dynamic discovery (OASIS WS-Discovery 1.1, and its draft of April 2005): cameras, printers, computers.

- A message is a SOAP 1.2 envelope in one datagram. Hello, ProbeMatches and ResolveMatches tell of devices; Bye only
  says which one goes. A Probe names what its sender looks for, and says nothing.
- Network cameras write their name and model into scopes (ONVIF Core Specification section 7.3.2.2).
- What is told of a device is the sender's, unless all its addresses are others' (a discovery proxy): then theirs.
- The parser is expat, and it never meets what makes XML dangerous: any document type declaration ends the reading, so
  there are no entities; depth, elements and text are bounded, and so is the input, by the datagram. The encoding is
  UTF-8 whatever the declaration says, which would else choose a codec to load.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from socket import AF_INET, AF_INET6, inet_pton
from urllib.parse import unquote_to_bytes
from xml.parsers import expat

from fieldwatch_ext.engine import Slow

from fieldwatch_agent.dissectors.notes import MalformedError, fact, holder, sender
from fieldwatch_agent.facts import Binding, Fact

MAX_DEPTH = 16
MAX_ELEMENTS = 512
MAX_TEXT_CHARACTERS = 8192  # of one element
MAX_ENDPOINTS = 8  # of one message
MAX_ITEMS = 32  # of one list: types, scopes, addresses
MAX_LOCATIONS = 4

NAMESPACES = {
    "s": ("http://www.w3.org/2003/05/soap-envelope",),
    "a": ("http://schemas.xmlsoap.org/ws/2004/08/addressing", "http://www.w3.org/2005/08/addressing"),
    "d": (
        "http://schemas.xmlsoap.org/ws/2005/04/discovery",
        "http://docs.oasis-open.org/ws-dd/ns/discovery/2009/01",
    ),
}
BODY = ("s:Envelope", "s:Body")
ENDPOINTS = {
    (*BODY, "d:Hello"): "Hello",
    (*BODY, "d:Bye"): "Bye",
    (*BODY, "d:ProbeMatches", "d:ProbeMatch"): "ProbeMatch",
    (*BODY, "d:ResolveMatches", "d:ResolveMatch"): "ResolveMatch",
}
ADDRESS, TYPES, SCOPES, LOCATIONS = "address", "types", "scopes", "locations"
TEXTS = {
    ("a:EndpointReference", "a:Address"): ADDRESS,
    ("d:Types",): TYPES,
    ("d:Scopes",): SCOPES,
    ("d:XAddrs",): LOCATIONS,
}
NAMES = {
    f"{namespace} {name[2:]}": name
    for name in {name for path in (*ENDPOINTS, *TEXTS) for name in path}
    for namespace in NAMESPACES[name[0]]
}
"""What expat calls the elements that count, and what they are called here."""

UUID = re.compile(r"(?:urn:)?uuid:([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})", re.IGNORECASE)
ANY_DEVICE = "Device"  # of the Devices Profile and of ONVIF alike: says no more than that there is one
ONVIF_SCOPE = re.compile(r"onvif://www\.onvif\.org/(name|hardware|location)/([^?#]+)", re.IGNORECASE)
ONVIF_FACTS = {"name": "friendly_name", "hardware": "model", "location": "place"}
LOCATION_HOST = re.compile(r"https?://(?:\[([0-9A-Fa-f:.]+)(?:%[^\]]*)?\]|([0-9.]+))(?:[:/]|$)", re.IGNORECASE)

OWN, HEARSAY = 75, 50


@dataclass(slots=True)
class Endpoint:
    """What a message tells of one device; `texts` has the elements that came whole."""

    kind: str
    texts: dict[str, str] = field(default_factory=dict)

    def items(self, name: str) -> list[str]:
        return self.texts.get(name, "").split()[:MAX_ITEMS]


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """Facts about the sender, and about the holders of other addresses that it speaks for."""
    endpoints, complete = read_endpoints(slow.payload)
    for endpoint in endpoints:
        yield from _endpoint(slow, endpoint)
    if not complete:
        raise MalformedError


def _endpoint(slow: Slow, endpoint: Endpoint) -> Iterator[Fact]:
    subject, confidence = _subject(slow, endpoint)
    evidence = f"WS-Discovery {endpoint.kind}"
    uuid = UUID.fullmatch(endpoint.texts.get(ADDRESS, "").strip())
    if uuid:
        yield fact(slow, subject, "device_uuid", uuid[1].lower(), f"{evidence} endpoint", confidence)
    if endpoint.kind == "Bye":
        return
    for name in endpoint.items(TYPES):
        local = name.rpartition(":")[2]
        if local != ANY_DEVICE:
            yield fact(slow, subject, "device_type", local, f"{evidence} Types {name}", confidence)
    for scope in endpoint.items(SCOPES):
        told = ONVIF_SCOPE.fullmatch(scope)
        if told:
            key = ONVIF_FACTS[told[1].lower()]
            yield fact(slow, subject, key, unquote_to_bytes(told[2]), f"{evidence} ONVIF {told[1].lower()}", confidence)
    for location in endpoint.items(LOCATIONS)[:MAX_LOCATIONS]:
        yield fact(slow, subject, "location", location, f"{evidence} XAddrs", confidence)


def _subject(slow: Slow, endpoint: Endpoint) -> tuple[str, int]:
    """Whom the endpoint is about, and how sure that is. Addresses of another family prove nothing: hosts have both."""
    hosts = [host_address(location) for location in endpoint.items(LOCATIONS)]
    others = [host for host in hosts if len(host) == len(slow.src_ip) and holder(slow, host)]
    if not others or slow.src_ip in others:
        return sender(slow), OWN
    return holder(slow, others[0]), HEARSAY


def host_address(location: str) -> bytes:
    """The 4 or 16 octets of the address in a URL; empty where it is a name."""
    match = LOCATION_HOST.match(location)
    if match is None:
        return b""
    try:
        return inet_pton(AF_INET6, match[1]) if match[1] else inet_pton(AF_INET, match[2])
    except OSError:  # it only looks like one
        return b""


def read_endpoints(payload: bytes) -> tuple[list[Endpoint], bool]:
    """The devices that a message tells of, as far as it goes, and whether it was read to its end."""
    reader = _Reader()
    parser = expat.ParserCreate("utf-8", " ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = reader.refuse
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    try:
        parser.Parse(payload.rstrip(b"\0"), True)
    except (MalformedError, expat.ExpatError):
        return reader.endpoints, False
    return reader.endpoints, True


class _Reader:
    """Keeps the elements that count; raises MalformedError, which ends the parsing, where a bound is passed."""

    def __init__(self) -> None:
        self.endpoints: list[Endpoint] = []
        self._path: list[str] = []
        self._elements = 0
        self._depth = 0  # of the open endpoint; 0 = none is open
        self._wanted = ""
        self._pieces: list[str] = []
        self._characters = 0

    def refuse(self, *_: object) -> None:
        raise MalformedError

    def start(self, name: str, _: dict[str, str]) -> None:
        self._elements += 1
        if self._elements > MAX_ELEMENTS or len(self._path) == MAX_DEPTH:
            raise MalformedError
        known = NAMES.get(name, "")
        self._path.append(known)
        if self._depth:
            self._wanted = TEXTS.get(tuple(self._path[self._depth :]), "") if known else ""
            self._pieces.clear()
            self._characters = 0
            return
        kind = ENDPOINTS.get(tuple(self._path)) if known else None
        if kind is not None:
            if len(self.endpoints) == MAX_ENDPOINTS:
                raise MalformedError
            self.endpoints.append(Endpoint(kind))
            self._depth = len(self._path)

    def text(self, piece: str) -> None:
        if self._wanted:
            self._characters += len(piece)
            if self._characters > MAX_TEXT_CHARACTERS:
                raise MalformedError
            self._pieces.append(piece)

    def end(self, _: str) -> None:
        if self._wanted:
            self.endpoints[-1].texts.setdefault(self._wanted, "".join(self._pieces))
            self._wanted = ""
        if len(self._path) == self._depth:
            self._depth = 0
        self._path.pop()
