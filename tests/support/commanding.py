"""A runner of commands at a scripted collector, over real gRPC: commands without the whole daemon around them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from fieldwatch_agent.clock import Clock
from fieldwatch_agent.control.configuration import ConfigurationCare
from fieldwatch_agent.control.logs import DaemonLog
from fieldwatch_agent.control.runner import Runner
from fieldwatch_agent.control.session import ControlSession
from fieldwatch_agent.control.settings import Settings
from fieldwatch_agent.shipper.shipper import open_channel
from fieldwatch_proto.v1 import agent_pb2 as pb

from support.scripted import Authority, Conversation, ScriptedCollector
from support.stack import wait_for

ENDS = ("done", "failed", "refused", "cancelled")


class Desk:
    """An agent as commands see it, with the configuration of `agent.toml` in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = Clock(bytes(16))
        self.file = folder / "agent.toml"
        if not self.file.exists():
            self.file.write_text("")
        self.settings = Settings(self.file, {"data": str(folder)})
        self.log = DaemonLog()
        self.events: list[dict[str, Any]] = []
        self.restarts = 0
        self.takes_configuration = True
        self.configuration = ConfigurationCare(
            self.settings,
            folder,
            apply=lambda: None,
            restart=self.restart,
            event=lambda severity, data: self.events.append(data),
        )
        self.configuration.start(ships=True)

    def restart(self) -> None:
        self.restarts += 1

    def spool_status(self) -> dict[str, Any]:
        return {"records": 0}

    def describe(self) -> dict[str, Any]:
        return {"state": "capturing", "interfaces": ["lo"]}


class Commanding:
    """`give` a command, `end` waits for what became of it."""

    def __init__(self, folder: Path, collector: ScriptedCollector, agent: Any) -> None:
        self.folder, self.collector, self.agent = folder, collector, agent
        self.audits: list[dict[str, Any]] = []
        self.runner = Runner(agent, self.audits.append)
        self.session = ControlSession(lambda first: pb.AgentStatus(), self.runner.handle, period_s=60)
        self.session.start()
        self._channel: grpc.Channel | None = None
        self.connect()

    def connect(self) -> None:
        self._channel = open_channel(self.folder, f"127.0.0.1:{self.collector.port}")
        self.session.use(self._channel)

    def disconnect(self) -> None:
        """The collector has seen it when this returns."""
        assert self._channel is not None
        self.session.use(None)
        self._channel.close()
        wait_for(lambda: self.collector.open_sessions == 0, "the session has ended")

    def give(self, command_id: str, name: str, /, **arguments: Any) -> None:
        command = pb.Command(id=command_id, name=name, arguments=json.dumps(arguments).encode(), actor="user:ada")
        self.collector.command(command)

    def end(self, command_id: str, times: int = 1) -> pb.CommandReport:
        """The last report of a command that has ended so often."""

        def ended() -> bool:
            return sum(state in ENDS for state in self.collector.states(command_id)) >= times

        wait_for(ended, f"{command_id} has ended", 20)
        return self.collector.last(command_id)

    def outcomes(self) -> list[tuple[str, str]]:
        return [(audit["name"], audit["outcome"]) for audit in self.audits]

    def close(self) -> None:
        self.runner.stop()
        self.session.use(None)
        self.session.stop()
        if self._channel is not None:
            self._channel.close()


@contextlib.contextmanager
def commanding(folder: Path, toml: str = "") -> Iterator[Commanding]:
    async def silent(talk: Conversation) -> None:
        await talk.hear()

    (folder / "agent.toml").write_text(toml)
    authority = Authority()
    with ScriptedCollector(authority, silent) as collector:
        authority.enrol(folder, collector.port)
        made = Commanding(folder, collector, Desk(folder))
        try:
            yield made
        finally:
            made.close()
