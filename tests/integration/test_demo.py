"""`./dev demo` from its start to its end, as a process."""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]


def demo(data: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "support.demo", "--data", str(data), "--port", str(port), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=TESTS)


def test_the_sample_is_shown_and_the_next_start_goes_on_with_it(tmp_path: Path) -> None:
    """A login link, twelve devices by name, a clean end; started again it knows its agent and its devices."""
    first = demo(tmp_path, "--replay", "sample", "--for", "3")
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
    damaged = demo(tmp_path, "--replay", str(text), "--for", "5")

    assert (missing.returncode, missing.stderr.count("\n")) == (1, 1)
    assert "No such file" in missing.stderr
    assert damaged.returncode == 1
    assert "text.pcap" in damaged.stderr
