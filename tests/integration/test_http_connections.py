"""HTTP connections of anybody: requests that never end, answers that nobody reads, too many of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import websockets
from fieldwatch_collector import descriptors, http_server
from fieldwatch_collector.listening import listening_socket
from support.collector import Running, running

SHORT_S = 0.5
HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture
async def collector(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    """Its patience is short."""
    monkeypatch.setattr(http_server, "READ_S", SHORT_S)
    monkeypatch.setattr(http_server, "WRITE_S", SHORT_S)
    async with running(tmp_path / "data") as made:
        yield made


async def is_ended(collector: Running, *parts: bytes) -> bool:
    """Whether a connection on which this was said, and nothing more, is closed soon."""
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.server.ports["http"])
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            while await reader.read(65_536):
                pass
    except ConnectionResetError:
        pass
    except TimeoutError:
        return False
    finally:
        writer.close()
    return True


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (HEAD,),
        (b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n", b"{"),
        (HEAD + b"\r\n", HEAD),
        (HEAD + b"\r\n" + HEAD,),
    ],
    ids=["nothing", "half a head", "half a body", "half of the next", "half of the next, at once"],
)
async def test_a_request_that_does_not_come_is_not_waited_for(collector: Running, parts: tuple[bytes, ...]) -> None:
    """Whatever part of it came."""
    assert await is_ended(collector, *parts)


async def test_an_answer_that_nobody_reads_is_given_up(collector: Running) -> None:
    """Pages asked for without end, and not one of them read."""
    reader, writer = await asyncio.open_connection("127.0.0.1", collector.server.ports["http"], limit=1)
    reader._transport.pause_reading()  # type: ignore[attr-defined]

    async def ask_on() -> None:
        while True:
            writer.write(b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: x\r\n\r\n")
            await writer.drain()
            await asyncio.sleep(0)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(ask_on(), 20)


async def test_a_websocket_is_no_slow_request(collector: Running) -> None:
    """It lasts longer than a request may take to come."""
    place = f"ws://127.0.0.1:{collector.server.ports['http']}/api/v1/stream"
    async with websockets.connect(place) as socket:
        first = json.loads(await socket.recv())
        await asyncio.sleep(3 * SHORT_S)  # longer than any patience with a request
        await socket.send(json.dumps({"type": "auth", "token": "none"}))
        second = json.loads(await socket.recv())

    assert ("auth_required", "auth_invalid") == (first["type"], second["type"])


async def test_connections_are_bounded_and_half_of_them_are_for_others() -> None:
    """Of one address; a connection that ended makes room."""
    listener = listening_socket("127.0.0.1", 0)
    listener.bound(4)
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b".")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    async def another(host: str) -> tuple[bytes, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*listener.getsockname(), local_addr=(host, 0))
        try:
            return await asyncio.wait_for(reader.read(1), 10), writer
        except ConnectionResetError:
            return b"", writer

    async with await asyncio.start_server(serve, sock=listener) as server:
        answers = [await another(host) for host in 3 * ["127.0.0.1"] + 3 * ["127.0.0.2"]]
        answers[0][1].close()
        await asyncio.wait_for(ended.wait(), 10)
        answers.append(await another("127.0.0.1"))
        for _, writer in answers:
            writer.close()
        server.close()

    assert [b".", b".", b"", b".", b".", b"", b"."] == [answer for answer, _ in answers]


def test_each_port_has_its_share_of_the_descriptors() -> None:
    """Of few and of many; something is left for the store."""
    for limit in (1_024, 4_096, descriptors.WANTED):
        shares = descriptors.shares(limit)
        assert shares.agents + 2 * shares.anybody == limit - descriptors.OWN
        assert shares.agents > shares.anybody > 100
    assert descriptors.shares(64).anybody == 1


async def test_the_page_is_there_as_before(collector: Running) -> None:
    """Two requests on one connection, the second after a while."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{collector.server.ports['http']}") as client:
        first = await client.get("/healthz")
        second = await client.get("/")

    assert (200, 200) == (first.status_code, second.status_code)
