"""SMB: names and versions in the NTLM messages of a session setup, what SMB 1 adds as text, and what is not read."""

from __future__ import annotations

import struct

import pytest
from fieldwatch_agent.dissectors import smb
from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_agent.facts import Fact
from fieldwatch_ext.engine import Slow
from messages import IP, IP_TEXT, MAC, PEER_MAC, TS_NS
from support.cost import cpu_s

# [MS-NLMP] section 4.2.4.3: the CHALLENGE of a server "Server" in a domain "Domain", version 6.0.6000.
CHALLENGE = bytes.fromhex(
    "4e544c4d53535000 02000000"  # signature, type
    "0c00 0c00 38000000 33828ae2"  # target name: 12 octets at 56; flags: Unicode, version, target information, ...
    "0123456789abcdef 0000000000000000"  # challenge, reserved
    "2400 2400 44000000"  # target information: 36 octets at 68
    "06 00 7017 000000 0f"  # version
    "530065007200760065007200"  # "Server"
    "0200 0c00 44006f006d00610069006e00"  # NetBIOS domain: "Domain"
    "0100 0c00 530065007200760065007200"  # NetBIOS computer: "Server"
    "0000 0000"
)

# [MS-SMB2] sections 2.2.1 and 2.2.6: the response of a session setup, its blob at 72, 104 octets long.
GOLDEN = (
    bytes.fromhex(
        "000000b0 fe534d42 4000 0000 160000c0 0100 0100 01000000 00000000"  # session header; command, flags
        "0100000000000000 00000000 00000000 1900000000000000 00000000000000000000000000000000"  # ids, signature
        "0900 0000 4800 6800"
    )
    + CHALLENGE
)


def frame(payload: bytes) -> Slow:
    return Slow(7, TS_NS, "smb", MAC, PEER_MAC, 0x1064, IP, bytes([192, 168, 1, 20]), 445, 50_000, payload)


def read(payload: bytes) -> tuple[list[tuple[str, str]], bool]:
    """(key, value) of the facts, and whether the messages were whole."""
    found: list[tuple[str, str]] = []
    try:
        for item in smb.dissect(frame(payload)):
            assert isinstance(item, Fact)
            assert item.subject == IP_TEXT
            if item.value:  # `dissect` drops the others
                found.append((item.key, item.value))
    except MalformedError:
        return found, False
    return found, True


def said(payload: bytes) -> list[tuple[str, str]]:
    found, whole = read(payload)
    assert whole
    return found


def session(message: bytes) -> bytes:
    return struct.pack(">I", len(message)) + message


def smb2(command: int, body: bytes, *, response: bool = True) -> bytes:
    return session(struct.pack("<4sHHIHHII", b"\xfeSMB", 64, 0, 0, command, 1, response, 0).ljust(64, b"\0") + body)


def setup2(blob: bytes, *, response: bool = True, length: int | None = None) -> bytes:
    """[MS-SMB2] sections 2.2.5 and 2.2.6."""
    span = struct.pack("<HH", 64 + (8 if response else 24), len(blob) if length is None else length)
    body = struct.pack("<HH", 9, 0) + span if response else struct.pack("<HBBII", 25, 0, 1, 0, 0) + span + bytes(8)
    return smb2(1, body + blob, response=response)


def smb1(command: int, words: bytes, data: bytes, *, reply: bool = True, unicode: bool = True) -> bytes:
    """[MS-CIFS] section 2.2.3."""
    flags = struct.pack("<BH", 0x88 if reply else 0x08, 0xC801 if unicode else 0x4801)
    head = (b"\xffSMB" + bytes([command]) + bytes(4) + flags).ljust(32, b"\0")
    return session(head + bytes([len(words) // 2]) + words + struct.pack("<H", len(data)) + data)


def setup1(blob: bytes, *texts: str, reply: bool = True) -> bytes:
    """[MS-SMB] sections 2.2.4.6.1 and 2.2.4.6.2: with a security blob, and Unicode texts at an even offset."""
    head = struct.pack("<BBH", 0xFF, 0, 0)
    span = struct.pack("<H", len(blob))
    words = head + bytes(2) + span if reply else head + bytes(10) + span + bytes(8)
    start = 32 + 1 + len(words) + 2 + len(blob)
    data = blob + bytes(start % 2) + b"".join(text.encode("utf-16-le") + b"\0\0" for text in texts)
    return smb1(0x73, words, data, reply=reply)


def challenge(*attributes: tuple[int, str], flags: int = 0x628A0205, build: int = 14393) -> bytes:
    """[MS-NLMP] section 2.2.1.2."""
    info = b"".join(struct.pack("<HH", kind, 2 * len(text)) + text.encode("utf-16-le") for kind, text in attributes)
    info += bytes(4)
    head = b"NTLMSSP\0" + struct.pack("<IHHII", 2, 0, 0, 56, flags) + bytes(16)
    return head + struct.pack("<HHI", len(info), len(info), 56) + struct.pack("<BBHI", 10, 0, build, 0x0F000000) + info


def authenticate(domain: str, workstation: str, *, server: str = "Server", unicode: bool = True) -> bytes:
    """[MS-NLMP] section 2.2.1.3: the response repeats what the server said (section 2.2.2.8)."""
    target = struct.pack("<HH", 1, 2 * len(server)) + server.encode("utf-16-le") + bytes(4)
    encoding = "utf-16-le" if unicode else "latin-1"
    parts = [bytes(24), bytes(44) + target, domain.encode(encoding), "person".encode(encoding)]
    parts += [workstation.encode(encoding), bytes(16)]
    offset, fields = 64, b""
    for part in parts:
        fields += struct.pack("<HHI", len(part), len(part), offset)
        offset += len(part)
    return b"NTLMSSP\0" + struct.pack("<I", 3) + fields + struct.pack("<I", 0xE0880204 | unicode) + b"".join(parts)


def test_a_server_names_itself_and_its_domain_before_anybody_logs_on() -> None:
    facts = [item[1:6] for item in smb.dissect(frame(GOLDEN)) if isinstance(item, Fact) and item.value]

    assert facts == [
        ("netbios_name", "Server", "smb", "NTLM challenge NetBIOS computer name", 85),
        ("netbios_group", "Domain", "smb", "NTLM challenge NetBIOS domain", 80),
        ("os", "Windows 6.0.6000", "smb", "NTLM challenge version", 60),
    ]


AUTHENTICATE = setup2(
    b"\xa1\x81\xb0\x30\x81\xad\xa2\x81\xaa\x04\x81\xa7" + authenticate("OFFICE", "DESK-7"), response=False
)
SMB1_RESPONSE = setup1(CHALLENGE, "Windows 5.1", "Windows 2000 LAN Manager")
NEGOTIATED = smb2(0, struct.pack("<HHH", 65, 1, 0x0311) + bytes(59))


@pytest.mark.parametrize(
    "payload", [GOLDEN, AUTHENTICATE, SMB1_RESPONSE, NEGOTIATED], ids=["golden", "authenticate", "smb1", "negotiated"]
)
def test_every_prefix_says_a_part_and_nothing_else(payload: bytes) -> None:
    whole = said(payload)

    assert whole
    for end in range(len(payload)):
        found, complete = read(payload[:end])
        assert set(found) <= set(whole)
        assert not complete or end >= 68 + 6  # of a negotiation the first octets are enough


def test_a_client_names_itself_and_not_who_logs_on() -> None:
    """The domain is that of the account: weaker than a server's own word."""
    facts = [item[1:6] for item in smb.dissect(frame(AUTHENTICATE)) if isinstance(item, Fact)]

    assert facts == [
        ("netbios_name", "DESK-7", "smb", "NTLM authenticate workstation", 75),
        ("netbios_group", "OFFICE", "smb", "NTLM authenticate domain of the account", 40),
    ]


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (authenticate("SERVER", "DESK-7"), [("netbios_name", "DESK-7")]),  # an account of the server itself
        (authenticate("DESK-7", "DESK-7"), [("netbios_name", "DESK-7")]),  # of the client
        (authenticate("office.example", "DESK-7"), [("netbios_name", "DESK-7"), ("dns_domain", "office.example")]),
        (authenticate("OFFICE", "DESK-7", unicode=False), [("netbios_name", "DESK-7"), ("netbios_group", "OFFICE")]),
        (authenticate("", ""), []),  # anonymous
    ],
)
def test_domains_of_accounts(message: bytes, expected: list[tuple[str, str]]) -> None:
    assert expected == said(setup2(message, response=False))


IN_DOMAIN = ((2, "FOO"), (1, "AD"), (4, "foo.test"), (3, "AD.foo.test"), (5, "foo.test"))
ALONE = ((2, "NAS"), (1, "NAS"), (4, "nas"), (3, "nas"))


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            challenge(*IN_DOMAIN),
            [
                ("hostname", "AD.foo.test"),
                ("netbios_name", "AD"),
                ("netbios_group", "FOO"),
                ("dns_domain", "foo.test"),
                ("os", "Windows 10.0.14393"),
            ],
        ),
        (challenge(*ALONE, build=0), [("hostname", "nas"), ("netbios_name", "NAS")]),  # Samba: no domain, no build
        (challenge(*ALONE, flags=0x608A0205), [("hostname", "nas"), ("netbios_name", "NAS")]),  # has no version
        (challenge(), [("os", "Windows 10.0.14393")]),
    ],
)
def test_what_servers_say(message: bytes, expected: list[tuple[str, str]]) -> None:
    assert expected == said(setup2(message)) == said(setup1(message))


def test_smb1_tells_what_both_sides_run() -> None:
    """[MS-CIFS] section 2.2.4.53."""
    request = setup1(b"NTLMSSP\0\1\0\0\0" + bytes(20), "Mac OS X 10.10", "SMBFS 3.0.0", reply=False)

    assert said(SMB1_RESPONSE)[-2:] == [("os", "Windows 5.1"), ("server", "Windows 2000 LAN Manager")]
    assert said(request) == [("os", "Mac OS X 10.10"), ("user_agent", "SMBFS 3.0.0")]


def test_smb1_without_a_security_blob() -> None:
    """Passwords of two lengths, then the account, its domain and the texts; here without Unicode."""
    words = struct.pack("<BBHHHHIHHII", 0xFF, 0, 0, 4356, 10, 0, 0, 3, 2, 0, 0x40)
    request = smb1(0x73, words, b"pwdpwPERSON\0OFFICE\0Windows 4.0\0Windows 4.0\0", reply=False, unicode=False)
    response = smb1(0x73, struct.pack("<BBHH", 0xFF, 0, 0, 0), b"Unix\0Samba 3.6.3\0OFFICE\0", unicode=False)

    assert said(request) == [("os", "Windows 4.0"), ("user_agent", "Windows 4.0")]
    assert said(response) == [("os", "Unix"), ("server", "Samba 3.6.3")]


def test_samba_is_not_the_windows_that_it_pretends_to_be() -> None:
    assert said(setup1(b"", "Windows 6.1", "Samba 4.7.4")) == [("server", "Samba 4.7.4")]


def test_the_last_text_may_lack_its_end() -> None:
    """Some systems count one octet too few."""
    short = bytearray(SMB1_RESPONSE[:-1])
    short[3] -= 1
    count = 4 + 32 + 1 + 8
    short[count : count + 2] = (int.from_bytes(short[count : count + 2], "little") - 1).to_bytes(2, "little")

    assert said(bytes(short)) == said(SMB1_RESPONSE)


@pytest.mark.parametrize(
    ("dialect", "expected"), [(0x0202, "2.0.2"), (0x0210, "2.1"), (0x0302, "3.0.2"), (0x0311, "3.1.1"), (0x02FF, "")]
)
def test_the_dialect_that_a_server_chooses(dialect: int, expected: str) -> None:
    """[MS-SMB2] section 2.2.4; 2FF means that the client has to ask again."""
    payload = smb2(0, struct.pack("<HHH", 65, 1, dialect) + bytes(59))

    assert said(payload) == ([("smb_dialect", expected)] if expected else [])


def test_a_server_that_still_speaks_smb1() -> None:
    assert said(smb1(0x72, bytes(34), b"")) == [("smb_dialect", "1")]


def test_messages_that_share_a_segment() -> None:
    assert said(NEGOTIATED + GOLDEN) == said(NEGOTIATED) + said(GOLDEN)


@pytest.mark.parametrize(
    "payload",
    [
        setup2(CHALLENGE, response=False),  # of the wrong side
        setup2(authenticate("OFFICE", "DESK-7")),
        setup2(b"NTLMSSP\0\1\0\0\0" + bytes(24), response=False),
        setup2(b"\x60\x82\x01\x00" + bytes(300), response=False),  # Kerberos
        setup2(bytes(smb.MAX_WRAPPING) + CHALLENGE),
        smb2(0, bytes(36), response=False),
        smb2(0, struct.pack("<HHHH", 9, 0, 0, 0)),  # an error
        smb2(1, struct.pack("<HHHHB", 9, 0, 0, 0, 0)),
        smb2(9, bytes(48) + CHALLENGE, response=False),  # a file that holds such a message
        smb1(0x72, struct.pack("<H", 0), b""),  # the core dialect
        smb1(0x73, b"", b""),  # an error
        smb1(0x73, bytes(20), CHALLENGE),
        smb2(8, bytes(48))[:-20],  # a cut message that is not read
    ],
)
def test_what_says_nothing(payload: bytes) -> None:
    assert said(payload) == []


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", []),
        (b"\0\0\0\0", []),
        (b"\x81\0\0\x44" + bytes(68), []),  # a session request
        (session(b"\xfdSMB" + bytes(60)), []),  # encrypted
        (session(b"\xfeSMB"), []),
        (setup2(CHALLENGE, length=200), said(GOLDEN)),  # the blob ends before its length
        (setup2(CHALLENGE, length=40), []),
        (setup2(CHALLENGE[:40] + b"\x25" + CHALLENGE[41:]), [("os", "Windows 6.0.6000")]),  # information behind the end
        (setup2(CHALLENGE[:70] + b"\xff" + CHALLENGE[71:]), [("os", "Windows 6.0.6000")]),  # a name longer than it
        (setup2(CHALLENGE[:-4] + b"\x09\0\0\0"), said(GOLDEN)),  # it does not end
        (
            setup2(authenticate("OFFICE", "DESK-7").replace(b"\x0c\0\x0c\0", b"\xff\0\xff\0", 1), response=False),
            [("netbios_name", "DESK-7")],
        ),
        (smb1(0x73, struct.pack("<BBHHH", 0xFF, 0, 0, 0, 500), CHALLENGE), []),  # a blob longer than the octets
    ],
)
def test_lengths_that_lie(payload: bytes, expected: list[tuple[str, str]]) -> None:
    assert read(payload) == (expected, False)


@pytest.mark.parametrize(
    "payload",
    [
        setup2(challenge(*[(3, "")] * 16_000)),
        setup1(b"", "a" * 30_000, "b"),
        setup2(b"NTLMSSP" * 9_000),
        session(b"\xfeSMB") * 8_000,
    ],
    ids=["attributes", "texts", "signatures", "messages"],
)
def test_the_costliest_messages_cost_little(payload: bytes) -> None:
    assert cpu_s(lambda: read(payload)) < 0.02
