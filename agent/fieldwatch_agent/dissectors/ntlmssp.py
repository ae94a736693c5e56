"""NTLM messages ([MS-NLMP] section 2.2.1): what the two sides of a log-on say of themselves.

- A server's CHALLENGE tells its names and version before anybody has logged on; a client's AUTHENTICATE its own name.
- The user's name, proof and keys are not taken: they are a person's, and say nothing of a device. In the proof stands
  once more what the server is called: an account of that name's domain is the server's own.
- Texts stand behind the fixed part, where fields of length and offset point to; offsets count from the signature. A
  field that points outside is empty, the others stand.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fieldwatch_agent.dissectors.notes import MalformedError

SIGNATURE = b"NTLMSSP\0"
MAX_PAIRS = 32  # of a target information; ten kinds are known
TYPE_CHALLENGE, TYPE_AUTHENTICATE = 2, 3

# CHALLENGE (section 2.2.1.2)
CHALLENGE_FLAGS = 20
CHALLENGE_TARGET_INFO = 40
CHALLENGE_VERSION = 48
CHALLENGE_MIN_LEN = 48

# AUTHENTICATE (section 2.2.1.3)
AUTHENTICATE_PROOF = 20  # the response to the challenge
AUTHENTICATE_DOMAIN = 28
AUTHENTICATE_WORKSTATION = 44
AUTHENTICATE_FLAGS = 60
AUTHENTICATE_MIN_LEN = 64
PROOF_TARGET_INFO = 44  # what the server said, repeated (section 2.2.2.8: behind the proof and 28 octets)

# Flags (section 2.2.2.5)
NEGOTIATE_UNICODE = 0x00000001
NEGOTIATE_VERSION = 0x02000000

# Attributes of the target information (section 2.2.2.1)
END, NETBIOS_COMPUTER, NETBIOS_DOMAIN, DNS_COMPUTER, DNS_DOMAIN = range(5)

_FIELD = struct.Struct("<HHI")  # length, space, offset
_PAIR = struct.Struct("<HH")
_VERSION = struct.Struct("<BBH")
_U32 = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Challenge:
    """What a server says of itself; what it does not say is empty. `complete` is False where something was cut."""

    netbios_name: str
    netbios_domain: str
    dns_name: str
    dns_domain: str
    version: str  # "10.0.14393"
    complete: bool


@dataclass(frozen=True, slots=True)
class Authenticate:
    """What a client says of itself: its name, and the domain of the account, empty where that is the server's own."""

    workstation: str
    domain: str
    complete: bool


def read(data: bytes) -> Challenge | Authenticate | None:
    """The message that begins at the signature; None for one of another type. Raises MalformedError."""
    kind = int.from_bytes(data[len(SIGNATURE) : len(SIGNATURE) + 4], "little")
    if kind == TYPE_CHALLENGE:
        return _challenge(data)
    if kind == TYPE_AUTHENTICATE:
        return _authenticate(data)
    return None


def _challenge(data: bytes) -> Challenge:
    if len(data) < CHALLENGE_MIN_LEN:
        raise MalformedError
    (flags,) = _U32.unpack_from(data, CHALLENGE_FLAGS)
    info, complete = _field(data, CHALLENGE_TARGET_INFO)
    names, ended = _attributes(info)
    version = ""
    if flags & NEGOTIATE_VERSION and len(data) >= CHALLENGE_VERSION + _VERSION.size:
        major, minor, build = _VERSION.unpack_from(data, CHALLENGE_VERSION)
        version = (
            f"{major}.{minor}.{build}" if build else ""
        )  # others than Windows fill in what they like, and no build
    return Challenge(
        names.get(NETBIOS_COMPUTER, ""),
        names.get(NETBIOS_DOMAIN, ""),
        names.get(DNS_COMPUTER, ""),
        names.get(DNS_DOMAIN, ""),
        version,
        complete and (ended or not info),
    )


def _authenticate(data: bytes) -> Authenticate:
    if len(data) < AUTHENTICATE_MIN_LEN:
        raise MalformedError
    (flags,) = _U32.unpack_from(data, AUTHENTICATE_FLAGS)
    encoding = "utf-16-le" if flags & NEGOTIATE_UNICODE else "latin-1"
    workstation, whole_workstation = _field(data, AUTHENTICATE_WORKSTATION)
    domain, whole_domain = _field(data, AUTHENTICATE_DOMAIN)
    proof, whole_proof = _field(data, AUTHENTICATE_PROOF)
    server = _attributes(proof[PROOF_TARGET_INFO:])[0].get(NETBIOS_COMPUTER, "")
    account_domain = domain.decode(encoding, "replace")
    if not whole_proof or account_domain.upper() == server.upper():
        account_domain = ""
    return Authenticate(
        workstation.decode(encoding, "replace"), account_domain, whole_workstation and whole_domain and whole_proof
    )


def _field(data: bytes, at: int) -> tuple[bytes, bool]:
    """What a field points to, and whether all of it is there; nothing where it is not."""
    length, _, offset = _FIELD.unpack_from(data, at)
    if offset + length > len(data):
        return b"", False
    return data[offset : offset + length], True


def _attributes(info: bytes) -> tuple[dict[int, str], bool]:
    """{attribute: text} of the names in a target information, the first of each, and whether its end was reached."""
    found: dict[int, str] = {}
    offset = 0
    for _ in range(MAX_PAIRS):
        if offset + _PAIR.size > len(info):
            return found, False
        kind, length = _PAIR.unpack_from(info, offset)
        if kind == END:
            return found, True
        offset += _PAIR.size
        if offset + length > len(info):
            return found, False
        if kind in (NETBIOS_COMPUTER, NETBIOS_DOMAIN, DNS_COMPUTER, DNS_DOMAIN):
            found.setdefault(kind, info[offset : offset + length].decode("utf-16-le", "replace"))
        offset += length
    return found, False
