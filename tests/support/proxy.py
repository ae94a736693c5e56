"""A TCP proxy of our own between agent and collector: transparent, so that mutual TLS passes through it untouched.

It shapes the line (delay, rate, loss as TCP shows it to those who use it) and does on demand what bad networks do: cut,
reset in the middle of a message, stall, go half open. In a thread of its own; what it is told holds from then on, for
connections that are open as well.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

READ_BYTES = 16 << 10
SEGMENT_BYTES = 1_400
START_S = 10.0


@dataclass(frozen=True)
class Shape:
    """A direction of the line. `delay_s`: one way; `bytes_per_s`: 0 = no bound; `loss`: share of segments that TCP has
    to send again, each after a timeout of twice the round trip that doubles, with all that follows waiting for it.
    `buffer_bytes`: taken before the sender is held back.
    """

    delay_s: float = 0.0
    bytes_per_s: float = 0.0
    loss: float = 0.0
    buffer_bytes: int = 32 << 10


class Proxy:
    """Listens on a loopback port as long as the `with` block lasts."""

    def __init__(self, target_port: int, shape: Shape | None = None, *, seed: int = 1) -> None:
        self.target_port = target_port
        self.shape = shape or Shape()
        self.port = 0
        self.connections = 0  # accepted since the start
        self.resets = 0  # by `reset_after`
        self.carried = 0  # octets, both ways
        self.twice = False  # each connection is made to the target twice, and both get what the agent sends
        self._reset_after: Callable[[], int | None] = lambda: None
        self._dice = random.Random(seed)
        self._open: set[_Pair] = set()
        self._swallow = False
        self._stalled = False
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        assert self._ready.wait(START_S)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(START_S)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        return len(self._open)

    # --- what it does to those who use it -----------------------------------------------------------------------

    def cut(self) -> None:
        """Close every connection as an orderly peer does (FIN)."""
        self._loop.call_soon_threadsafe(self._close_all, False)

    def reset(self) -> None:
        """Reset every connection (RST), whatever is under way."""
        self._loop.call_soon_threadsafe(self._close_all, True)

    def reset_after(self, octets: Callable[[], int | None]) -> None:
        """From now on reset each connection once the agent has sent `octets()` on it, to the octet; None = never."""
        self._reset_after = octets

    def half_open(self, *, swallow: bool) -> None:
        """Take everything and pass nothing on, in silence; new connections as well. False = as before for new ones."""
        self._swallow = swallow

    def stall(self, *, stalled: bool) -> None:
        """Take nothing any more, until told otherwise: both ends see a full window."""
        self._stalled = stalled

    def _close_all(self, reset: bool) -> None:
        for pair in list(self._open):
            pair.close(reset=reset)

    # --- the thread ---------------------------------------------------------------------------------------------

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        self._close_all(True)
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        if others:
            await asyncio.wait(others, timeout=START_S)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there = await asyncio.open_connection("127.0.0.1", self.target_port)
            second = await asyncio.open_connection("127.0.0.1", self.target_port) if self.twice else None
        except OSError:
            writer.close()  # nobody there, as a router that answers for it says
            return
        pair = _Pair((reader, writer), there, second)
        self._open.add(pair)
        limit = self._reset_after()
        up = asyncio.create_task(self._pump(pair, reader, there[1], limit))
        down = asyncio.create_task(self._pump(pair, there[0], writer, None))
        await asyncio.wait({up, down}, return_when=asyncio.FIRST_COMPLETED)
        pair.close()
        await asyncio.wait({up, down})
        self._open.discard(pair)

    async def _pump(
        self, pair: _Pair, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: int | None
    ) -> None:
        """One direction: read, hold for as long as the line takes, write."""
        queue: deque[tuple[float, bytes]] = deque()
        news = asyncio.Event()
        drained = asyncio.Event()
        writing = asyncio.create_task(self._write(pair, queue, news, drained, writer))
        free_at, arrived, taken = 0.0, 0.0, 0
        try:
            while data := await reader.read(READ_BYTES):
                while self._stalled:
                    await asyncio.sleep(0.01)
                if self._swallow or pair.deaf:
                    pair.deaf = True  # it stays half open: what was swallowed is missing
                    continue
                if limit is not None and taken + len(data) > limit:
                    self.resets += 1
                    writer.write(data[: limit - taken])  # the first octets of a message arrive, the rest never does
                    pair.close(reset=True)
                    return
                taken += len(data)
                self.carried += len(data)
                if pair.second is not None and reader is pair.here[0] and not pair.second[1].is_closing():
                    pair.second[1].write(data)
                for start in range(0, len(data), SEGMENT_BYTES):
                    part = data[start : start + SEGMENT_BYTES]
                    shape, now = self.shape, self._loop.time()
                    free_at = max(free_at, now) + (len(part) / shape.bytes_per_s if shape.bytes_per_s else 0.0)
                    arrived = max(arrived, free_at + shape.delay_s + self._retransmissions(shape))
                    queue.append((arrived, part))
                    news.set()
                while sum(len(part) for _, part in queue) > self.shape.buffer_bytes:
                    drained.clear()
                    await drained.wait()
            queue.append((arrived, b""))
            news.set()
            await writing
        except OSError:
            return
        finally:
            writing.cancel()

    def _retransmissions(self, shape: Shape) -> float:
        """Seconds that a segment comes late because it was lost, perhaps more than once."""
        late, timeout = 0.0, max(0.2, 4 * shape.delay_s)
        while shape.loss and self._dice.random() < shape.loss:
            late += timeout
            timeout *= 2
        return late

    async def _write(
        self,
        pair: _Pair,
        queue: deque[tuple[float, bytes]],
        news: asyncio.Event,
        drained: asyncio.Event,
        writer: asyncio.StreamWriter,
    ) -> None:
        while True:
            while not queue:
                news.clear()
                await news.wait()
            due, part = queue[0]
            await asyncio.sleep(max(0.0, due - self._loop.time()))
            queue.popleft()
            drained.set()
            if not part:
                return
            if pair.deaf or self._swallow:
                continue
            try:
                writer.write(part)
                await writer.drain()
            except OSError:
                return


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Pair:
    """The two connections that are one to those at their ends. `deaf`: half open."""

    def __init__(self, here: Ends, there: Ends, second: Ends | None) -> None:
        self.here, self.there, self.second = here, there, second
        self.deaf = False

    def close(self, *, reset: bool = False) -> None:
        for ends in (self.here, self.there, self.second):
            if ends is None:
                continue
            raw = ends[1].get_extra_info("socket")
            if reset and raw is not None and raw.fileno() >= 0:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                ends[1].transport.abort()
            else:
                ends[1].close()
