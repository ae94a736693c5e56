"""`./dev demo`: a collector and an agent on this machine, the page with a login link, a live device table.

What it makes stands in --data (default demo-data/, kept for the next time). The agent listens on the interfaces that
are up, where this process may capture; else it replays a capture: the given one, or the sample that the project makes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from fieldwatch_agent.enrolment.identity import EnrolmentError, load_identity
from fieldwatch_collector import admin
from fieldwatch_proto.cli.tables import Column, write
from fieldwatch_proto.client import Client, ClientError, as_dict

from support.sample import DURATION_NS, write_sample
from support.stack import Agent, Collector, Daemon

REFRESH_S = 2.0
SAMPLE = Path("sample")  # --replay sample: the generated one
ROWS = 20
COLUMNS = [
    Column("name"),
    Column("ips", "ADDRESSES"),
    Column("macs", "MAC"),
    Column("vendor"),
    Column("sources"),
    Column("flows", align="right"),
    Column("last_seen", show=lambda text: str(text)[11:19]),
]


def may_capture() -> bool:
    """Whether this process could open a packet socket."""
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
    except PermissionError:
        return False
    return True


def interfaces() -> list[str]:
    """Interfaces that are up and are no loopback."""
    found = []
    for _, name in socket.if_nameindex():
        flags = int(Path("/sys/class/net", name, "flags").read_text(), 16)
        if flags & 1 and not flags & 8:
            found.append(name)
    return found


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev demo", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument(
        "--replay",
        type=Path,
        metavar="CAPTURE",
        help='feed this capture instead of an interface; "sample" = a generated one',
    )
    parser.add_argument("--for", dest="seconds", type=float, default=0, metavar="SECONDS", help="stop after so long")
    parser.add_argument("--data", type=Path, default=Path("demo-data"), metavar="DIR", help="default demo-data")
    parser.add_argument("--port", type=int, default=7480, metavar="N", help="the page's port (default 7480)")
    chosen = parser.parse_args()
    if not 0 <= chosen.port <= 65_535:
        parser.error(f"--port {chosen.port}: accepted is a number from 0 (any free port) to 65535")
    return chosen


def check(chosen: argparse.Namespace) -> None:
    """What can be known to be wrong before anything starts; exits with one line."""
    if chosen.replay not in (None, SAMPLE):
        try:
            with chosen.replay.open("rb") as stream:
                stream.read(1)
        except OSError as problem:
            sys.exit(f"dev: --replay {chosen.replay}: {problem.strerror}")
    try:
        chosen.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        (chosen.data / "collector").mkdir(exist_ok=True)
        (chosen.data / "collector.log").open("ab").close()
    except OSError as problem:
        sys.exit(f"dev: {problem.filename}: {problem.strerror}; give a folder of your own with --data DIR")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", chosen.port))
        except OSError as problem:
            sys.exit(f"dev: port {chosen.port}: {problem.strerror}; give another with --port N")


def last_words(daemon: Daemon) -> str:
    """What a program that ended said last: its own line of error, without the log around it."""
    lines = [line for line in daemon.tail(50).splitlines() if line and not line.startswith("{")]
    return lines[-1] if lines else f"see {daemon.log}"


def start_collector(collector: Collector, port: int) -> None:
    collector.ports = {"grpc": 0, "public_grpc": 0, "http": port}
    try:
        collector.start()
    except AssertionError:
        sys.exit(f"dev: the collector did not start: {last_words(collector)}")


def operate(collector: Collector, operation: str, **arguments: str) -> object:
    return admin.call(collector.data, operation, arguments)


def login_link(collector: Collector) -> str:
    """A page address that logs in once; the demo's own administrator is made on the first start."""
    users = operate(collector, "user.list")
    assert isinstance(users, list)
    if not any(user["name"] == "demo" for user in users):
        operate(collector, "user.add", name="demo", password=secrets.token_urlsafe(24), role="admin")
    link = operate(collector, "user.login-link", name="demo")
    assert isinstance(link, dict)
    return str(link["url"])


def client_of(collector: Collector, data: Path) -> Client:
    stored = data / "api-token"
    if not stored.exists():
        made = operate(collector, "api-token.create", name="demo", role="viewer")
        assert isinstance(made, dict)
        with os.fdopen(os.open(stored, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write(made["token"])
    return Client.connect(f"127.0.0.1:{collector.ports['public_grpc']}", stored.read_text().strip())


def enrol(agent: Agent, collector: Collector) -> None:
    """Once: an agent that is enrolled needs no further join token."""
    if load_identity(agent.data) is None:
        try:
            agent.enrol(collector)
        except AssertionError as problem:
            sys.exit(f"dev: the agent did not enrol: {str(problem).strip().splitlines()[-1]}")


def start_agent(agent: Agent, collector: Collector, replay: Path | None) -> None:
    if replay is not None:
        agent.start(collector, "--replay", str(replay))
    else:
        agent.start(collector, *(flag for name in interfaces() for flag in ("-i", name)))


def show(client: Client, page: str, what: str, live: bool) -> None:
    """The device table; redrawn in place on a terminal."""
    devices = [as_dict(device) for device in client.devices()]
    if live:
        print(f"\x1b[H\x1b[2JPage    {page}  (logs in once; ./dev demo again for another)\nSource  {what}")
    print(f"Devices {len(devices)}\n")
    quiet = "nothing heard yet; for something to look at: ./dev demo --replay sample"
    write(devices[:ROWS], COLUMNS, empty=quiet)
    sys.stdout.flush()
    if live:
        print("\nCtrl-C stops.", flush=True)


@contextlib.contextmanager
def running(*daemons: Daemon) -> Iterator[None]:
    """Stop them in this order at the end, whatever happens."""
    try:
        yield
    finally:
        for daemon in daemons:
            if daemon.running:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    daemon.stop()
            if daemon.running:
                daemon.kill()


def source(wanted: Path | None, data: Path) -> tuple[Path | None, str]:
    """The capture to replay, or None for live; and what to tell about it."""
    if wanted is not None and wanted != SAMPLE:
        return wanted, f"replay of {wanted}"
    why, names = "as asked", interfaces()
    if wanted is None and may_capture() and names:
        return None, f"live on {', '.join(names)}"
    if wanted is None:
        why = "no interface is up" if may_capture() else "no right to capture (run as root for live)"
    sample = data / "sample.pcap"
    write_sample(sample, time.time_ns() - DURATION_NS)
    return sample, f"replay of the sample capture: {why}"


def main() -> None:
    chosen = options()
    check(chosen)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    data = chosen.data.resolve()
    replay, what = source(chosen.replay, data)
    print(f"Source  {what}", flush=True)
    collector = Collector(data / "collector")
    with running(collector):
        start_collector(collector, chosen.port)
        page = login_link(collector)
        print(f"Page    {page}", flush=True)
        agent = Agent(data / "agent", environ={"FIELDWATCH_AGENT__SPOOL__SEAL_AGE": "1 s"})
        enrol(agent, collector)
        with running(agent), client_of(collector, data) as client:
            start_agent(agent, collector, replay)
            watch(client, agent, page, what, chosen.seconds, replay is not None)
    print(f"Stopped. The data stands in {chosen.data}; ./dev demo goes on with it.")


def watch(client: Client, agent: Agent, page: str, what: str, seconds: float, replayed: bool) -> None:
    """Show the table until Ctrl-C, SIGTERM, or the time is over."""
    live = sys.stdout.isatty()
    deadline = time.monotonic() + seconds if seconds else None
    with contextlib.suppress(KeyboardInterrupt):
        while deadline is None or time.monotonic() < deadline:
            if agent.failed or not (agent.running or replayed):
                sys.exit(f"dev: the agent ended: {last_words(agent)}")
            if live:
                with contextlib.suppress(ClientError):
                    show(client, page, what, live)
            time.sleep(min(REFRESH_S, max(0.0, deadline - time.monotonic()) if deadline else REFRESH_S))
    if agent.failed:
        sys.exit(f"dev: the agent ended: {last_words(agent)}")
    if not live:
        with contextlib.suppress(ClientError):  # Ctrl-C reaches the collector too
            show(client, page, what, live)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:  # before there was anything to show
        sys.exit(130)
    except (ClientError, admin.AdminError, EnrolmentError) as problem:
        sys.exit(f"dev: {problem}")
