"""One HTTP/2 connection to a gRPC server, written by hand (RFC 9113): many calls, each as far as a test wants it.

It keeps to flow control, as a client does that means to send all that it may.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator

from support.collector import COLLECTOR_NAME
from support.raw_grpc import DATA, PREFACE, SETTINGS, begin_call, frame

PING, WINDOW_UPDATE = 6, 8
ACK = 1
INITIAL_WINDOW_SIZE = 4  # a setting
DEFAULT_WINDOW = 65_535
FRAME_OCTETS = 16_384


class Connection:
    """`heard`: how many frames of each type came; `sent_octets`: of all calls."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._settings: dict[int, int] = {}
        self._granted: Counter[int] = Counter()
        self._sent: Counter[int] = Counter()
        self._news = asyncio.Event()
        self._streams = 0
        self.heard: Counter[int] = Counter()
        self.closed = False

    @property
    def sent_octets(self) -> int:
        return self._sent[0]

    def call(self, path: str) -> int:
        """Begin a call; its number."""
        stream = 2 * self._streams + 1
        self._streams += 1
        self._writer.write(begin_call(stream, path))
        return stream

    async def send(self, stream: int, octets: bytes, patience_s: float = 1.0) -> None:
        """What there is room for; the rest is given up when no room comes for so long."""
        at = 0
        while at < len(octets) and not self.closed:
            piece = octets[at : at + min(FRAME_OCTETS, max(0, self._room(stream)))]
            if not piece:
                self._news.clear()
                try:
                    async with asyncio.timeout(patience_s):
                        await self._news.wait()
                except TimeoutError:
                    return
                continue
            self._writer.write(frame(DATA, 0, stream, piece))
            await self._writer.drain()
            at += len(piece)
            self._sent.update({stream: len(piece), 0: len(piece)})

    def _room(self, stream: int) -> int:
        window = self._settings.get(INITIAL_WINDOW_SIZE, DEFAULT_WINDOW)
        return min(
            window + self._granted[stream] - self._sent[stream], DEFAULT_WINDOW + self._granted[0] - self._sent[0]
        )

    async def listen(self) -> None:
        """Until the other side closes."""
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await self._reader.readexactly(9)
                payload = await self._reader.readexactly(int.from_bytes(head[:3], "big"))
                self._hear(head[3], head[4], int.from_bytes(head[5:9], "big"), payload)
                self._news.set()
        self.closed = True
        self._news.set()

    def _hear(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self.heard[kind] += 1
        if kind == SETTINGS and not flags & ACK:
            self._settings.update(struct.iter_unpack(">HI", payload))
            self._writer.write(frame(SETTINGS, ACK, 0, b""))
        elif kind == WINDOW_UPDATE:
            self._granted[stream] += int.from_bytes(payload, "big")
        elif kind == PING and not flags & ACK:
            self._writer.write(frame(PING, ACK, 0, payload))


@contextlib.asynccontextmanager
async def connection(port: int) -> AsyncIterator[Connection]:
    """TLS as anybody; the settings of the server have come."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=COLLECTOR_NAME)
    made = Connection(reader, writer)
    writer.write(PREFACE + frame(SETTINGS, 0, 0, b""))
    listening = asyncio.create_task(made.listen())
    try:
        async with asyncio.timeout(10):
            while not made.heard[SETTINGS]:
                await asyncio.sleep(0.01)
        yield made
    finally:
        listening.cancel()
        writer.close()
