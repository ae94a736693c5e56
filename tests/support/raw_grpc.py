"""One gRPC call over HTTP/2 written by hand, for what a gRPC library would never send.

Headers are literals without indexing (RFC 7541, 6.2.2), one stream, no flow control: enough for a few small frames.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
from collections.abc import Iterator
from pathlib import Path

from cryptography.hazmat.primitives import serialization

from support.collector import COLLECTOR_NAME, Identity, pem

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, GOAWAY = 0, 1, 3, 4, 7
END_STREAM, END_HEADERS = 1, 4
PUSH = "/fieldwatch.v1.Ingest/Push"


class RawCall:
    """An open call of Ingest.Push; what is sent stands in DATA frames as it is."""

    def __init__(self, connection: ssl.SSLSocket) -> None:
        self._connection = connection
        connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
        connection.sendall(begin_call(1, PUSH))

    def send(self, octets: bytes, *, end: bool = False) -> None:
        for at in range(0, max(len(octets), 1), 16_384):
            last = end and at + 16_384 >= len(octets)
            self._connection.sendall(frame(DATA, END_STREAM if last else 0, 1, octets[at : at + 16_384]))

    def is_ended(self) -> bool:
        """Read until the collector ends the stream or the connection; False where it does not within its timeout."""
        heard = b""
        try:
            while more := self._connection.recv(65_536):
                heard += more
                while len(heard) >= 9 and len(heard) >= 9 + (length := int.from_bytes(heard[:3], "big")):
                    kind, flags, stream = heard[3], heard[4], int.from_bytes(heard[5:9], "big")
                    heard = heard[9 + length :]
                    if kind == GOAWAY or (
                        stream == 1 and (kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM))
                    ):
                        return True
        except TimeoutError:
            return False
        except OSError:
            pass
        return True


def literal(text: str) -> bytes:
    """A string of HPACK without Huffman coding, shorter than 127 octets (RFC 7541, 5.2)."""
    assert len(text) < 127
    return bytes([len(text)]) + text.encode()


def begin_call(stream: int, path: str) -> bytes:
    """The HEADERS frame of a call."""
    fields = {
        ":method": "POST",
        ":scheme": "https",
        ":path": path,
        ":authority": COLLECTOR_NAME,
        "te": "trailers",  # codespell:ignore te
        "content-type": "application/grpc",
    }
    block = b"".join(b"\0" + literal(name) + literal(value) for name, value in fields.items())
    return frame(HEADERS, END_HEADERS, stream, block)


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """RFC 9113, 4.1."""
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def message(octets: bytes, length: int | None = None, *, compressed: int = 0) -> bytes:
    """A length-prefixed message of gRPC; `length` is what the prefix says."""
    return bytes([compressed]) + struct.pack(">I", len(octets) if length is None else length) + octets


@contextlib.contextmanager
def raw_call(folder: Path, identity: Identity, port: int, timeout_s: float = 10.0) -> Iterator[RawCall]:
    """Mutual TLS as this agent; `folder` takes its key for the time."""
    key = identity.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = folder / f"{identity.agent_id}.pem"
    chain.write_bytes(key + pem(identity.certificate_der))
    context = ssl.create_default_context(cadata=pem(identity.ca_der).decode())
    context.load_cert_chain(chain)
    context.set_alpn_protocols(["h2"])
    with (
        socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as plain,
        context.wrap_socket(plain, server_hostname=COLLECTOR_NAME) as connection,
    ):
        yield RawCall(connection)
