"""The shipper against a scripted collector over real TLS: order, window, lost acks, nacks, credit, going away."""

from __future__ import annotations

import asyncio
import contextlib
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from fieldwatch_agent.enrolment.identity import TARGET_NAME
from fieldwatch_agent.shipper.shipper import CUTS, Shipper, open_channel
from fieldwatch_agent.spool.items import Loss
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_proto.schema import SCHEMA_VERSION
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.scripted import Authority, Conversation, Script, ScriptedCollector
from support.spooling import body, put
from support.stack import wait_for


class Shipping:
    """An agent's shipper at a scripted collector; `alarms` are those that it raised."""

    def __init__(self, collector: ScriptedCollector, shipper: Shipper, alarms: list[str]) -> None:
        self.collector, self.shipper, self.alarms = collector, shipper, alarms


def shipper_to(spool: SpoolThread, address: str, **more: Any) -> Shipper:
    """A shipper with short pauses."""

    def connect(patience_s: float) -> grpc.Channel:
        return open_channel(spool.folder, address, patience_s)

    return Shipper(spool, address, connect, b"boot", retry_min_s=0.01, retry_max_s=0.1, **more)


@contextmanager
def shipping(
    authority: Authority, spool: SpoolThread, script: Script, *, beat: Callable[[Any], None] = lambda channel: None
) -> Iterator[Shipping]:
    alarms: list[str] = []
    with ScriptedCollector(authority, script) as collector:
        address = authority.enrol(spool.folder, collector.port).address
        shipper = shipper_to(spool, address, beat=beat, alarm=lambda kind, data: alarms.append(kind))
        spool.on_change = shipper.wake
        shipper.start()
        try:
            yield Shipping(collector, shipper, alarms)
        finally:
            shipper.stop()
            spool.on_change = lambda: None
    assert collector.failures == []


def waiting(spool: SpoolThread) -> int:
    status = spool.call(Store.status)
    return status.batches + status.gaps


def epoch_of(spool: SpoolThread) -> int:
    return spool.call(lambda store: store.current.epoch)


def seal(spool: SpoolThread, *numbers: int, octets: int = 200) -> None:
    for number in numbers:
        spool.put(put(number, octets=octets))
    assert spool.flush()


async def ack_everything(talk: Conversation, seen: list[Any]) -> None:
    """A collector that works."""
    await talk.welcome()
    while (message := await talk.hear()) is not None:
        if isinstance(message, pb.Bye):
            return
        seen.append(message)
        last = message.seq if isinstance(message, pb.Batch) else message.to_seq
        await talk.say(pb.Ack(epoch=message.epoch, upto=last))


def test_everything_arrives_in_order_and_leaves_the_spool(authority: Authority, spool: SpoolThread) -> None:
    """Backlog first, then what is sealed meanwhile; gaps are shipped and acked like batches; octets are untouched."""
    seen: list[Any] = []
    seal(spool, *range(1, 21))
    spool.declare(Loss(pb.KERNEL_DROP, 7, {1: 2}, detail="eth0"))
    assert spool.flush()

    with shipping(authority, spool, lambda talk: ack_everything(talk, seen)):
        wait_for(lambda: waiting(spool) == 0, "the backlog is acked")
        seal(spool, 22)
        wait_for(lambda: waiting(spool) == 0, "the new batch is acked")

    assert [message.seq if isinstance(message, pb.Batch) else -message.to_seq for message in seen] == [
        *range(1, 21),
        -21,
        22,
    ]
    assert [message.body for message in seen[:20]] == [body(number) for number in range(1, 21)]
    gap = seen[20]
    assert (gap.frames, dict(gap.records), gap.reason, gap.count_known) == (7, {1: 2}, pb.KERNEL_DROP, True)


class Refusing(socketserver.ThreadingTCPServer):
    """Ends each connection when its handshake is done, without a word, as a gRPC server does that refuses who came."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        for name, text in zip(("key", "certificate"), authority.issue(TARGET_NAME), strict=True):
            (folder / name).write_bytes(text)
        self._context.load_cert_chain(folder / "certificate", folder / "key")
        self._context.set_alpn_protocols(["h2"])

    def finish_request(self, request: Any, client_address: Any) -> None:
        with contextlib.suppress(OSError):
            self._context.wrap_socket(request, server_side=True).close()


def test_who_refuses_every_connection_is_believed_once(
    authority: Authority, spool: SpoolThread, tmp_path: Path
) -> None:
    """It may not take the certificate; where another one makes no difference, none is asked for again and again."""
    with Refusing(authority, tmp_path) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        shipper = shipper_to(spool, authority.enrol(spool.folder, server.server_address[1]).address)
        shipper.start()
        try:
            wait_for(lambda: shipper.refused, "it is taken for a refusal")
            tried = shipper.tries
            shipper.reconnect()
            wait_for(lambda: shipper.tries > tried + 2 * CUTS, "it goes on trying")
            again = shipper.refused
        finally:
            shipper.stop()
            server.shutdown()

    assert tried >= CUTS
    assert not again


def test_the_greeting_names_every_stream(authority: Authority, spool: SpoolThread) -> None:
    """Hello: each epoch with its first unacked and next number, what is buffered, which boot."""
    hellos: list[pb.Hello] = []
    seal(spool, 1, 2, 3)
    epoch = epoch_of(spool)
    spool.ack(epoch, [(1, 1)])

    async def script(talk: Conversation) -> None:
        hellos.append(await talk.welcome())
        await talk.hear()

    with shipping(authority, spool, script):
        wait_for(lambda: bool(hellos), "the greeting")

    hello = hellos[0]
    assert [(s.epoch, s.first_unacked, s.next_seq) for s in hello.streams] == [(epoch, 2, 4)]
    assert (hello.protocol, hello.boot_id, hello.buffered_bytes, hello.schema) == (1, b"boot", 400, SCHEMA_VERSION)
    assert 0 <= time.clock_gettime_ns(time.CLOCK_BOOTTIME) - hello.monotonic_ns < 60_000_000_000


def test_a_lost_ack_costs_one_resend(authority: Authority, spool: SpoolThread) -> None:
    """The collector has committed and the ack was lost: what its Welcome says it has is sent again all the same."""
    seen: list[tuple[int, int]] = []
    seal(spool, 1, 2, 3)
    epoch = epoch_of(spool)

    async def script(talk: Conversation) -> None:
        await talk.welcome(have={epoch: 2} if talk.number > 1 else None)
        if talk.number == 1:
            seen.extend([(1, (await talk.hear()).seq) for _ in range(2)])
            return  # the stream breaks, no ack was sent
        while isinstance(message := await talk.hear(), pb.Batch):
            seen.append((talk.number, message.seq))
            await talk.say(pb.Ack(epoch=epoch, upto=message.seq))

    with shipping(authority, spool, script):
        wait_for(lambda: waiting(spool) == 0, "everything is acked")

    assert seen == [(1, 1), (1, 2), (2, 1), (2, 2), (2, 3)]


def test_a_resend_is_the_same_batch(authority: Authority, spool: SpoolThread) -> None:
    """A stream that breaks before the commit: the same numbers come again with the same octets."""
    seen: list[pb.Batch] = []
    seal(spool, 1, 2)

    async def script(talk: Conversation) -> None:
        if talk.number < 3:
            await talk.welcome()
            seen.append(await talk.hear())
            return
        await ack_everything(talk, seen)

    with shipping(authority, spool, script):
        wait_for(lambda: waiting(spool) == 0, "everything is acked")

    assert seen[0] == seen[1] == seen[2]
    assert [batch.seq for batch in seen] == [1, 1, 1, 2]


def test_the_window_is_kept(authority: Authority, spool: SpoolThread) -> None:
    """Never more in flight than granted, in messages and in octets; credit of 0 pauses, more credit goes on."""
    in_flight: list[int] = []
    phases: list[str] = []

    async def script(talk: Conversation) -> None:
        hello = await talk.welcome(messages=3, octets=1 << 20)
        epoch = hello.streams[0].epoch
        heard = [(await talk.hear()).seq for _ in range(3)]
        await talk.say(pb.Credit(window_messages=0, window_bytes=0), pb.Ack(epoch=epoch, upto=3))
        try:
            in_flight.append((await _hear_soon(talk)).seq)
        except TimeoutError:
            phases.append("paused")
        await talk.say(pb.Credit(window_messages=8, window_bytes=2500))
        heard += [(await talk.hear()).seq for _ in range(2)]
        try:
            in_flight.append((await _hear_soon(talk)).seq)
        except TimeoutError:
            phases.append("octets are bounded")
        await talk.say(pb.Credit(window_messages=8, window_bytes=1 << 20))
        heard += [(await talk.hear()).seq for _ in range(5)]
        await talk.say(pb.Ack(epoch=epoch, upto=10))
        phases.append(str(heard))
        await talk.hear()

    with shipping(authority, spool, script) as run:
        wait_for(lambda: run.shipper.state == "connected", "the welcome")
        seal(spool, *range(1, 11), octets=1000)
        wait_for(lambda: waiting(spool) == 0, "everything is acked")

    assert in_flight == []
    assert phases == ["paused", "octets are bounded", str(list(range(1, 11)))]


async def _hear_soon(talk: Conversation) -> Any:
    """A message within a moment; TimeoutError when the agent keeps silent. The read goes on behind it."""
    pending = getattr(talk, "pending", None) or asyncio.ensure_future(talk.hear())
    done, _ = await asyncio.wait({pending}, timeout=0.3)
    if not done:
        original = talk.hear

        async def later() -> Any:
            talk.hear = original  # type: ignore[method-assign]
            return await pending

        talk.hear = later  # type: ignore[method-assign]
        raise TimeoutError
    return pending.result()


def test_a_batch_larger_than_the_window_goes_alone(authority: Authority, spool: SpoolThread) -> None:
    """A grant smaller than a batch delays, it never stalls."""
    seen: list[Any] = []
    seal(spool, 1, 2, 3, octets=5_000)

    async def script(talk: Conversation) -> None:
        await talk.welcome(octets=100)
        while isinstance(message := await talk.hear(), pb.Batch):
            seen.append(message.seq)
            await talk.say(pb.Ack(epoch=message.epoch, upto=message.seq))

    with shipping(authority, spool, script):
        wait_for(lambda: waiting(spool) == 0, "everything is acked")

    assert seen == [1, 2, 3]


def test_sparse_acks_free_what_they_name(authority: Authority, spool: SpoolThread) -> None:
    """`also` frees batches above the cumulative mark; the rest is sent again on the next stream."""
    seen: list[tuple[int, int]] = []
    seal(spool, 1, 2, 3)

    async def script(talk: Conversation) -> None:
        await talk.welcome()
        if talk.number == 1:
            batches = [await talk.hear() for _ in range(3)]
            await talk.say(pb.Ack(epoch=batches[0].epoch, upto=0, also=[pb.Range(from_seq=2, to_seq=3)]))
            return
        while isinstance(message := await talk.hear(), pb.Batch):
            seen.append((talk.number, message.seq))
            await talk.say(pb.Ack(epoch=message.epoch, upto=message.seq))

    with shipping(authority, spool, script):
        wait_for(lambda: waiting(spool) == 0, "everything is acked")

    assert [seq for _, seq in seen] == [1]


def test_a_retry_waits_as_long_as_told(authority: Authority, spool: SpoolThread) -> None:
    """Nack RETRY: that batch alone again, not before its time; others go on meanwhile."""
    moments: list[tuple[int, float]] = []
    seal(spool, 1, 2)

    async def script(talk: Conversation) -> None:
        await talk.welcome()
        while isinstance(message := await talk.hear(), pb.Batch):
            moments.append((message.seq, time.monotonic()))
            if len(moments) == 1:
                await talk.say(pb.Nack(epoch=message.epoch, seq=1, code=pb.RETRY, retry_ms=300))
            elif message.seq == 1:
                await talk.say(pb.Ack(epoch=message.epoch, upto=2))

    with shipping(authority, spool, script):
        wait_for(lambda: waiting(spool) == 0, "everything is acked")

    assert [seq for seq, _ in moments] == [1, 2, 1]
    assert moments[2][1] - moments[0][1] >= 0.29


def test_a_conflict_gets_a_new_number(authority: Authority, spool: SpoolThread) -> None:
    """Nack CONFLICT: the same octets come under another epoch, an alarm is raised, nothing is lost."""
    seen: list[pb.Batch] = []
    seal(spool, 1, 2)
    old = epoch_of(spool)

    async def script(talk: Conversation) -> None:
        await talk.welcome()
        while isinstance(message := await talk.hear(), pb.Batch):
            seen.append(message)
            if message.epoch == old and message.seq == 1:
                await talk.say(pb.Nack(epoch=old, seq=1, code=pb.CONFLICT))
            elif message.epoch == old:
                await talk.say(pb.Ack(epoch=old, upto=2))
            else:
                await talk.say(pb.Ack(epoch=message.epoch, upto=message.seq))

    with shipping(authority, spool, script) as run:
        wait_for(lambda: waiting(spool) == 0, "everything is acked")

    assert [(batch.epoch == old, batch.seq, batch.body) for batch in seen] == [
        (True, 1, body(1)),
        (True, 2, body(2)),
        (False, 1, body(1)),
    ]
    assert run.alarms == ["agent.spool_conflict"]


def test_an_older_copy_of_the_spool_loses_nothing(authority: Authority, spool: SpoolThread) -> None:
    """The collector has numbers that this file never gave: nothing is deleted on its word, all is sent one by one and
    compared, new seals get a new epoch.
    """
    seen: list[tuple[int, int]] = []
    seal(spool, 1, 2, 3)
    old = epoch_of(spool)

    async def script(talk: Conversation) -> None:
        await talk.welcome(have={old: 9})
        while isinstance(message := await talk.hear(), pb.Batch):
            seen.append((message.epoch, message.seq))
            if (message.epoch, message.seq) == (old, 2):
                await talk.say(pb.Nack(epoch=old, seq=2, code=pb.CONFLICT))
            else:
                await talk.say(pb.Ack(epoch=message.epoch, upto=9 if message.epoch == old else message.seq))

    with shipping(authority, spool, script) as run:
        wait_for(lambda: waiting(spool) == 0, "everything is acked")

    new = epoch_of(spool)
    assert new != old
    assert seen == [(old, 1), (old, 2), (old, 3), (new, 1)]
    assert run.alarms == ["agent.spool_rolled_back", "agent.spool_conflict"]


@pytest.mark.parametrize("code", [pb.TOO_BIG, pb.SCHEMA])
def test_a_refused_batch_is_declared(authority: Authority, spool: SpoolThread, code: pb.NackCode) -> None:
    """What the collector will never take does not stop the stream: its gap goes under its number."""
    seen: list[Any] = []
    seal(spool, 1, 2)

    async def script(talk: Conversation) -> None:
        await talk.welcome()
        while isinstance(message := await talk.hear(), pb.Batch | pb.Gap):
            seen.append(message)
            if isinstance(message, pb.Batch) and message.seq == 1:
                await talk.say(pb.Nack(epoch=message.epoch, seq=1, code=code))
            elif isinstance(message, pb.Gap):
                await talk.say(pb.Ack(epoch=message.epoch, upto=2))

    with shipping(authority, spool, script):
        wait_for(lambda: waiting(spool) == 0, "everything is acked")

    gap = next(message for message in seen if isinstance(message, pb.Gap))
    assert (gap.from_seq, gap.to_seq, dict(gap.records), gap.frames, gap.reason) == (1, 1, {1: 3}, 5, pb.REFUSED)


def test_going_away_and_coming_back(authority: Authority, spool: SpoolThread) -> None:
    """GoAway: acks that are on their way are taken, then another stream after the pause that was asked for."""
    moments: list[float] = []
    said: list[str] = []
    seal(spool, 1)

    async def script(talk: Conversation) -> None:
        moments.append(time.monotonic())
        await talk.welcome()
        if talk.number == 1:
            message = await talk.hear()
            await talk.say(pb.GoAway(reason="restart", retry_ms=200), pb.Ack(epoch=message.epoch, upto=1))
            said.append(type(await talk.hear()).__name__)
        await talk.hear()

    with shipping(authority, spool, script):
        wait_for(lambda: len(moments) == 2, "the second stream")

    assert waiting(spool) == 0
    assert said == ["Bye"]
    assert moments[1] - moments[0] >= 0.19


def test_nobody_there_is_said_once_and_tried_on(
    authority: Authority, spool: SpoolThread, caplog: pytest.LogCaptureFixture
) -> None:
    """One line for an outage, however many tries; when the collector comes everything goes."""
    seen: list[Any] = []
    seal(spool, 1)
    with ScriptedCollector(authority, lambda talk: ack_everything(talk, [])) as gone:
        port = gone.port
    address = authority.enrol(spool.folder, port).address
    shipper = shipper_to(spool, address)
    caplog.set_level("INFO")
    shipper.start()
    wait_for(lambda: shipper.tries >= 4, "it goes on trying")

    with ScriptedCollector(authority, lambda talk: ack_everything(talk, seen), port=port):
        wait_for(lambda: waiting(spool) == 0, "everything is acked")
        shipper.stop()

    events = [record.getMessage() for record in caplog.records]
    assert events.count("not shipping; records are kept in the spool, trying again") == 1
    assert events.count("connected to the collector") == 1
    assert len(seen) == 1


def test_a_collector_of_another_ca_gets_nothing(authority: Authority, spool: SpoolThread) -> None:
    """Trust is the enrolled CA alone: to a stranger under the right name no octet is sent."""
    seen: list[Any] = []
    seal(spool, 1)
    with ScriptedCollector(Authority(), lambda talk: ack_everything(talk, seen)) as stranger:
        address = authority.enrol(spool.folder, stranger.port).address
        shipper = shipper_to(spool, address)
        shipper.start()
        wait_for(lambda: shipper.state.startswith("not connected"), "it does not connect")
        shipper.stop()

    assert (stranger.connections, seen, waiting(spool)) == (0, [], 1)
