"""QUIC: the packets of the RFCs' appendices, hellos over several packets and datagrams, and what does not open."""

from __future__ import annotations

import hmac
import random
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fieldwatch_agent.dissectors import quic
from fieldwatch_agent.dissectors.quic import MAX_BEGUN, MAX_HELLO_OCTETS, MAX_PIECES, dissect
from fieldwatch_agent.facts import Fact
from fieldwatch_ext.quic import MAX_FRAMES, MAX_PACKETS
from hellos import (
    SERVER_TEXT,
    alpn,
    extension,
    frame,
    handshake,
    hello,
    ja4_by_hand,
    server_name,
    signature_algorithms,
    versions,
)
from hellos import read as read_by
from hypothesis import given
from hypothesis import strategies as st
from messages import IP_TEXT
from support.cost import cpu_s

V1, V2 = 0x00000001, 0x6B3343CF
ID = bytes.fromhex("8394c8f03e515708")
INITIAL, ZERO_RTT, HANDSHAKE, RETRY = 0, 1, 2, 3

# RFC 9001 appendix A.2: the CRYPTO frame that, padded to 1162 octets, the packets of both appendices carry.
RFC_FRAME = bytes.fromhex(
    "060040f1010000ed0303ebf8fa56f12939b9584a3896472ec40bb863cfd3e86804fe3a47f06a2b69484c00000413011302010000c000000010"
    "000e00000b6578616d706c652e636f6dff01000100000a00080006001d0017001800100007000504616c706e00050005010000000000330026"
    "0024001d00209370b2c9caa47fbabaf4559fedba753de171fa71f50f1ce15d43e994ec74d748002b0003020304000d0010000e040305030603"
    "0203080408050806002d00020101001c00024001003900320408ffffffffffffffff05048000ffff07048000ffff0801100104800075300901"
    "100f088394c8f03e51570806048000ffff"
)
RFC_PACKET_LEN = 1200
# How the protected packets begin, and their tags: which no other octets between them have.
RFC_9001 = ("c000000001088394c8f03e5157080000449e7b9aec34d1b1c98dd7689fb8ec11", "e221af44860018ab0856972e194cd934")
RFC_9369 = ("d76b3343cf088394c8f03e5157080000449ea0c95e82ffe67b6abcdb4298b485", "a18b2faa745b6fe189cf772a9f84cbfc")
RFC_JA4 = ja4_by_hand(
    "q13d0211an",
    "1301,1302",
    "0005,000a,000d,001c,002b,002d,0033,0039,ff01_0403,0503,0603,0203,0804,0805,0806",
)
RFC_SAID = [(SERVER_TEXT, "tls_name", "example.com"), (IP_TEXT, "ja4", RFC_JA4)]

LONG = handshake(
    hello(
        server_name(b"long.example"),
        alpn(b"h3"),
        extension(51, bytes(1216)),  # a post-quantum key share
        signature_algorithms(0x0403),
        versions(0x0304),
    )
)
LONG_SAID = [
    (SERVER_TEXT, "tls_name", "long.example"),
    (IP_TEXT, "ja4", ja4_by_hand("q13d0205h3", "1301,1302", "000d,002b,0033_0403")),
]

LABELS = {
    V1: ("38762cf7f55934b34d179ae6a4c80cadccbb7f0a", "quic"),
    V2: ("0dede3def700a6db819381be6e269dcbf9bd2ed9", "quicv2"),
}


@pytest.fixture(autouse=True)
def nothing_begun() -> Iterator[None]:
    """A hello that one test leaves unfinished is not another's."""
    quic._waiting.begun.clear()
    yield
    quic._waiting.begun.clear()


def expand_label(secret: bytes, label: str, length: int) -> bytes:
    """HKDF-Expand-Label (RFC 8446 section 7.1), a second time."""
    full = b"tls13 " + label.encode()
    info = length.to_bytes(2, "big") + bytes([len(full)]) + full + b"\0"
    return hmac.digest(secret, info + b"\x01", "sha256")[:length]


def varint(value: int) -> bytes:
    return value.to_bytes(1, "big") if value < 64 else (value | 0x4000).to_bytes(2, "big")


def crypto(offset: int, data: bytes) -> bytes:
    return b"\x06" + varint(offset) + varint(len(data)) + data


def packet(
    frames: bytes,
    *,
    version: int = V1,
    kind: int = INITIAL,
    number: int = 0,
    number_len: int = 4,
    connection_id: bytes = ID,
    keys_of: bytes | None = None,
    source_id: bytes = b"",
    token: bytes = b"",
    reserved: int = 0,
) -> bytes:
    """A long header packet sealed by another implementation; `keys_of` is the connection id that the keys come from."""
    salt, name = LABELS[version]
    first_secret = hmac.digest(bytes.fromhex(salt), connection_id if keys_of is None else keys_of, "sha256")
    secret = expand_label(first_secret, "client in", 32)
    key, iv = expand_label(secret, f"{name} key", 16), expand_label(secret, f"{name} iv", 12)
    kind_bits = (kind + (1 if version == V2 else 0)) % 4
    header = bytes([0xC0 | kind_bits << 4 | reserved << 2 | number_len - 1]) + version.to_bytes(4, "big")
    header += bytes([len(connection_id)]) + connection_id + bytes([len(source_id)]) + source_id
    if kind == INITIAL:
        header += varint(len(token)) + token
    header += (number_len + len(frames) + 16 | 0x4000).to_bytes(2, "big")
    number_at = len(header)
    header += number.to_bytes(number_len, "big")
    nonce = (int.from_bytes(iv, "big") ^ number).to_bytes(12, "big")
    sealed = bytearray(header + AESGCM(key).encrypt(nonce, frames, header))
    cipher = Cipher(algorithms.AES128(expand_label(secret, f"{name} hp", 16)), modes.ECB()).encryptor()
    mask = cipher.update(bytes(sealed[number_at + 4 : number_at + 20]))
    sealed[0] ^= mask[0] & 0x0F
    for place in range(number_len):
        sealed[number_at + place] ^= mask[1 + place]
    return bytes(sealed)


def read(payload: bytes, port: int = 50_000) -> tuple[list[tuple[str, str, str]], bool]:
    return read_by(dissect, frame("quic", payload)._replace(src_port=port))


def rfc_packet(version: int, **changes: object) -> bytes:
    return packet(RFC_FRAME + bytes(1162 - len(RFC_FRAME)), version=version, number=2, **changes)  # type: ignore[arg-type]


GOLDEN = rfc_packet(V1)


@pytest.mark.parametrize(("version", "ends"), [(V1, RFC_9001), (V2, RFC_9369)], ids=["v1", "v2"])
def test_the_initial_packet_of_the_rfc(version: int, ends: tuple[str, str]) -> None:
    """RFC 9001 and RFC 9369, appendix A.2."""
    octets = rfc_packet(version)

    assert (*ends, RFC_PACKET_LEN) == (octets[:32].hex(), octets[-16:].hex(), len(octets))
    assert (RFC_SAID, True) == read(octets)


def test_how_sure_and_by_which_evidence() -> None:
    items = dissect(frame("quic", GOLDEN))

    assert [(item.source, item.evidence, item.confidence) for item in items if isinstance(item, Fact)] == [
        ("quic", "QUIC ClientHello server name", 50),
        ("quic", "QUIC ClientHello offering alpn", 70),
    ]


def test_no_prefix_says_anything() -> None:
    """A packet opens whole or not at all."""
    for end in range(len(GOLDEN)):
        assert read(GOLDEN[:end]) == ([], end == 0)


def test_whatever_octet_is_changed_nothing_is_said() -> None:
    """The seal covers the header, too."""
    for at in range(len(GOLDEN)):
        assert read(GOLDEN[:at] + bytes([GOLDEN[at] ^ 0x20]) + GOLDEN[at + 1 :])[0] == []


@pytest.mark.parametrize("number_len", [1, 2, 3, 4])
def test_packet_numbers_of_every_length(number_len: int) -> None:
    octets = packet(RFC_FRAME, number=0x7F, number_len=number_len, token=b"t" * 70, source_id=b"s" * 20)

    assert (RFC_SAID, True) == read(octets)


@pytest.mark.parametrize("reserved", [1, 2, 3])
def test_reserved_bits_are_nothing_that_a_client_sets(reserved: int) -> None:
    """RFC 9000 section 17.2; under other keys than its own three of four packets have some, and are not looked into."""
    assert ([], True) == read(packet(RFC_FRAME, reserved=reserved))


@pytest.mark.parametrize("connection_id", [b"", b"i" * 20])
def test_connection_ids_of_every_length(connection_id: bytes) -> None:
    assert (RFC_SAID, True) == read(packet(RFC_FRAME, connection_id=connection_id))


@pytest.mark.parametrize("version", [V1, V2])
def test_a_hello_over_two_datagrams_is_whole_with_the_second(version: int) -> None:
    first, second = packet(crypto(0, LONG[:900]), version=version), packet(crypto(900, LONG[900:]), version=version)

    assert [([], True), (LONG_SAID, True)] == [read(first), read(second)]


def test_pieces_come_in_any_order_between_other_frames_and_more_than_once() -> None:
    """As browsers scatter them."""
    pieces = [crypto(at, LONG[at : at + 100]) for at in range(0, len(LONG), 100)]
    random.Random(1).shuffle(pieces)
    ack = b"\x02\x05\x00\x01\x00\x01\x02"
    ack_ecn = b"\x03\x05\x00\x00\x00\x01\x02\x03"
    first = packet(b"\x01\0\0".join(pieces[:7]) + ack)
    second = packet(ack_ecn + bytes(40) + b"\0\x01".join(pieces[5:]) + b"\x01")

    assert [([], True), ([], True), (LONG_SAID, True)] == [read(first), read(first), read(second)]


def test_pieces_that_overlap_fit_together() -> None:
    frames = crypto(0, LONG[:10]) + crypto(0, LONG[:40]) + crypto(5, LONG[5:20]) + crypto(30, LONG[30:])

    assert (LONG_SAID, True) == read(packet(frames))


def test_packets_that_share_a_datagram() -> None:
    """RFC 9000 section 12.2; behind them may stand a packet with a short header, or padding."""
    others = packet(bytes(40), kind=ZERO_RTT) + packet(bytes(40), kind=HANDSHAKE)
    datagram = others + packet(crypto(0, LONG[:700])) + others + packet(crypto(700, LONG[700:]), number=1)

    for behind in (b"", bytes(30), b"\x40" + bytes(60)):
        assert (LONG_SAID, True) == read(datagram + behind)


def test_the_rest_of_a_hello_may_come_under_the_id_that_the_server_chose() -> None:
    """RFC 9001 section 5.2: the keys stay those of the first packet."""
    first = packet(crypto(0, LONG[:900]))
    second = packet(crypto(900, LONG[900:]), connection_id=b"server", keys_of=ID)

    assert [([], True), (LONG_SAID, True)] == [read(first), read(second)]


def test_after_a_retry_the_hello_begins_anew() -> None:
    """RFC 9001 section 5.2: the keys are those of the connection id in the Retry."""
    read(packet(crypto(0, b"\x01\xff" + LONG[2:900])))
    again = [packet(crypto(0, LONG[:900]), connection_id=b"retried", token=b"token")]
    again.append(packet(crypto(900, LONG[900:]), connection_id=b"retried", token=b"token"))

    assert [([], True), (LONG_SAID, True)] == [read(octets) for octets in again]


def test_in_another_version_the_hello_begins_anew() -> None:
    """RFC 9000 section 6.2: the server refused the first one; the connection id stays."""
    again = [packet(crypto(at, LONG[at : at + 900])) for at in (0, 900)]
    read(packet(crypto(0, LONG[:900]), version=V2))

    assert [([], True), (LONG_SAID, True)] == [read(octets) for octets in again]


def test_a_packet_without_the_keys_of_its_connection_is_not_read_and_not_malformed() -> None:
    """What a client sends later, of a connection whose beginning was not seen."""
    assert read(packet(RFC_FRAME, connection_id=b"server", keys_of=ID)) == ([], True)


def test_forged_packets_take_nothing_from_a_hello_that_has_begun() -> None:
    first, second = packet(crypto(0, LONG[:900])), packet(crypto(900, LONG[900:]))
    read(first)
    read(second[:-1] + bytes([second[-1] ^ 1]))
    read(packet(crypto(900, bytes(400)), connection_id=b"other", keys_of=b"unknown"))

    assert (LONG_SAID, True) == read(second)


def test_connections_are_told_apart_by_their_endpoints() -> None:
    read(packet(crypto(0, LONG[:900])), port=1)

    assert [([], True), (LONG_SAID, True)] == [
        read(packet(crypto(900, LONG[900:])), port=2),
        read(packet(crypto(900, LONG[900:])), port=1),
    ]


def test_only_so_many_hellos_wait_for_their_rest() -> None:
    """The one that has waited longest is forgotten."""
    for port in range(MAX_BEGUN + 1):
        read(packet(crypto(0, LONG[:900])), port=port)

    assert len(quic._waiting.begun) == MAX_BEGUN
    assert [(LONG_SAID, True), ([], True)] == [read(packet(crypto(900, LONG[900:])), port=port) for port in (1, 0)]


def test_a_hello_that_is_whole_is_forgotten() -> None:
    read(packet(crypto(0, LONG[:900])))
    read(packet(crypto(900, LONG[900:])))
    read(packet(b"\x01" + bytes(30)))

    assert quic._waiting.begun == {}


def test_each_interface_has_hellos_of_its_own() -> None:
    """Its worker is a thread: none of them waits for another, and none changes what another reads."""
    read(packet(crypto(0, LONG[:900])))
    said: list[tuple[list[tuple[str, str, str]], bool]] = []
    thread = threading.Thread(target=lambda: said.append(read(packet(crypto(900, LONG[900:])))))
    thread.start()
    thread.join()

    assert [([], True), (LONG_SAID, True)] == [*said, read(packet(crypto(900, LONG[900:])))]


@pytest.mark.parametrize(
    "frames",
    [
        b"".join(crypto(2 * at, b"a") for at in range(MAX_PIECES + 1)),
        b"".join(crypto(at, bytes(MAX_HELLO_OCTETS // 8)) for at in range(9)),
    ],
)
def test_more_than_a_hello_has_is_given_up(frames: bytes) -> None:
    assert read(packet(frames)) == ([], False)
    assert quic._waiting.begun == {}


@pytest.mark.parametrize(
    "damage",
    [
        b"\x08\0\0\0",  # STREAM
        b"\x40\x06",  # a type of two octets
        b"\x06",
        b"\x06\x00",
        b"\x06\x00\x05four",  # a length beyond the packet
        b"\x06\xff",
        b"\x02\0\0\x01\0",  # a range is missing
        b"\x02\0\0\x7f\xff" + bytes(200),  # more ranges than a client can have
        b"\x03\0\0\0\0\0\0",  # a count of ECN is missing
        b"\x01" * MAX_FRAMES,
    ],
)
def test_what_comes_before_the_damage_stands(damage: bytes) -> None:
    assert (RFC_SAID, False) == read(packet(RFC_FRAME + damage))


def test_a_client_that_gives_up_says_nothing_more() -> None:
    """CONNECTION_CLOSE with its reason."""
    assert (RFC_SAID, True) == read(packet(RFC_FRAME + b"\x1c\x0a\x00\x04gone\xff"))


@pytest.mark.parametrize("kind", [2, 4, 11])
def test_another_handshake_message_is_no_hello(kind: int) -> None:
    assert read(packet(crypto(0, handshake(bytes(40), kind=kind)))) == ([], False)


@pytest.mark.parametrize(
    "payload",
    [
        GOLDEN.replace(b"\0\0\0\1\x08", b"\0\0\0\1\x15", 1),  # a connection id of 21 octets
        GOLDEN[:6] + ID + b"\x15" + bytes(1200),
        GOLDEN[:6] + ID + b"\0\xff" + bytes(1200),  # a token beyond the datagram
        GOLDEN[:6] + ID + b"\0\0\x7f\xff" + bytes(1200),  # a packet beyond the datagram
        GOLDEN + GOLDEN[:700],
    ],
)
def test_lengths_that_lie_are_contradictions(payload: bytes) -> None:
    assert read(payload)[1] is False


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x40" + bytes(40),  # a short header
        b"\x80\0\0\0\0\x08" + ID + b"\0\0\0\0\1",  # version negotiation
        b"\xc0\xff\0\0\x1d\x08" + ID + bytes(1200),  # a draft
        b"\xf0" + GOLDEN[1:60],  # Retry
        b"\xc0" + V2.to_bytes(4, "big") + b"\x08" + ID + bytes(60),  # Retry of version 2
        GOLDEN[:6] + ID + b"\0\0\x05" + bytes(5),  # too short to be sealed
    ],
)
def test_packets_without_a_hello_say_nothing(payload: bytes) -> None:
    assert read(payload) == ([], True)


def test_only_so_many_packets_of_a_datagram_are_looked_at() -> None:
    small = packet(bytes(20), kind=HANDSHAKE)

    assert (RFC_SAID, True) == read(small * (MAX_PACKETS - 1) + packet(RFC_FRAME))
    assert read(small * MAX_PACKETS + packet(RFC_FRAME)) == ([], True)


@given(st.binary(max_size=300))
def test_random_datagrams_never_raise(octets: bytes) -> None:
    read(octets)
    read(b"\xc0\0\0\0\1" + octets)


@given(st.binary(max_size=300))
def test_random_frames_never_raise(octets: bytes) -> None:
    """Sealed as they should be: anyone can."""
    read(packet(octets + bytes(4)))
    read(packet(crypto(0, octets) + bytes(4)))


@pytest.mark.parametrize(
    "payload",
    [
        b"".join(packet(bytes(8_000), number=number) for number in range(MAX_PACKETS)),
        packet(b"\x01\0" * 8_000),
        packet(b"\x02\0\0\x20" + bytes(65) + b"\x01" * 8_000),
        packet(b"".join(crypto(at, b"a" * 250) for at in range(60))),
        b"".join(packet(bytes(20), connection_id=bytes([at])) for at in range(200)),
    ],
    ids=["octets", "pings", "ranges", "pieces", "packets"],
)
def test_the_costliest_datagrams_cost_little(payload: bytes) -> None:
    """One hostile host must not slow the agent."""
    assert cpu_s(lambda: read(payload)) < 0.02


def test_the_daemon_reads_it_without_openssl() -> None:
    """`run` leaves OpenSSL out (lean.py): the keys are derived all the same."""
    program = (
        "from fieldwatch_agent.lean import become_lean; become_lean()\n"
        "import sys\n"
        "from fieldwatch_agent.dissectors.quic import dissect\n"
        "from fieldwatch_ext.engine import Slow\n"
        "ends = b'', b'', 0, b'\\x0a\\0\\0\\1', b'\\x0a\\0\\0\\2', 1, 443\n"
        f"facts = dissect(Slow(1, 1, 'quic', *ends, bytes.fromhex({GOLDEN.hex()!r})))\n"
        "print(*(fact.value for fact in facts), sys.modules['_hashlib'], 'cryptography' in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)

    assert f"example.com {RFC_JA4} None False\n" == result.stdout
