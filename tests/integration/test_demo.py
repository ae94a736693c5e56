"""`./dev demo` from its start to its end, as a process."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from support.stack import wait_for

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]


def demo(data: Path, *arguments: str, until: Callable[[], bool] | None = None) -> subprocess.CompletedProcess[str]:
    """Run it to its end; `until`: it is told to stop then."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "support.demo", "--data", str(data), "--port", str(port), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=TESTS) as process:
        if until is not None:
            wait_for(lambda: until() or process.poll() is not None, "what it shall show is there", 60)
            process.send_signal(signal.SIGTERM)
        said, complained = process.communicate(timeout=100)
    return subprocess.CompletedProcess(command, process.returncode, said, complained)


def devices(data: Path) -> int:
    """How many the collector of a demo knows."""
    database = data / "collector" / "collector.db"
    if not database.exists():
        return 0
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10)) as connection:
        if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'device'").fetchone():
            return 0
        return int(connection.execute("SELECT count(*) FROM device").fetchone()[0])


def test_the_sample_is_shown_and_the_next_start_goes_on_with_it(tmp_path: Path) -> None:
    """A login link, twelve devices by name, a clean end; started again it knows its agent and its devices."""
    first = demo(tmp_path, "--replay", "sample", until=lambda: devices(tmp_path) == 12)
    again = demo(tmp_path, "--replay", "sample", "--for", "1")

    assert (first.returncode, first.stderr) == (0, "")
    assert re.search(r"^Page +http://127\.0\.0\.1:\d+/#/login/[0-9a-f]{32}$", first.stdout, re.MULTILINE)
    assert "Devices 12" in first.stdout
    assert {"nas", "door-camera", "sw-office-1"} <= set(first.stdout.split())
    assert (again.returncode, again.stderr) == (0, "")
    assert "Devices 12" in again.stdout


def test_a_wrong_capture_is_one_line(tmp_path: Path) -> None:
    """What is no capture, or not there, is said before or instead of a page that stays empty."""
    missing = demo(tmp_path, "--replay", str(tmp_path / "nope.pcap"))
    text = tmp_path / "text.pcap"
    text.write_text("no capture")
    damaged = demo(tmp_path, "--replay", str(text), "--for", "60")

    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "No such file" in missing.stderr
    assert damaged.returncode == 1
    assert "text.pcap" in damaged.stderr
