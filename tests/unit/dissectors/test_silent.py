"""What the kernel withholds because it tells nothing, or nothing new: its dissector would have found no fact either."""

from __future__ import annotations

import random
import struct

import pytest
from fieldwatch_agent.dissectors import dissect
from fieldwatch_agent.facts import Fact
from fieldwatch_ext.engine import Slow
from messages import IP, IP6, address, dhcp, dns, name, option, pointer, question, record, slow, text
from support.engine_compare import Result, run
from support.frames import ACK, ethernet, ipv4, tcp
from support.hostile import on_the_wire
from test_dissect import GOLDEN
from test_igmp import MLD1_REPORT, MLD2_REPORT, V2_REPORT, V3_REPORT
from test_igmp import record as member
from test_igmp import report as members
from test_smb import CHALLENGE, NEGOTIATED, setup2, smb1, smb2
from test_wsd import CAMERA, envelope

SECOND = 1_000_000_000
PROTOCOLS = ("dhcp", "mdns", "llmnr", "nbns", "dns", "ssdp", "http", "smb", "wsd", "igmp")
ALIAS = record(name("www.example.com"), 5, name("cdn.example.net"))
ADDRESS = address("cdn.example.net", "203.0.113.5", klass=1)
SEARCH = b'M-SEARCH * HTTP/1.1\r\nHOST: 239.255.255.250:1900\r\nMAN: "ssdp:discover"\r\nST: ssdp:all\r\n'
RESPONSE = b"HTTP/1.1 200 OK\r\n"
REQUEST = b"GET / HTTP/1.1\r\n"
ALL_ROUTERS6 = bytes.fromhex("ff02") + bytes(13) + b"\x16"
NODE = "ff02::1:ff00:1"


def mld(message: bytes) -> Slow:
    return slow("igmp", message, src_ip=IP6, dst_ip=ALL_ROUTERS6)


SILENT = {
    "lease asked for": slow("dhcp", dhcp(option(53, b"\1") + option(50, IP) + b"\0\0\xff" + option(12, b"x"))),
    "lease without an end": slow("dhcp", dhcp(option(53, b"\1"))),
    "lease refused": slow("dhcp", dhcp(option(53, b"\6") + option(56, b"no") + b"\xff", op=2)),
    "no such name": slow("dns", dns(flags=0x8183, answers=(ADDRESS,))),
    "no answer": slow("dns", dns(flags=0x8180, questions=(question(name("nas")),), authority=(ADDRESS,))),
    "text alone": slow("dns", dns(flags=0x8180, questions=(question(name("x")),), answers=(ALIAS, text("x", b"y")))),
    "mDNS query": slow("mdns", dns(flags=0, questions=(question(name("a")),), answers=(pointer("a", "b"),))),
    "mDNS of another kind": slow("mdns", dns(flags=0xA400, answers=(ADDRESS,))),
    "mDNS without records": slow("mdns", dns(authority=(ADDRESS,))),
    "LLMNR query": slow("llmnr", dns(flags=0, questions=(question(name("nas")),))),
    "LLMNR refusal": slow("llmnr", dns(flags=0x8002, answers=(ADDRESS,))),
    "NBNS query": slow("nbns", dns(flags=0x0110, questions=(question(name("nas")),))),
    "NBNS release": slow("nbns", dns(flags=0x3000, additional=(ADDRESS,))),
    "NBNS refusal": slow("nbns", dns(flags=0xAD86, answers=(ADDRESS,))),
    "search": slow("ssdp", SEARCH + b"\r\n"),
    "search, a line cut": slow("ssdp", SEARCH + b"USER-AGENT: x"),
    "search, behind the head": slow("ssdp", SEARCH + b"\r\nUSER-AGENT: x\r\n"),
    "search, line 33": slow("ssdp", SEARCH + b"A: b\r\n" * 29 + b"USER-AGENT: x\r\n"),
    "response": slow("http", RESPONSE + b"Date: x\r\nSet-Cookie: Server\r\n\r\nServer: x\r\n"),
    "response, folded": slow("http", RESPONSE + b"Date: x\r\n Server: x\r\n\r\n"),
    "response, blank line": slow("http", RESPONSE + b" \t\r\nServer: x\r\n\r\n"),
    "response of a cache": slow("http", RESPONSE + b"Server: x\r\nvIA : 1.1 cache\r\n\r\n"),
    "response without a status": slow("http", b"HTTP/1.1\r\nServer: x\r\n\r\n"),
    "request": slow("http", REQUEST + b"Accept: */*\r\n\r\n"),
    "request that is cut": slow("http", b"GET /index.html HTTP/1.1"),
    "request without a version": slow("http", b"GET /\r\nHost: nas\r\n\r\n"),
    "request passed on to an address": slow("http", REQUEST + b"Via: x\r\nUser-Agent: x\r\n\r\n"),
    "request of a proxy": slow("http", b"GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n"),
    "SMB 1 dialects": slow("smb", smb1(0x72, b"", b"\x02NT LM 0.12\0", reply=False)),
    "SMB 1 tree": slow("smb", smb1(0x75, b"", b"")),
    "SMB 2 dialects": slow("smb", smb2(0, bytes(40), response=False)),
    "SMB 2 files": slow("smb", smb2(5, bytes(40)) + smb2(0x0101, bytes(40))),
    "SMB 2 dialect to be asked for again": slow("smb", smb2(0, struct.pack("<HHH", 65, 1, 0x02FF) + bytes(58))),
    "SMB, cut in its header": slow("smb", smb2(0, b"")[:60]),
    "log-on begun": slow("smb", setup2(b"\x60NTLMSSP\0\1\0\0\0" + bytes(20), response=False)),
    "Kerberos": slow("smb", setup2(b"\x60" + bytes(40))),
    "probe for devices": slow("wsd", envelope("<d:Probe><d:Types>wsdp:Device</d:Types></d:Probe>")),
    "group of the link": slow("igmp", V2_REPORT[:4] + bytes([224, 0, 0, 251])),
    "group left": slow("igmp", b"\x17" + V2_REPORT[1:]),
    "groups of the link": slow("igmp", members(member(4, "224.0.0.251"), member(2, "224.0.0.252", 2))),
    "groups left": slow("igmp", members(member(3, "239.255.255.250"), member(6, "239.255.255.250", 1))),
    "more groups than are looked at": slow(
        "igmp", members(*[member(4, "224.0.0.251")] * 256, member(4, "239.255.255.250"))
    ),
    "group of a node": mld(MLD1_REPORT[:8] + bytes.fromhex("ff0200000000000000000001ff000001")),
    "groups of a node": mld(members(member(4, NODE), member(4, "ff02::1"))),
    "group left, MLD": mld(b"\x84" + MLD1_REPORT[1:]),
    "no XML": slow("wsd", b"GET / HTTP/1.1\r\n\r\n"),
}
TELLING = {
    "lease in use": slow("dhcp", dhcp(option(53, b"\3") + b"\xff", ciaddr=IP)),
    "lease given": slow("dhcp", dhcp(option(53, b"\5") + b"\xff", op=2, yiaddr=IP)),
    "overloaded": slow("dhcp", dhcp(option(53, b"\1") + option(52, b"\1") + b"\xff", file=option(12, b"x") + b"\xff")),
    "address": slow("dns", dns(flags=0x8180, questions=(question(name("www.example.com")),), answers=(ALIAS, ADDRESS))),
    "name of an address": slow("dns", dns(flags=0x8180, answers=(pointer("5.113.0.203.in-addr.arpa", "www"),))),
    "probe": slow("mdns", dns(flags=0, authority=(address("nas.local", "192.168.1.10"),))),
    "additional": slow("mdns", dns(additional=(address("nas.local", "192.168.1.10"),))),
    "search by somebody": slow("ssdp", SEARCH + b"uSER-AGENT : x\r\n\r\n"),
    "response": slow("http", RESPONSE + b"\x0b sERVER : x\n"),
    "response by way of nothing": slow("http", RESPONSE + b"Server: x\r\nViaduct: x\r\n Via: x\r\n\r\nVia: x\r\n"),
    "request": slow("http", REQUEST + b"Host: nas\r\n\r\n"),
    "request passed on": slow("http", REQUEST + b"Via: x\r\nHost: nas\r\n\r\n"),
    "request of a proxy": slow("http", b"GET http://x/ HTTP/1.1\r\nUser-Agent: x\r\n\r\n"),
    "SMB": slow("smb", smb2(5, bytes(40)) + NEGOTIATED),
    "group": slow("igmp", V2_REPORT),
    "groups": slow("igmp", V3_REPORT),
    "group behind others": slow(
        "igmp", members(member(4, "224.0.0.251", 2), member(3, "239.1.1.1"), member(1, "239.255.255.250", 1))
    ),
    "querier": slow("igmp", b"\x11" + bytes(7)),
    "group, MLD": mld(MLD1_REPORT),
    "groups, MLD": mld(MLD2_REPORT),
    "group behind a node's": mld(members(member(4, NODE), member(4, "ff02::fb"))),
    "querier, MLD": mld(b"\x82" + bytes(23)),
    "log-on begun, and challenged": slow("smb", setup2(b"NTLMSSP\0\1\0\0\0", response=False) + setup2(CHALLENGE)),
    "device that goes": slow("wsd", envelope(f"<d:Bye>{CAMERA}</d:Bye>")),
    "devices found": slow(
        "wsd", envelope(f"<d:ResolveMatches><d:ResolveMatch>{CAMERA}</d:ResolveMatch></d:ResolveMatches>")
    ),
}
MESSAGES = [*SILENT.values(), *TELLING.values(), *(message for message in GOLDEN if message.protocol in PROTOCOLS)]


def alone(message: Slow) -> Result:
    octets = on_the_wire(message)
    return run([(0, octets, len(octets))])


def facts(message: Slow) -> set[tuple[str, str, str, str, int]]:
    return {
        (item.subject, item.key, item.value, item.evidence, item.confidence)
        for item in dissect(message)
        if isinstance(item, Fact)
    }


@pytest.mark.parametrize("message", SILENT.values(), ids=SILENT)
def test_what_tells_nothing_is_counted(message: Slow) -> None:
    result = alone(message)

    assert (result.slow, result.counters.slow_silent, result.counters.slow_frames) == ([], 1, 0)
    assert dissect(message) == []


@pytest.mark.parametrize("message", TELLING.values(), ids=TELLING)
def test_what_tells_something_is_handed_over(message: Slow) -> None:
    assert [handed.payload for handed in alone(message).slow] == [message.payload]
    assert dissect(message)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.protocol)
def test_what_is_damaged_and_withheld_would_have_told_nothing(message: Slow) -> None:
    """Cut at every octet, and with octets changed: the kernel never withholds what gives a fact."""
    chance = random.Random(1)
    whole = message.payload
    damaged = [whole[:end] for end in range(len(whole))]
    damaged += [whole[:at] + chance.randbytes(1) + whole[at + 1 :] for at in chance.choices(range(len(whole)), k=200)]
    withheld = []
    for payload in damaged:
        changed = message._replace(payload=payload)
        if payload and alone(changed).counters.slow_silent:
            withheld.append(changed)

    assert [dissect(changed) for changed in withheld] == [[]] * len(withheld)


@pytest.mark.parametrize(
    "payload",
    [b"\xc0" * 13, b"\xc0\x0c" * 600, b"\x3f" + b"a" * 63, b"\0" * 1400],
    ids=["cut", "loop", "label", "roots"],
)
def test_hostile_names_are_walked_once(payload: bytes) -> None:
    """Counts that nothing backs, names without an end: bounded, and left to the dissector."""
    message = slow("dns", struct.pack(">6H", 0, 0x8180, 100, 100, 0, 0) + payload)

    assert alone(message).counters.slow_silent == 0


def test_who_sends_from_the_port_of_https_is_a_server() -> None:
    """Its packets open under other keys than a client's; on other ports it is left to the dissector."""
    (golden,) = (message for message in GOLDEN if message.protocol == "quic")
    ports = [(443, 50_000), (443, 443), (50_000, 443), (4433, 50_000)]
    sent = [golden._replace(src_port=source, dst_port=destination) for source, destination in ports]

    assert [alone(message).counters.slow_silent for message in sent] == [1, 0, 0, 0]


def conversations(*heads: bytes, to: str = "10.0.0.2") -> Result:
    """Each head begins a connection of the same host."""
    frames = [ethernet(ipv4("10.0.0.1", to, tcp(40_000 + n, 80, ACK, head, seq=1))) for n, head in enumerate(heads)]
    return run([(n * SECOND, frame, len(frame)) for n, frame in enumerate(frames)])


def test_heads_that_say_the_same_again_are_spared() -> None:
    """Paths, cookies and the order of other lines make no news."""
    first = b"GET /a HTTP/1.1\r\nHost: nas\r\nCookie: 1\r\nUser-Agent: curl\r\n\r\n"
    second = b"POST /b HTTP/1.0\nAccept: */*\r\n Host: x\nHost: nas\r\nUser-Agent: curl\r\nCookie: 2\n"

    result = conversations(first, second)

    assert ([frame.number for frame in result.slow], result.counters.slow_repeated) == ([1], 1)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (REQUEST + b"Host: a\r\n\r\n", REQUEST + b"Host: b\r\n\r\n"),
        (REQUEST + b"User-Agent: a\r\n\r\n", REQUEST + b"User-Agent: a\r\nVia: b\r\n\r\n"),
        (REQUEST + b"Host: a\r\nUser-Agent: b\r\n\r\n", b"GET http://a/ HTTP/1.1\r\nHost: a\r\nUser-Agent: b\r\n\r\n"),
        (REQUEST + b"Host: a\r\nUser-Agent: b\r\n", REQUEST + b"Host: a\r\nUser-Agent: b\r\nUser-Agent: c"),
        (RESPONSE + b"Server: a\r\n\r\n", b"HTTP/1.1 2 OK\r\nServer: a\r\n\r\n"),
        (b"GET  HTTP/1.1\r\nHost: a\r\n\r\n", REQUEST + b"Host: a\r\n\r\n"),
        (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", REQUEST + b"Host: a\r\n\r\n"),
    ],
)
def test_heads_are_the_same_only_where_their_facts_are(first: bytes, second: bytes) -> None:
    handed = {frame.number for frame in conversations(first, second).slow}
    told = [facts(slow("http", head)) for head in (first, second)]

    assert 2 in handed or told[1] <= told[0]


def test_the_same_request_to_another_server_is_news() -> None:
    """It says what that server is called."""
    head = REQUEST + b"Host: nas\r\n\r\n"
    frames = [ethernet(ipv4("10.0.0.1", to, tcp(40_000, 80, ACK, head, seq=1))) for to in ("10.0.0.2", "10.0.0.3")]

    assert len(run([(n, frame, len(frame)) for n, frame in enumerate(frames)]).slow) == 2
