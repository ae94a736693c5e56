"""mDNS: whom host names belong to, and what services say of their host."""

from __future__ import annotations

import pytest
from fieldwatch_agent.dissectors import COUNTERS, MAX_FACTS, mdns
from messages import (
    IP_TEXT,
    MAC_TEXT,
    address,
    dns,
    name,
    of_sender,
    pointer,
    question,
    record,
    said,
    service,
    slow,
    text,
)


def test_a_host_announces_itself() -> None:
    """One fact for all its addresses: they are those of the sender's name."""
    payload = dns(
        answers=(
            address("printer.local", IP_TEXT),
            address("printer.local", "fe80::1"),
            pointer("10.1.168.192.in-addr.arpa", "printer.local"),
        )
    )

    assert said(slow("mdns", payload)) == [(MAC_TEXT, "hostname", "printer")]


def test_services_come_with_type_name_and_model() -> None:
    payload = dns(
        answers=(
            pointer("_services._dns-sd._udp.local", "_ipp._tcp.local"),
            pointer("_ipp._tcp.local", "Front Desk._ipp._tcp.local"),
            service("Front Desk._ipp._tcp.local", "printer.local", 631),
            text("Front Desk._ipp._tcp.local", b"txtvers=1", b"ty=LaserJet 9", b"usb_MFG=HP", b"note=2nd floor"),
        ),
        additional=(address("printer.local", IP_TEXT),),
    )

    expected = [
        ("service", "_ipp._tcp"),
        ("hostname", "printer"),
        ("friendly_name", "Front Desk"),
        ("model", "LaserJet 9"),
        ("manufacturer", "HP"),
    ]
    assert expected == of_sender(slow("mdns", payload))


def test_the_name_of_a_device_info_record_and_of_cast_is_the_one_people_gave() -> None:
    payload = dns(
        answers=(
            text("Kitchen._device-info._tcp.local", b"model=Mac14,2"),
            text("Chromecast-0123._googlecast._tcp.local", b"md=Chromecast", b"fn=Living Room"),
        )
    )

    expected = [
        ("friendly_name", "Kitchen"),
        ("model", "Mac14,2"),
        ("model", "Chromecast"),
        ("friendly_name", "Living Room"),
    ]
    assert expected == of_sender(slow("mdns", payload))


def test_the_mac_before_an_airplay_name_is_cut() -> None:
    payload = dns(answers=(service("020000000001@Bath._raop._tcp.local", "bath.local", 7000),))

    assert ("friendly_name", "Bath") in of_sender(slow("mdns", payload))


def test_a_dot_in_an_instance_name_stays() -> None:
    owner = b"\x0bMr. X v2.0/\x05_http\x04_tcp\x05local\0"
    payload = dns(answers=(record(owner, 33, bytes(4) + b"\0\x50" + name("x.local")),))

    assert ("friendly_name", "Mr. X v2.0/") in of_sender(slow("mdns", payload))


def test_names_for_other_addresses_are_theirs_who_hold_them() -> None:
    """A sleep proxy answers for hosts that sleep."""
    payload = dns(
        answers=(
            service("Box._smb._tcp.local", "box.local", 445),
            address("box.local", "192.168.1.50"),
            address("proxy.local", IP_TEXT),
        )
    )

    expected = {
        ("192.168.1.50", "hostname", "box"),
        ("192.168.1.50", "service", "_smb._tcp"),
        ("192.168.1.50", "friendly_name", "Box"),
        (MAC_TEXT, "hostname", "proxy"),
    }
    assert expected == set(said(slow("mdns", payload)))


def test_known_answers_in_a_query_are_somebody_elses() -> None:
    payload = dns(
        flags=0,
        questions=(question(name("_smb._tcp.local"), 12),),
        answers=(pointer("_smb._tcp.local", "A._smb._tcp.local"),),
    )

    assert said(slow("mdns", payload)) == []


@pytest.mark.parametrize("flags", [0x8403, 0xAC00])
def test_errors_and_other_opcodes_are_ignored(flags: int) -> None:
    """RFC 6762 sections 18.3, 18.11."""
    before = COUNTERS.malformed["mdns"]

    assert said(slow("mdns", dns(flags=flags, answers=(address("x.local", IP_TEXT),)))) == []
    assert before == COUNTERS.malformed["mdns"]


def test_a_probe_names_what_its_sender_wants() -> None:
    """RFC 6762 section 8.2, with less confidence than an answer."""
    payload = dns(flags=0, questions=(question(name("new.local")),), authority=(address("new.local", IP_TEXT),))
    facts = list(mdns.dissect(slow("mdns", payload)))

    assert [(f.key, f.value, f.evidence, f.confidence) for f in facts] == [("hostname", "new", "mDNS probe A", 60)]


def test_a_goodbye_still_names_the_host_but_its_services_have_gone() -> None:
    payload = dns(
        answers=(
            address("bye.local", IP_TEXT, ttl=0),
            pointer("_ssh._tcp.local", "bye._ssh._tcp.local", ttl=0),
            service("bye._ssh._tcp.local", "bye.local", ttl=0),
            text("bye._ssh._tcp.local", b"model=x", ttl=0),
        )
    )
    facts = list(mdns.dissect(slow("mdns", payload)))

    assert [(f.key, f.value, f.evidence, f.confidence) for f in facts] == [("hostname", "bye", "mDNS goodbye A", 60)]


def test_the_surer_of_two_records_counts() -> None:
    """The target of a service without its address, then the address."""
    payload = dns(answers=(pointer("1.1.168.192.in-addr.arpa", "x.local"), address("x.local", IP_TEXT)))

    assert ("hostname", "x") in of_sender(slow("mdns", payload))


@pytest.mark.parametrize(
    ("dst_mac", "dst_ip", "src_ip", "expected"),
    [
        ("01005e0000fb", [224, 0, 0, 251], [203, 0, 113, 9], MAC_TEXT),  # link scope: nothing routes it
        ("020000000002", [192, 168, 1, 20], [192, 168, 1, 10], "192.168.1.10"),  # unicast may come through a router
        ("020000000002", [192, 168, 1, 20], [203, 0, 113, 9], "203.0.113.9"),
    ],
)
def test_the_source_mac_is_the_subject_only_on_the_link(
    dst_mac: str, dst_ip: list[int], src_ip: list[int], expected: str
) -> None:
    payload = dns(answers=(text("K._device-info._tcp.local", b"model=m"),))
    frame = slow("mdns", payload, dst_mac=bytes.fromhex(dst_mac), dst_ip=bytes(dst_ip), src_ip=bytes(src_ip))

    assert (expected, "model", "m") in said(frame)


def test_octets_that_are_no_utf8_are_replaced_and_the_rest_is_read() -> None:
    payload = dns(
        answers=(
            record(b"\x04Zur\xfc\x05local\0", 1, bytes([192, 168, 1, 10])),
            text("a._device-info._tcp.local", b"model=m"),
        )
    )

    assert ("hostname", "Zur\ufffd") in of_sender(slow("mdns", payload))
    assert ("model", "m") in of_sender(slow("mdns", payload))


def test_a_record_that_is_cut_takes_nothing_with_it() -> None:
    before = COUNTERS.malformed["mdns"]
    payload = dns(answers=(address("x.local", IP_TEXT), address("y.local", IP_TEXT)))[:-2]

    assert of_sender(slow("mdns", payload)) == [("hostname", "x")]
    assert before + 1 == COUNTERS.malformed["mdns"]


def test_one_message_yields_at_most_so_many_facts() -> None:
    before = COUNTERS.capped["mdns"]
    payload = dns(answers=tuple(address(f"h{i}.local", f"10.0.0.{i}") for i in range(1, 100)))

    assert len(said(slow("mdns", payload))) == MAX_FACTS
    assert before + 1 == COUNTERS.capped["mdns"]
