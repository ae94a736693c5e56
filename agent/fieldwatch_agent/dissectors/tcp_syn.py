"""Passive fingerprint of a TCP SYN (RFC 9293 section 3.1): how a stack asks for a connection, in words and as a hash.

The signature is words with blanks between, in this order; an absent trait has no word:

| word | of | values |
|---|---|---|
| `ip4` `ip6` | IP version | |
| `ttl64` | TTL or hop limit as it was sent, guessed: the next of 32, 64, 128, 255 | what hops took off is gone |
| `df` | IPv4 flag "do not fragment" | |
| `opt4` | octets of IPv4 options or of IPv6 extension headers | |
| `win=` | window | `max*mss`: the whole segments that fit 64 KiB; `4*mss`: so many; else the number |
| `mss=` | option 2, in classes | `low` up to 536, `link` up to 1460, `high` above |
| `ws=` | option 3: the shift | |
| `opts=` | kinds of the options in their order | letters below; `?253` a kind without letter; `E` ends the list |
| `+cwr+ece` | flags beside SYN, in the order of the header | these ask for ECN (RFC 3168), with `+ae` RFC 9768 |

- One stack gives one signature whatever way its packets go. PPPoE and tunnels lower the MSS, on the host or on the way
  (clamped): hence its classes, and a window in segments of the stated MSS or else of that of Ethernet. Rounding 64 KiB
  down to segments gives another number of them for every MSS: hence `max`.
- Ports, sequence numbers, identifications and values of timestamps are left out: they are of one connection.
  So is data (RFC 7413): it is the program's.
- The fact's value is the signature. It is equal where its hash is, and it tells people what differs where it is not.
  The hash, for lists and searches, stands in the evidence with the TTL and the MSS that came: these vary with the way,
  and would make new values of one device.
- Which system has which signature is not said here.

The headers are walked here: dpkt takes options that contradict themselves for good ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from fieldwatch_ext.engine import Slow
from fieldwatch_ext.syn_traits import traits

from fieldwatch_agent.dissectors.notes import MalformedError, fact, sender
from fieldwatch_agent.facts import Binding, Fact

CONFIDENCE = 80
MAX_REMEMBERED_OCTETS = 128  # of headers: without IPv6 extension headers there are no more
HASH_DIGITS = 12

# RFC 791 section 3.1, RFC 8200 section 3
IP4_HEADER_LEN, IP6_HEADER_LEN = 20, 40
IP4_FLAGS, IP4_TTL, IP4_PROTOCOL = 6, 8, 9
IP4_DF = 0x40
IP6_NEXT_HEADER, IP6_HOP_LIMIT = 6, 7
TCP = 6
EXTENSION_HEADERS = (0, 43, 60, 135, 139, 140)  # length in the second octet, in units of 8 behind the first
FRAGMENT_HEADER, FRAGMENT_HEADER_LEN = 44, 8
MAX_EXTENSION_HEADERS = 8

# RFC 9293 section 3.1; the flag AE is of RFC 9768
TCP_HEADER_LEN = 20
TCP_DATA_OFFSET, TCP_WINDOW = 12, 14  # the low nine bits of the first two octets are flags
FLAGS_MASK = 0x01FF
FIN, SYN, RST, PSH, ACK, URG, ECE, CWR, AE = (1 << bit for bit in range(9))
OTHER_FLAGS = {AE: "ae", CWR: "cwr", ECE: "ece", URG: "urg", PSH: "psh", RST: "rst", FIN: "fin"}

END, NOP, MSS, WINDOW_SCALE, SACK_PERMITTED, TIMESTAMPS = 0, 1, 2, 3, 4, 8
OPTION_LETTERS = {
    END: "E",
    NOP: "N",
    MSS: "M",
    WINDOW_SCALE: "W",
    SACK_PERMITTED: "S",
    TIMESTAMPS: "T",
    19: "D",  # MD5 signature (RFC 2385)
    29: "A",  # authentication (RFC 5925)
    30: "P",  # multipath (RFC 8684)
    34: "F",  # fast open (RFC 7413)
}
OPTION_LEN = {MSS: 4, WINDOW_SCALE: 3, SACK_PERMITTED: 2, TIMESTAMPS: 10}

FIRST_TTLS = (32, 64, 128, 255)
MAX_WINDOW = 0xFFFF
SMALLEST_UNIT = 100  # octets: of a smaller MSS nearly every window is a multiple
LOW_MSS, LINK_MSS = 536, 1460  # RFC 9293 section 3.7.1: the default; Ethernet over IPv4
ETHERNET_MSS = {4: 1460, 6: 1440}


class Syn(NamedTuple):
    """What the headers of one SYN say. Octets: of IPv4 options or IPv6 extension headers."""

    version: int
    ttl: int
    df: bool
    ip_options_octets: int
    flags: int
    window: int
    mss: int | None
    window_scale: int | None
    options: str


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """The fingerprint of the sender's stack."""
    told = _told if len(slow.payload) <= MAX_REMEMBERED_OCTETS else _told.__wrapped__
    text, evidence = told(traits(slow.payload))
    yield fact(slow, sender(slow), "tcp_fingerprint", text, evidence, CONFIDENCE)


@lru_cache(maxsize=256)
def _told(packet: bytes) -> tuple[str, str]:
    """Signature and evidence. The stacks on a network are few, and their SYNs many."""
    syn = read_syn(packet)
    text = signature(syn)
    mss = "no MSS" if syn.mss is None else f"MSS {syn.mss}"
    return text, f"TCP SYN {short_hash(text)}, TTL {syn.ttl}, {mss}"


def read_syn(packet: bytes) -> Syn:
    """The SYN in an IP packet, from its first octet. Raises MalformedError, also where it is no SYN or was cut."""
    version = packet[0] >> 4 if packet else 0
    if version == 4:
        ttl, df, ip_options_octets, offset = _read_ip4(packet)
    elif version == 6:
        ttl, df, ip_options_octets, offset = _read_ip6(packet)
    else:
        raise MalformedError
    if offset + TCP_HEADER_LEN > len(packet):
        raise MalformedError
    header_octets = 4 * (packet[offset + TCP_DATA_OFFSET] >> 4)
    flags = _u16(packet, offset + TCP_DATA_OFFSET) & FLAGS_MASK
    window = _u16(packet, offset + TCP_WINDOW)
    if not TCP_HEADER_LEN <= header_octets <= len(packet) - offset or flags & (SYN | ACK) != SYN:
        raise MalformedError
    mss, scale, options = _read_options(packet[offset + TCP_HEADER_LEN : offset + header_octets])
    return Syn(version, ttl, df, ip_options_octets, flags, window, mss, scale, options)


def _u16(octets: bytes, offset: int) -> int:
    return octets[offset] << 8 | octets[offset + 1]


def _read_ip4(packet: bytes) -> tuple[int, bool, int, int]:
    """TTL, "do not fragment", octets of options, where TCP begins."""
    header_octets = 4 * (packet[0] & 0x0F)
    if not IP4_HEADER_LEN <= header_octets <= len(packet) or packet[IP4_PROTOCOL] != TCP:
        raise MalformedError
    return packet[IP4_TTL], bool(packet[IP4_FLAGS] & IP4_DF), header_octets - IP4_HEADER_LEN, header_octets


def _read_ip6(packet: bytes) -> tuple[int, bool, int, int]:
    """The same of IPv6, where extension headers are in the place of options."""
    if len(packet) < IP6_HEADER_LEN:
        raise MalformedError
    following, offset = packet[IP6_NEXT_HEADER], IP6_HEADER_LEN
    for _ in range(MAX_EXTENSION_HEADERS):
        if following == TCP:
            return packet[IP6_HOP_LIMIT], False, offset - IP6_HEADER_LEN, offset
        if offset + 2 > len(packet) or following not in (*EXTENSION_HEADERS, FRAGMENT_HEADER):
            break
        octets = FRAGMENT_HEADER_LEN if following == FRAGMENT_HEADER else 8 * (1 + packet[offset + 1])
        following, offset = packet[offset], offset + octets
    raise MalformedError


def _read_options(octets: bytes) -> tuple[int | None, int | None, str]:
    """MSS, window scale, and the kinds in their order."""
    mss: int | None = None
    scale: int | None = None
    kinds: list[str] = []
    offset = 0
    while offset < len(octets):
        kind = octets[offset]
        kinds.append(OPTION_LETTERS.get(kind) or f"?{kind}")
        if kind == END:
            break
        if kind == NOP:
            offset += 1
            continue
        length = octets[offset + 1] if offset + 1 < len(octets) else 0
        if length < 2 or offset + length > len(octets) or OPTION_LEN.get(kind, length) != length:
            raise MalformedError
        if kind == MSS:
            mss = _u16(octets, offset + 2)
        elif kind == WINDOW_SCALE:
            scale = octets[offset + 2]
        offset += length
    return mss, scale, "".join(kinds)


def signature(syn: Syn) -> str:
    """One line for people, the same for every SYN of one stack; its form stands above."""
    words = [f"ip{syn.version}", f"ttl{next(ttl for ttl in FIRST_TTLS if syn.ttl <= ttl)}"]
    if syn.df:
        words.append("df")
    if syn.ip_options_octets:
        words.append(f"opt{syn.ip_options_octets}")
    words.append(f"win={window_text(syn.window, syn.mss, ETHERNET_MSS[syn.version])}")
    if syn.mss is not None:
        words.append(f"mss={mss_class(syn.mss)}")
    if syn.window_scale is not None:
        words.append(f"ws={syn.window_scale}")
    if syn.options:
        words.append(f"opts={syn.options}")
    others = "".join(f"+{name}" for bit, name in OTHER_FLAGS.items() if syn.flags & bit)
    if others:
        words.append(others)
    return " ".join(words)


def window_text(window: int, mss: int | None, ethernet_mss: int) -> str:
    """In segments where it is a whole number of them: of the stated MSS, or of Ethernet's where that was lowered."""
    if mss is not None and window:
        units = (mss, ethernet_mss) if mss < ethernet_mss else (mss,)
        for unit in units:
            if unit >= SMALLEST_UNIT and window % unit == 0:
                segments = window // unit
                return "max*mss" if segments == MAX_WINDOW // unit else f"{segments}*mss"
    return str(window)


def mss_class(mss: int) -> str:
    """Coarse on purpose: what ways of less than 1500 octets leave of it is one class."""
    return "low" if mss <= LOW_MSS else "link" if mss <= LINK_MSS else "high"


def short_hash(text: str) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of a signature."""
    return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]
