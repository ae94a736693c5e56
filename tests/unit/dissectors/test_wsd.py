"""WS-Discovery: what cameras, printers and computers say of themselves, and XML that means harm."""

from __future__ import annotations

import tracemalloc
from typing import Any

import pytest
from fieldwatch_agent.dissectors import wsd
from listening import Heard, listen, prefixes_say_a_part, to_peer
from messages import IP_TEXT, MAC_TEXT
from support.cost import cpu_s

GROUP = {"dst_mac": bytes.fromhex("01005e7ffffa"), "dst_ip": bytes([239, 255, 255, 250])}
UUID = "98190dc2-0890-4ef8-ac9a-5940995e6119"

DRAFT = ("http://schemas.xmlsoap.org/ws/2005/04/discovery", "http://schemas.xmlsoap.org/ws/2004/08/addressing")
OASIS = ("http://docs.oasis-open.org/ws-dd/ns/discovery/2009/01", "http://www.w3.org/2005/08/addressing")


def endpoint(types: str = "", scopes: str = "", xaddrs: str = "", address: str = f"urn:uuid:{UUID}") -> str:
    return (
        f"<a:EndpointReference><a:Address>{address}</a:Address></a:EndpointReference>"
        f"<d:Types>{types}</d:Types><d:Scopes>{scopes}</d:Scopes><d:XAddrs>{xaddrs}</d:XAddrs>"
        "<d:MetadataVersion>1</d:MetadataVersion>"
    )


def envelope(body: str, namespaces: tuple[str, str] = OASIS) -> bytes:
    """OASIS WS-Discovery 1.1 section 4: the form of all its messages; section 3 for the namespaces."""
    discovery, addressing = namespaces
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f'<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope" xmlns:a="{addressing}" xmlns:d="{discovery}">'
        "<s:Header><a:To>urn:docs-oasis-open-org:ws-dd:ns:discovery:2009:01</a:To>"
        '<d:AppSequence InstanceId="1077004800" MessageNumber="2"/></s:Header>'
        f"<s:Body>{body}</s:Body></s:Envelope>"
    ).encode()


def hello(content: str, namespaces: tuple[str, str] = OASIS) -> bytes:
    return envelope(f"<d:Hello>{content}</d:Hello>", namespaces)


CAMERA = endpoint(
    "dn:NetworkVideoTransmitter tds:Device",
    "onvif://www.onvif.org/type/video_encoder onvif://www.onvif.org/name/Front%20Door "
    "onvif://www.onvif.org/hardware/DC-4K onvif://www.onvif.org/location/building/5",
    f"http://{IP_TEXT}/onvif/device_service http://[fe80::1]/onvif/device_service",
)
HELLO = hello(CAMERA, DRAFT)
PRINTER = endpoint("wsdp:Device wprt:PrintDeviceType", "ldap:///ou=engineering", f"http://{IP_TEXT}/prn")
MATCHES = envelope(f"<d:ProbeMatches><d:ProbeMatch>{PRINTER}</d:ProbeMatch></d:ProbeMatches>")
CAMERA_FACTS = [
    ("device_uuid", UUID),
    ("device_type", "NetworkVideoTransmitter"),
    ("friendly_name", "Front Door"),
    ("model", "DC-4K"),
    ("place", "building/5"),
    ("location", f"http://{IP_TEXT}/onvif/device_service"),
    ("location", "http://[fe80::1]/onvif/device_service"),
]


def heard(payload: bytes, **changes: Any) -> Heard:
    return listen(wsd.dissect, to_peer("wsd", payload, **{**GROUP, **changes}))


def of_sender(*facts: tuple[str, str]) -> list[tuple[str, str, str]]:
    return [(MAC_TEXT, *item) for item in facts]


def test_a_camera_says_hello() -> None:
    assert heard(HELLO) == Heard(of_sender(*CAMERA_FACTS), True)


def test_what_stands_in_a_fact() -> None:
    facts = [item[:6] for item in wsd.dissect(to_peer("wsd", HELLO, **GROUP))]

    assert facts[1:4] == [
        (MAC_TEXT, "device_type", "NetworkVideoTransmitter", "wsd",
         "WS-Discovery Hello Types dn:NetworkVideoTransmitter", 75),
        (MAC_TEXT, "friendly_name", "Front Door", "wsd", "WS-Discovery Hello ONVIF name", 75),
        (MAC_TEXT, "model", "DC-4K", "wsd", "WS-Discovery Hello ONVIF hardware", 75),
    ]  # fmt: skip


def test_a_match_is_about_the_address_it_comes_from() -> None:
    """It is unicast: the source MAC may be a router's."""
    expected = [
        (IP_TEXT, "device_uuid", UUID),
        (IP_TEXT, "device_type", "PrintDeviceType"),
        (IP_TEXT, "location", f"http://{IP_TEXT}/prn"),
    ]

    assert listen(wsd.dissect, to_peer("wsd", MATCHES)) == Heard(expected, True)


@pytest.mark.parametrize("namespaces", [DRAFT, OASIS])
@pytest.mark.parametrize("kind", ["Resolve", "Probe"])
def test_both_versions_and_both_answers(kind: str, namespaces: tuple[str, str]) -> None:
    content = endpoint("pub:Computer")
    body = f"<d:{kind}Matches><d:{kind}Match>{content}</d:{kind}Match></d:{kind}Matches>"

    assert heard(envelope(body, namespaces)).facts == of_sender(("device_uuid", UUID), ("device_type", "Computer"))


@pytest.mark.parametrize("payload", [HELLO, MATCHES])
def test_every_prefix_says_a_part_and_nothing_else(payload: bytes) -> None:
    assert prefixes_say_a_part(wsd.dissect, to_peer("wsd", payload))


def test_an_element_that_is_cut_does_not_count() -> None:
    assert heard(HELLO[: HELLO.index(b"DC-4K")]) == Heard(of_sender(*CAMERA_FACTS[:2]), False)


def test_who_goes_says_only_which_it_is() -> None:
    payload = envelope(f"<d:Bye>{CAMERA}</d:Bye>")

    assert heard(payload) == Heard(of_sender(("device_uuid", UUID)), True)


@pytest.mark.parametrize(
    ("xaddrs", "subject", "confidence"),
    [
        ("http://192.168.1.77/x", "192.168.1.77", 50),
        (f"http://192.168.1.77/x http://{IP_TEXT}/x", MAC_TEXT, 75),
        ("http://[fe80::77]/x", MAC_TEXT, 75),  # of the other family: it may be the sender's too
        ("http://printer.local/x", MAC_TEXT, 75),
        ("http://192.168.1.300/x", MAC_TEXT, 75),
        ("http://127.0.0.1/x", MAC_TEXT, 75),
        ("", MAC_TEXT, 75),
    ],
)
def test_whom_a_message_is_about(xaddrs: str, subject: str, confidence: int) -> None:
    frame = to_peer("wsd", hello(endpoint("pub:Computer", xaddrs=xaddrs)), **GROUP)

    assert {(item[0], item[5]) for item in wsd.dissect(frame)} == {(subject, confidence)}


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("http://192.168.1.10:5357/x", "c0a8010a"),
        ("https://[FE80::1]:5358/", "fe800000000000000000000000000001"),
        ("http://[fe80::1%25eth0]/", "fe800000000000000000000000000001"),
        ("http://192.168.1.10", "c0a8010a"),
        ("http://192.168.1.10.example/", ""),
        ("http://[::::]/", ""),
        ("soap.udp://192.168.1.10/", ""),
    ],
)
def test_the_address_in_a_location(location: str, expected: str) -> None:
    assert expected == wsd.host_address(location).hex()


@pytest.mark.parametrize(
    "address", ["urn:uuid:" + UUID.upper(), f"uuid:{UUID}", f"\n urn:uuid:{UUID}\n"]
)  # fmt: skip
def test_forms_of_the_endpoint(address: str) -> None:
    assert heard(hello(endpoint(address=address))).facts == of_sender(("device_uuid", UUID))


@pytest.mark.parametrize(
    "payload",
    [
        envelope(f"<d:Probe><d:Types>dn:NetworkVideoTransmitter</d:Types>{endpoint()}</d:Probe>"),
        envelope(f"<x:Hello xmlns:x='urn:x'>{CAMERA}</x:Hello>"),  # another's Hello
        envelope(f"<d:ProbeMatch>{CAMERA}</d:ProbeMatch>"),  # not in its place
        envelope(f"<d:Hello><d:Hello>{CAMERA}</d:Hello></d:Hello>"),
        hello(endpoint("tds:Device", address="http://192.168.1.10/x")),
        hello(endpoint(address=f"urn:uuid:{UUID}0")),
        b'<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"/>',  # SOAP 1.1
    ],
)
def test_messages_without_news(payload: bytes) -> None:
    assert heard(payload) == Heard([], True)


def test_of_repeated_elements_the_first_counts() -> None:
    payload = hello("<d:Types>a:One</d:Types><d:Types>a:Two</d:Types>")

    assert heard(payload) == Heard(of_sender(("device_type", "One")), True)


def test_zeros_behind_the_message_do_no_harm() -> None:
    assert heard(HELLO + b"\0\0") == heard(HELLO)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\0\0",
        b"<s:Envelope/>",  # an undeclared prefix
        HELLO[:200],
        HELLO.replace(b"</s:Body>", b"</s:Head>"),
        HELLO.decode().encode("utf-16"),
        HELLO.replace(b"Front", b"\xff\xfe"),
        b"GET / HTTP/1.1\r\n\r\n",
    ],
)
def test_what_is_no_message_breaks_off(payload: bytes) -> None:
    assert not heard(payload).whole


@pytest.mark.parametrize("encoding", [b"idna", b"punycode", b"rot13", b"no-such-codec", b"iso-8859-1"])
def test_the_declared_encoding_chooses_no_codec(encoding: bytes) -> None:
    assert heard(HELLO.replace(b"UTF-8", encoding)) == heard(HELLO)


LAUGHS = (
    "<!DOCTYPE l [<!ENTITY l0 'lol'>" + "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 10)) + "]>"
)
QUADRATIC = f"<!DOCTYPE l [<!ENTITY l0 '{'a' * 30_000}'>]>"


def with_doctype(declaration: str, text: str) -> bytes:
    """Behind the XML declaration, and an entity where a type stands."""
    return hello(endpoint(text)).replace(b"?>\n", b"?>\n" + declaration.encode(), 1)


@pytest.mark.parametrize(
    "payload",
    [
        with_doctype(LAUGHS, "&l9;"),
        with_doctype(QUADRATIC, "&l0;" * 7000),
        with_doctype("<!DOCTYPE l SYSTEM 'file:///etc/hostname'>", "x"),
        with_doctype("<!DOCTYPE l [<!ENTITY l0 SYSTEM 'file:///etc/hostname'>]>", "&l0;"),
        with_doctype("<!DOCTYPE l [<!ENTITY % p SYSTEM 'http://192.168.1.20/'> %p;]>", "x"),
        hello(endpoint("&l0;")).replace(b"EndpointReference", b"Endpoint"),  # an entity that nobody declared
    ],
)
def test_declarations_and_their_entities_end_the_reading(payload: bytes) -> None:
    tracemalloc.start()
    try:
        outcome = heard(payload)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert outcome == Heard([], False)
    assert peak < 1_000_000
    assert cpu_s(lambda: heard(payload)) < 0.05


@pytest.mark.parametrize(
    "payload",
    [
        b"<a>" * 21_000,
        b"<a>" + b"<b/>" * 16_000 + b"</a>",
        b"<a " + b" ".join(b"b%d=''" % n for n in range(6000)) + b"/>",
        hello("<d:Scopes>" + "&#97;" * 12_000 + "</d:Scopes>"),
        hello("<d:Scopes>" + "a\n" * 30_000 + "</d:Scopes>"),
        hello("<d:Types>" + "a:b " * 2000 + "</d:Types>"),
        hello("<d:Scopes>" + "onvif://www.onvif.org/name/%41 " * 260 + "</d:Scopes>"),
        hello("<x>" + "a" * 60_000 + "</x>"),
        envelope("<d:ProbeMatches>" + f"<d:ProbeMatch>{CAMERA}</d:ProbeMatch>" * 60 + "</d:ProbeMatches>"),
    ],
    ids=len,
)
def test_the_costliest_messages_cost_little(payload: bytes) -> None:
    facts = heard(payload).facts

    assert cpu_s(lambda: heard(payload)) < 0.1
    assert len(facts) <= wsd.MAX_ENDPOINTS * len(CAMERA_FACTS) + wsd.MAX_ITEMS
