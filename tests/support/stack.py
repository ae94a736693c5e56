"""A real site on this machine: collector and agent as processes, on a data folder of the test's own."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from fieldwatch_agent.spool.control import ask_daemon
from fieldwatch_agent.spool.items import SpoolError

from support.net import Wire

T = TypeVar("T")


def wait_for(look: Callable[[], T | None], what: str, seconds: float = 30.0) -> T:
    """What `look` gives once it is neither None nor False; an assertion that names `what` when the deadline passes."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if seen is not None and seen is not False:
            return seen
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


class Daemon:
    """One of our processes; what it writes to standard error is kept in a file."""

    def __init__(
        self, module: str, log: Path, prefix: Sequence[str] = (), environ: dict[str, str] | None = None
    ) -> None:
        self.module, self.log, self.prefix = module, log, list(prefix)
        self.environ = {**os.environ, **(environ or {})}
        self.process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> list[str]:
        return [*self.prefix, sys.executable, "-m", f"{self.module}.cli.main", *arguments]

    def spawn(self, *arguments: str) -> None:
        with self.log.open("ab") as stream:
            self.process = subprocess.Popen(
                self.command(*arguments),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                env=self.environ,
            )

    def call(self, *arguments: str, stdin: str = "") -> str:
        """Run another command of the same program to its end; its standard output."""
        done = subprocess.run(
            self.command(*arguments),
            input=stdin,
            capture_output=True,
            text=True,
            env=self.environ,
            timeout=60,
        )
        assert done.returncode == 0, f"{arguments}: exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def failed(self) -> bool:
        """Whether it has ended with another exit code than 0."""
        return self.process is not None and self.process.poll() not in (None, 0)

    def kill(self) -> None:
        """SIGKILL: no chance to say goodbye."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self, seconds: float = 20.0) -> int:
        """SIGTERM; the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def tail(self, lines: int = 15) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


class Collector(Daemon):
    """`fieldwatch-collector serve` on free loopback ports, the same ones at each start."""

    def __init__(self, data: Path, prefix: Sequence[str] = (), environ: dict[str, str] | None = None) -> None:
        data.mkdir(parents=True, exist_ok=True)
        super().__init__("fieldwatch_collector", data.parent / f"{data.name}.log", prefix, environ)
        self.data = data
        self.ports: dict[str, int] = {}

    def start(self) -> None:
        places = self.ports or {"grpc": 0, "public_grpc": 0, "http": 0}
        ports_file = self.data / "ports.json"
        ports_file.unlink(missing_ok=True)
        flags = [f"--{name.replace('_', '-')}=127.0.0.1:{port}" for name, port in places.items()]
        self.spawn("serve", "--data", str(self.data), *flags)
        wait_for(lambda: ports_file.exists() or not self.running, "the collector listens")
        assert self.running, self.tail()
        self.ports = json.loads(ports_file.read_text())

    def token(self, *flags: str) -> str:
        return self.call("token", "create", "--data", str(self.data), *flags).strip()

    def ask(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows of its database, read beside the running server."""
        connection = sqlite3.connect(f"file:{self.data / 'collector.db'}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()


class Agent(Daemon):
    """`fieldwatch-agent`, enrolled at a collector on this machine."""

    def __init__(self, data: Path, prefix: Sequence[str] = (), environ: dict[str, str] | None = None) -> None:
        data.mkdir(parents=True, exist_ok=True)
        super().__init__("fieldwatch_agent", data.parent / f"{data.name}.log", prefix, environ)
        self.data = data

    def enrol(self, collector: Collector) -> None:
        address = f"127.0.0.1:{collector.ports['public_grpc']}"
        self.call(
            "enrol",
            "--token-file",
            "-",
            "--collector",
            address,
            "--data",
            str(self.data),
            stdin=collector.token(),
        )

    def start(self, collector: Collector, *arguments: str) -> None:
        address = f"127.0.0.1:{collector.ports['grpc']}"
        self.spawn("run", "--data", str(self.data), "--collector", address, *arguments)

    def spool(self) -> dict[str, Any]:
        """`spool status` as an object."""
        status: dict[str, Any] = json.loads(self.call("spool", "status", "--data", str(self.data), "-o", "json"))
        return status

    def is_drained(self) -> bool:
        """Whether nothing waits for the collector: no batch, no declared gap."""
        status = self.spool()
        return status["batches"] == 0 and status["gaps"] == 0


class Site:
    """A collector and an agent at the near end of a wire; the agent listens on it.

    `environ` is the agent's; the collector gets its own settings of it.
    """

    def __init__(self, folder: Path, over: Wire, environ: dict[str, str] | None = None) -> None:
        prefix = over.run_in(over.near)
        settings = {name: value for name, value in (environ or {}).items() if name.startswith("FIELDWATCH_COLLECTOR__")}
        self.over = over
        self.collector = Collector(folder / "collector", prefix, settings)
        self.agent = Agent(folder / "agent", prefix, environ)

    def start(self) -> None:
        """Wait until the books are open as well: what an agent that never had any took before is in none."""
        self.collector.start()
        self.agent.enrol(self.collector)
        self.start_agent()
        wait_for(self._books_are_open, "the books are open")

    def _books_are_open(self) -> bool:
        assert self.agent.running, self.agent.tail()
        try:
            return bool(next(ask_daemon(self.agent.data, "status"))["state"] == "capturing")
        except SpoolError:  # it does not answer yet
            return False

    def start_agent(self) -> None:
        """Start it and wait until its ring is open; nobody may send meanwhile."""
        begun = self.agent.log.stat().st_size if self.agent.log.exists() else 0
        self.agent.start(self.collector, "-i", self.over.interface)

        def capturing() -> bool:
            assert self.agent.running, self.agent.tail()
            return '"capturing"' in self.agent.log.read_text(errors="replace")[begun:]

        wait_for(capturing, "the agent captures")

    def drain(self) -> None:
        """Stop the agent as a person would, let a fresh one ship what is left, and wait for the projections."""
        assert self.agent.stop() == 0, self.agent.tail()
        self.start_agent()
        wait_for(self.agent.is_drained, "the spool is empty", 60)
        assert self.agent.stop() == 0, self.agent.tail()
        wait_for(self.projected, "the projections have caught up", 60)

    def projected(self) -> bool:
        newest = self.collector.ask("SELECT coalesce(max(position), 0) FROM batch")[0][0]
        places = self.collector.ask("SELECT position FROM projection")
        return bool(places) and all(position == newest for (position,) in places)

    def close(self) -> None:
        for daemon in (self.agent, self.collector):
            if daemon.running:
                daemon.kill()
