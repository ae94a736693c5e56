"""Control.Session over a real channel: beats on time and on change, commands on their way in."""

from __future__ import annotations

import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
from fieldwatch_agent.control.session import COMMANDS, COMMANDS_PER_S, ControlSession
from fieldwatch_agent.shipper.shipper import open_channel
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.scripted import Authority, Conversation, ScriptedCollector
from support.stack import wait_for


async def silent(talk: Conversation) -> None:
    await talk.hear()


def test_the_heart_beats_on_time_and_on_change(tmp_path: Path) -> None:
    """A status at once, one each period, one when something changes; none without a channel. The first says so."""
    asked: list[bool] = []

    def status(first: bool) -> pb.AgentStatus:
        asked.append(first)
        return pb.AgentStatus(version="1", frames_seen=len(asked))

    authority = Authority()
    with ScriptedCollector(authority, silent) as collector:
        address = authority.enrol(tmp_path, collector.port).address
        session = ControlSession(status, lambda command, channel: None, period_s=60)
        session.start()
        channel = open_channel(tmp_path, address)
        session.use(channel)
        wait_for(lambda: len(collector.statuses) == 1, "the first beat")
        session.change()
        wait_for(lambda: len(collector.statuses) == 2, "the beat on change")
        session.use(None)
        session.change()
        session.stop()
        channel.close()

    assert [beat.frames_seen for beat in collector.statuses] == [1, 2]
    assert asked == [True, False]


def test_what_is_new_at_the_end_is_told(tmp_path: Path) -> None:
    """The collector has heard it when `stop` returns: whatever closes the channel then takes nothing with it."""
    state = "capturing"
    authority = Authority()
    with ScriptedCollector(authority, silent) as collector:
        address = authority.enrol(tmp_path, collector.port).address
        session = ControlSession(lambda first: pb.AgentStatus(state=state), lambda command, channel: None, period_s=60)
        session.start()
        channel = open_channel(tmp_path, address)
        session.use(channel)
        wait_for(lambda: len(collector.statuses) == 1, "the first beat")
        state = "stopping"
        session.change()
        session.stop()
        heard = [beat.state for beat in collector.statuses]
        channel.close()

    assert heard == ["capturing", "stopping"]


def test_commands_come_in_order(tmp_path: Path) -> None:
    """Each with the channel that it came by; one that cannot be begun does not keep the next from coming."""
    got: list[tuple[str, grpc.Channel]] = []

    def handle(command: pb.Command, channel: grpc.Channel) -> None:
        got.append((command.id, channel))
        if command.id == "c7":
            raise RuntimeError("can't start new thread")

    authority = Authority()
    with ScriptedCollector(authority, silent) as collector:
        address = authority.enrol(tmp_path, collector.port).address
        session = ControlSession(lambda first: pb.AgentStatus(), handle, period_s=60)
        session.start()
        channel = open_channel(tmp_path, address)
        session.use(channel)
        for number in range(20):
            collector.command(pb.Command(id=f"c{number}"))
        wait_for(lambda: len(got) == 20, "all commands are here")
        session.use(None)
        session.stop()
        channel.close()

    assert session.failures == 1
    assert got == [(f"c{number}", channel) for number in range(20)]


def test_commands_without_end_wait_in_the_network(tmp_path: Path) -> None:
    """Many are heard at once, then some each second; the end waits for none of them."""
    got: list[str] = []
    authority = Authority()
    with ScriptedCollector(authority, silent) as collector:
        address = authority.enrol(tmp_path, collector.port).address
        session = ControlSession(
            lambda first: pb.AgentStatus(), lambda command, channel: got.append(command.id), period_s=60
        )
        session.start()
        channel = open_channel(tmp_path, address)
        session.use(channel)
        for number in range(5 * COMMANDS):
            collector.command(pb.Command(id=f"c{number}"))
        began = time.monotonic()
        wait_for(lambda: len(got) > COMMANDS + 5, "the first commands are here")
        took = time.monotonic() - began
        session.stop()
        ended = not session.is_alive()
        channel.close()

    assert ended
    assert got == [f"c{number}" for number in range(len(got))]
    assert len(got) < COMMANDS + COMMANDS_PER_S * (took + 2.0)


class WithoutControl(ScriptedCollector):
    """Ends each session at once; `sessions` counts them."""

    sessions = 0

    async def Session(self, request_iterator: AsyncIterator[pb.AgentStatus], context: Any) -> AsyncIterator[pb.Command]:
        self.sessions += 1
        return
        yield pb.Command()


def test_news_do_not_shorten_the_pause_after_a_session(tmp_path: Path) -> None:
    """A collector that ends every session is asked again after a while, however much there is to tell."""
    authority = Authority()
    with WithoutControl(authority, silent) as collector:
        address = authority.enrol(tmp_path, collector.port).address
        session = ControlSession(lambda first: pb.AgentStatus(), lambda command, channel: None, period_s=60)
        session.start()
        channel = open_channel(tmp_path, address)
        session.use(channel)
        wait_for(lambda: collector.sessions == 1, "the first session")
        for _ in range(50):
            session.change()
            threading.Event().wait(0.01)  # time for what must not happen
        session.stop()
        channel.close()

    assert collector.sessions == 1
