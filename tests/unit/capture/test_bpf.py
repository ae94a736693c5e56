"""The filter machine agrees with libpcap, on the filters that people write and on programs that nobody would."""

from __future__ import annotations

import ctypes
import ctypes.util
import random
import struct
from functools import cache

import pcapy
import pytest
from fieldwatch_ext.bpf import Program
from fieldwatch_ext.errors import FilterError
from hypothesis import given, settings
from hypothesis import strategies as st

Instruction = tuple[int, int, int, int]

FILTERS = [
    "",
    "arp",
    "ip",
    "ip6",
    "tcp",
    "udp",
    "icmp",
    "icmp6",
    "vlan",
    "vlan 5",
    "vlan and ip host 10.0.0.1",
    "vlan 5 and vlan 6 and ip6",
    "vlan and (tcp port 443 or udp port 53)",
    "ip host 10.0.0.1",
    "src host 10.0.0.1 and dst net 10.0.0.0/8",
    "net 192.168.0.0/16",
    "ip6 net fd00::/8",
    "host fe80::1",
    "port 53",
    "tcp port 443",
    "udp portrange 1-1023",
    "src portrange 40000-65535",
    "not port 22",
    "tcp[13] & 2 != 0",
    "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0 and not src and dst net 10.0.0.0/8",
    "ip[6:2] & 0x1fff != 0",
    "(ip[2:2] - ((ip[0] & 0xf) << 2)) - ((tcp[12] & 0xf0) >> 2) != 0",
    "ip6[6] = 58 or ip6[40] = 135",
    "udp[8:4] % 7 = 3 or udp[8] / 3 > 20",
    "ether host 02:00:00:00:00:01",
    "ether dst ff:ff:ff:ff:ff:ff",
    "ether multicast",
    "ether proto 0x88cc",
    "broadcast or multicast",
    "greater 100",
    "less 64",
    "len >= 60 and len <= 80",
    "llc",
    "stp",
    "mpls",
    "pppoes and ip",
    "proto 47 or ip proto 50",
]

MACS = [
    bytes.fromhex(text) for text in ("020000000001", "020000000002", "ffffffffffff", "01005e000001", "0180c2000000")
]
ADDRESSES = [bytes([10, 0, 0, 1]), bytes([10, 1, 2, 3]), bytes([192, 168, 7, 7]), bytes([8, 8, 8, 8])]
ADDRESSES6 = [b"\xfe\x80" + bytes(13) + b"\x01", b"\xfd" + bytes(14) + b"\x09", b"\x20\x01" + bytes(14)]
PORTS = [22, 53, 80, 443, 1023, 1024, 40000, 65535]


@cache
def compiled(text: str) -> tuple[Program, object]:
    """Our program and libpcap's own, from one compilation for Ethernet."""
    program = pcapy.compile(1, 65535, text, 1, 0xFFFFFFFF)
    return Program(program.get_bpf()), program


def frame_of(chance: random.Random) -> bytes:
    """An Ethernet frame of one of the kinds that the filters tell apart, now and then cut short."""
    pick = chance.choice
    ports = struct.pack(">HH", pick(PORTS), pick(PORTS))
    payload = chance.randbytes(chance.randrange(80))
    transport, segment = pick(
        [
            (6, ports + bytes(8) + bytes([0x50, chance.randrange(256)]) + bytes(6) + payload),
            (17, ports + struct.pack(">HH", 8 + len(payload), 0) + payload),
            (1, bytes([8, 0]) + payload),
            (58, bytes([135, 0]) + payload),
            (chance.randrange(256), payload),
        ]
    )
    options = bytes(4 * pick([0, 0, 1, 10]))
    ip4 = struct.pack(
        ">BBHHHBBH",
        0x45 + len(options) // 4,
        0,
        20 + len(options) + len(segment),
        0,
        pick([0, 0, 0x4000, 0x2001, 185]),
        64,
        transport,
        0,
    )
    ip4 += pick(ADDRESSES) + pick(ADDRESSES) + options + segment
    hop_by_hop = bytes([transport, 0]) + bytes(6)
    extended = pick([False, False, True])
    ip6 = struct.pack(">IHBB", 6 << 28, len(segment) + 8 * extended, 0 if extended else transport, 64)
    ip6 += pick(ADDRESSES6) + pick(ADDRESSES6) + (hop_by_hop if extended else b"") + segment
    arp = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + pick(MACS) + pick(ADDRESSES) + bytes(6) + pick(ADDRESSES)
    ethertype, body = pick(
        [
            (0x0800, ip4),
            (0x0800, ip4),
            (0x86DD, ip6),
            (0x0806, arp),
            (0x88CC, payload),
            (0x8847, b"\x00\x01\x01\x40" + ip4),
            (0x8864, bytes([0x11, 0, 0, 1]) + struct.pack(">HH", len(ip4) + 2, 0x0021) + ip4),
            (len(payload) + 3, b"\x42\x42\x03" + payload),
            (chance.randrange(65536), payload),
        ]
    )
    tags = [struct.pack(">HH", pick([0x8100, 0x88A8, 0x9100]), pick([5, 6, 0x2005])) for _ in range(pick([0, 0, 1, 2]))]
    frame = pick(MACS) + pick(MACS) + b"".join(tags) + struct.pack(">H", ethertype) + body
    return frame[: chance.randrange(len(frame))] if chance.randrange(4) == 0 else frame


@settings(max_examples=400, deadline=None)
@given(seed=st.integers(0, 2**32), tail=st.binary(max_size=40))
def test_verdicts_of_libpcap(seed: int, tail: bytes) -> None:
    """Each filter accepts exactly the frames that libpcap's own machine accepts."""
    frame = frame_of(random.Random(seed)) + tail

    ours = {text: compiled(text)[0].matches(frame) for text in FILTERS}

    theirs = {text: bool(compiled(text)[1].filter(frame)) for text in FILTERS}  # type: ignore[attr-defined]
    assert ours == theirs


def test_the_filters_tell_frames_apart() -> None:
    """The agreement above is about something: among such frames every filter but the empty one says both yes and no."""
    chance = random.Random(5)
    sample = [frame_of(chance) for _ in range(3000)]

    one_sided = [text for text in FILTERS if len({compiled(text)[0].matches(frame) for frame in sample}) == 1]

    assert one_sided == [""]


class BpfInsn(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("jt", ctypes.c_ubyte),
        ("jf", ctypes.c_ubyte),
        ("k", ctypes.c_uint32),
    )


@pytest.fixture(scope="module")
def libpcap() -> ctypes.CDLL:
    """The system's libpcap, whose machine runs any program."""
    name = ctypes.util.find_library("pcap")
    if name is None:
        pytest.skip("no shared libpcap on this system (apt-get install libpcap0.8)")
    return ctypes.CDLL(name)


LOADS = [0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xB1]
IMMEDIATE = [0x00, 0x01, 0x80, 0x81]
SCRATCH = [0x60, 0x61, 0x02, 0x03]
ARITHMETIC = [0x04, 0x14, 0x24, 0x34, 0x44, 0x54, 0x64, 0x74, 0x94, 0xA4]  # with K; with X they are 8 more
MISCELLANEOUS = [0x84, 0x07, 0x87]
CONDITIONAL = [0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x45, 0x4D]
RETURN = [0x06, 0x16]
EVERY_OPERATION = [
    *LOADS, *IMMEDIATE, *SCRATCH, *ARITHMETIC, *(code | 8 for code in ARITHMETIC), *MISCELLANEOUS, 0x05, *CONDITIONAL,
    *RETURN,
]  # fmt: skip


@st.composite
def programs(draw: st.DrawFn) -> list[Instruction]:
    """Valid programs over all operations. Scratch memory starts as zeros, which libpcap leaves to chance."""
    chance = random.Random(draw(st.integers(0, 2**32)))
    length = chance.randrange(1, 40)
    program: list[Instruction] = [(0x02, 0, 0, word) for word in range(16)]
    for at in range(length):
        code = chance.choice(EVERY_OPERATION[: -len(RETURN)])
        jt = jf = 0
        k = chance.choice([chance.randrange(16), chance.randrange(200), chance.getrandbits(32)])
        furthest = length - at - 1
        if code in SCRATCH:
            k %= 16
        elif code in (0x34, 0x94):
            k = k or 1
        elif code in (0x64, 0x74):
            k %= 32  # a shift by 32 or more is undefined in libpcap
        elif code == 0x05:
            k = chance.randint(0, furthest)
        elif code in CONDITIONAL:
            jt, jf = chance.randint(0, furthest), chance.randint(0, furthest)
        program.append((code, jt, jf, k))
    return [*program, (chance.choice(RETURN), 0, 0, chance.getrandbits(2))]


@settings(max_examples=1500, deadline=None)
@given(program=programs(), frame=st.binary(max_size=100), more=st.integers(0, 2**31))
def test_any_program_as_libpcap_runs_it(
    libpcap: ctypes.CDLL, program: list[Instruction], frame: bytes, more: int
) -> None:
    """Every operation, any operand: the same verdict, with more octets on the wire than were captured."""
    theirs = (BpfInsn * len(program))(*(BpfInsn(*instruction) for instruction in program))
    original = min(len(frame) + more, 2**32 - 1)

    verdict = Program(program).matches(frame, original)

    assert verdict == bool(libpcap.bpf_filter(theirs, frame, original, len(frame)) & 0xFFFFFFFF)


@pytest.mark.parametrize("operand", [32, 33, 2**31])
@pytest.mark.parametrize("code", [0x64, 0x6C, 0x74, 0x7C])
def test_shifts_by_a_word_or_more(code: int, operand: int) -> None:
    """All bits leave the word: never what the processor happens to do."""
    program = [(0x00, 0, 0, 0xFFFFFFFF), (0x01, 0, 0, operand), (code, 0, 0, operand), (0x16, 0, 0, 0)]

    assert Program(program).matches(b"") is False


ACCEPT: Instruction = (0x06, 0, 0, 1)


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ([], "a filter has 1 to 65536 instructions, not 0"),
        ([ACCEPT] * 65537, "a filter has 1 to 65536 instructions, not 65537"),
        ([(0x00, 0, 0, 1)], "instruction 0 of the filter leads past the end of the program"),
        ([(0x15, 0, 1, 1), ACCEPT], "instruction 0 of the filter leads past the end of the program"),
        ([(0x15, 255, 0, 1), ACCEPT], "instruction 0 of the filter leads past the end of the program"),
        ([(0x05, 0, 0, 1), ACCEPT], "instruction 0 of the filter leads past the end of the program"),
        (
            [(0x05, 0, 0, 0xFFFFFFFF), ACCEPT],
            "instruction 0 of the filter jumps back: a filter that loops is not run (leave out `protochain`)",
        ),
        ([(0x34, 0, 0, 0), ACCEPT], "instruction 0 of the filter divides by zero"),
        ([ACCEPT, (0x94, 0, 0, 0), ACCEPT], "instruction 1 of the filter divides by zero"),
        ([(0x02, 0, 0, 16), ACCEPT], "instruction 0 of the filter uses scratch word 16; there are 16"),
        ([(0x61, 0, 0, 99), ACCEPT], "instruction 0 of the filter uses scratch word 99; there are 16"),
        ([(0xA0, 0, 0, 0), ACCEPT], "instruction 0 of the filter has the unknown operation 0xa0"),
        ([(0x10020, 0, 0, 0), ACCEPT], "instruction 0 of the filter has the unknown operation 0x10020"),
        ([(0x15, 256, 0, 0), ACCEPT], "instruction 0 of the filter has a field out of range: (21, 256, 0, 0)"),
        ([(0x00, 0, 0, -1), ACCEPT], "instruction 0 of the filter has a field out of range: (0, 0, 0, -1)"),
        ([(0x06, 0, 0)], "an instruction is (code, jt, jf, k)"),
    ],
)
def test_refused_programs(program: list[Instruction], says: str) -> None:
    """A program that could loop, jump out, divide by zero or read what is not there is not run."""
    with pytest.raises(FilterError) as caught:
        Program(program)

    assert str(caught.value) == says


def test_protochain_is_refused() -> None:
    """The one term for which libpcap compiles a loop."""
    with pytest.raises(FilterError, match="leave out `protochain`"):
        Program(pcapy.compile(1, 65535, "ip6 protochain 6", 1, 0xFFFFFFFF).get_bpf())


def test_loads_at_the_edge_of_the_frame() -> None:
    """The last octets may be read, the ones behind them reject the frame; sums of offsets do not wrap."""
    edge = {
        (code, x, k): Program([(0x01, 0, 0, x), (code, 0, 0, k), ACCEPT]).matches(bytes(8))
        for code, x, k in (
            (0x20, 0, 4), (0x20, 0, 5), (0x28, 0, 6), (0x28, 0, 7), (0x30, 0, 7), (0x30, 0, 8),
            (0x40, 4, 0), (0x40, 1, 4), (0x40, 0xFFFFFFFF, 1), (0x50, 0xFFFFFFFF, 8), (0x50, 8, 0), (0xB1, 0, 7),
            (0xB1, 0, 8), (0x30, 0, 0xFFFFFFFF), (0x20, 0, 0xFFFFFFFD),
        )
    }  # fmt: skip

    assert [key for key, accepted in edge.items() if accepted] == [
        (0x20, 0, 4),
        (0x28, 0, 6),
        (0x30, 0, 7),
        (0x40, 4, 0),
        (0xB1, 0, 7),
    ]
