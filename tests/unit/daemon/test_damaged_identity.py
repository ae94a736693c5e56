"""What is left of an identity after a cut: found before it is used, never by gRPC, which ends the process for it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from fieldwatch_agent.enrolment.identity import (
    Credentials,
    DamagedError,
    Identity,
    load_credentials,
    store_identity,
    usable_identity,
)
from support.capture_files import pcap
from support.stack import Agent

CERTIFICATE = b"-----BEGIN CERTIFICATE-----\nMAAA\n-----END CERTIFICATE-----\n"
KEY = b"-----BEGIN PRIVATE KEY-----\nMAAA\nMA==\n-----END PRIVATE KEY-----\n"
IDENTITY = Identity("id", "home", "127.0.0.1", 7443, 7444, 0, 1 << 32)


def test_whole_files_are_loaded(tmp_path: Path) -> None:
    """As they were stored."""
    stored = Credentials(KEY, CERTIFICATE, CERTIFICATE)

    store_identity(tmp_path, IDENTITY, stored)

    assert load_credentials(tmp_path) == stored
    assert usable_identity(tmp_path) == IDENTITY


@pytest.mark.parametrize("name", ["agent.key", "agent.crt", "ca.crt"])
@pytest.mark.parametrize("octets", [None, b"", bytes(300), KEY[:-9], b"x" + KEY], ids=str)
def test_a_damaged_file_is_named(tmp_path: Path, name: str, octets: bytes | None) -> None:
    """Gone, empty, zeros, cut, or something else: its path and the remedy."""
    store_identity(tmp_path, IDENTITY, Credentials(KEY, CERTIFICATE, CERTIFICATE))
    path = tmp_path / "identity" / name
    path.unlink()
    if octets is not None:
        path.write_bytes(octets)

    with pytest.raises(DamagedError, match=rf"{name}: cannot be used \(.*\); enrol again: fieldwatch-agent enrol "):
        usable_identity(tmp_path)


@pytest.mark.parametrize("name", ["identity.json", "agent.key"])
@pytest.mark.parametrize("flag", ["--use-api", "--replay"])
def test_who_must_ship_ends(tmp_path: Path, flag: str, name: str) -> None:
    """`--use-api` and `--replay` do not wait for a person: exit 1, one line."""
    agent = Agent(tmp_path / "agent")
    store_identity(agent.data, IDENTITY, Credentials(KEY, CERTIFICATE, CERTIFICATE))
    (agent.data / "identity" / name).write_bytes(b"")
    (tmp_path / "empty.pcap").write_bytes(pcap([]))
    arguments = ["--use-api", "-i", "fw-absent0"] if flag == "--use-api" else ["--replay", str(tmp_path / "empty.pcap")]

    ended = subprocess.run(
        agent.command("run", "--data", str(agent.data), *arguments), capture_output=True, text=True, timeout=30
    )

    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1)
    assert f"{name}: cannot be used" in ended.stderr
