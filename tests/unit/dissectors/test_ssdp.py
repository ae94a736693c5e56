"""SSDP: what a device offers, what a control point is, and lines that are cut."""

from __future__ import annotations

import pytest
from fieldwatch_agent.dissectors import COUNTERS
from messages import IP_TEXT, MAC, PEER_MAC, of_sender, said, slow

NOTIFY = (
    b"NOTIFY * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nCACHE-CONTROL: max-age=1800\r\n"
    b"Location: http://192.168.1.10:49152/desc.xml\r\n"
    b"NT: urn:schemas-upnp-org:device:MediaServer:1\r\nNTS: ssdp:alive\r\n"
    b"SERVER: Linux/5.4 UPnP/1.0 MiniDLNA/1.3\r\nUSN: uuid:1::urn:schemas-upnp-org:device:MediaServer:1\r\n\r\n"
)


def test_a_device_announces_itself() -> None:
    expected = [
        ("server", "Linux/5.4 UPnP/1.0 MiniDLNA/1.3"),
        ("location", "http://192.168.1.10:49152/desc.xml"),
        ("service", "urn:schemas-upnp-org:device:MediaServer:1"),
        ("device_type", "MediaServer"),
    ]

    assert expected == of_sender(slow("ssdp", NOTIFY))


def test_a_search_tells_of_the_program_that_searches_and_nothing_of_services() -> None:
    payload = (
        b'M-SEARCH * HTTP/1.1\r\nMAN: "ssdp:discover"\r\nST: urn:dial:service:dial:1\r\nUSER-AGENT: Chrome/99\r\n\r\n'
    )

    assert of_sender(slow("ssdp", payload)) == [("user_agent", "Chrome/99")]


def test_a_response_is_about_the_address_it_comes_from() -> None:
    payload = b"HTTP/1.1 200 OK\r\nST: urn:schemas-upnp-org:service:AVTransport:1\r\nSERVER: Box/1\r\n\r\n"
    frame = slow("ssdp", payload, src_mac=PEER_MAC, dst_mac=MAC, dst_ip=bytes([192, 168, 1, 20]))

    expected = [(IP_TEXT, "server", "Box/1"), (IP_TEXT, "service", "urn:schemas-upnp-org:service:AVTransport:1")]
    assert expected == said(frame)


def test_a_group_that_routers_forward_gives_a_foreign_sender_no_mac() -> None:
    """239.255.255.250 is of site scope: a public source came through a router."""
    assert "203.0.113.9" in {subject for subject, _, _ in said(slow("ssdp", NOTIFY, src_ip=bytes([203, 0, 113, 9])))}


@pytest.mark.parametrize(
    "payload",
    [
        NOTIFY.replace(b"ssdp:alive", b"ssdp:byebye"),
        b"NOTIFY * HTTP/1.1\r\nNT: upnp:rootdevice\r\nNTS: ssdp:alive\r\n\r\n",
        b"NOTIFY * HTTP/1.1\r\n\r\n",
    ],
)
def test_messages_without_news(payload: bytes) -> None:
    assert of_sender(slow("ssdp", payload)) == []


def test_a_line_that_is_cut_does_not_count() -> None:
    """Half a value would be a false one."""
    before = COUNTERS.malformed["ssdp"]

    assert of_sender(slow("ssdp", NOTIFY[: NOTIFY.index(b"MiniDLNA") + 4])) == [
        ("location", "http://192.168.1.10:49152/desc.xml"),
        ("service", "urn:schemas-upnp-org:device:MediaServer:1"),
        ("device_type", "MediaServer"),
    ]
    assert before + 1 == COUNTERS.malformed["ssdp"]


def test_the_empty_line_may_be_missing_and_lines_may_end_in_lf() -> None:
    before = COUNTERS.malformed["ssdp"]

    assert of_sender(slow("ssdp", NOTIFY)) == of_sender(slow("ssdp", NOTIFY[:-2].replace(b"\r\n", b"\n")))
    assert before == COUNTERS.malformed["ssdp"]


def test_of_repeated_headers_the_first_counts_and_their_number_is_bounded() -> None:
    payload = b"NOTIFY * HTTP/1.1\r\nSERVER: one\r\nSERVER: two\r\n" + b"X: y\r\n" * 100 + b"LOCATION: late\r\n\r\n"

    assert of_sender(slow("ssdp", payload)) == [("server", "one")]


@pytest.mark.parametrize("payload", [b"", b"GET / HTTP/1.1\r\nSERVER: x\r\n\r\n", bytes(200), b"NOTIFY"])
def test_what_is_no_ssdp_is_counted(payload: bytes) -> None:
    before = COUNTERS.malformed["ssdp"]

    assert said(slow("ssdp", payload)) == []
    assert before + 1 == COUNTERS.malformed["ssdp"]


def test_control_characters_in_headers_are_escaped() -> None:
    payload = b"NOTIFY * HTTP/1.1\r\nSERVER: \x1b[2Jclean\x07\r\n\r\n"

    assert of_sender(slow("ssdp", payload)) == [("server", "\\x1b[2Jclean\\x07")]
