"""`bench`, `vendors update`, and what holds for every command of the agent."""

from __future__ import annotations

import argparse
import errno
import io
import json
import os
import pwd
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fieldwatch_agent.cli import read, run
from fieldwatch_agent.cli.main import main
from fieldwatch_agent.cli.progress import INTERVAL_S, PATIENCE_S, Progress
from fieldwatch_agent.cli.vendors import load_vendors
from fieldwatch_agent.config import AgentConfig
from fieldwatch_proto.cli.command import Failure
from support.sample import write_sample

COMMANDS = (
    ["read"],
    ["run"],
    ["enrol"],
    ["spool", "status"],
    ["bench"],
    ["vendors", "update"],
    ["doctor"],
    ["config", "check"],
    ["config", "show"],
    ["config", "schema"],
)
OUI = "Registry,Assignment,Organization Name,Organization Address\nMA-L,001132,Example Works,Somewhere\n"


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_shows_an_example(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Every command explains itself with a line that can be typed."""
    assert main([*command, "--help"]) == 0
    assert f"fieldwatch-agent {' '.join(command)}" in capsys.readouterr().out.partition("\nexample")[2]


def test_help_loads_nothing_heavy() -> None:
    """`--help` answers at once: neither the kernel nor gRPC, cryptography or libpcap is loaded for it."""
    code = (
        "import sys\nfrom fieldwatch_agent.cli.main import main\nmain(['--help'])\n"
        "heavy = ('grpc', 'cryptography', 'pcapy', 'sqlite_utils', 'dpkt', 'msgpack', 'fieldwatch_ext.engine')\n"
        "print([name for name in heavy if name in sys.modules], file=sys.stderr)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)

    assert result.stderr == "[]\n"


def test_bench(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One object a stage, in order, with the fields of the commands contract."""
    file = tmp_path / "sample.pcap"
    frames = write_sample(file)
    assert main(["bench", "--json", "--repeat", "2", "--peer", str(file)]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert [row["stage"] for row in rows] == [
        "read",
        "decode",
        "decode+flows+sightings",
        "dissectors",
        "pipeline",
        "dpkt",
    ]
    assert {row["frames"] for row in rows} == {frames}
    assert {row["capture"] for row in rows} == {"sample.pcap"}
    assert [row["flows"] > 0 for row in rows] == [False, False, True, True, True, True]
    keys = ["stage", "capture", "frames", "flows", "ns_per_frame", "frames_per_s", "cpu_s", "rss_mb"]
    assert all(list(row)[: len(keys)] == keys for row in rows)
    assert all(row["median_ns_per_frame"] >= row["ns_per_frame"] > 0 for row in rows)


def test_vendors_update(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with IEEE's files becomes the table that lookups use from then on."""
    source, data = tmp_path / "ieee", tmp_path / "data"
    source.mkdir()
    for name in ("oui.csv", "mam.csv", "oui36.csv"):
        (source / name).write_text(OUI)
    assert main(["vendors", "update", "--from", str(source), "--data", str(data)]) == 0

    assert capsys.readouterr().out == f"{data}/vendors.bin: 1 prefix\n"
    vendors = load_vendors(AgentConfig(data=str(data)))
    assert vendors.lookup(bytes.fromhex("001132000001")) == "Example Works"
    assert len(load_vendors(AgentConfig(data=str(tmp_path / "none")))) > 10_000


def test_vendors_update_without_a_network_says_what_works(capsys: pytest.CaptureFixture[str]) -> None:
    """The system's word for it, and the way without a network."""
    assert main(["vendors", "update", "--from", "http://127.0.0.1:1"]) == 1

    said = capsys.readouterr().err
    assert ": Connection refused; without a way there: apt-get install ieee-data, then vendors update --from" in said


def test_vendors_update_that_fails_keeps_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A source that is not there: exit 1, one line, nothing written."""
    assert main(["vendors", "update", "--from", str(tmp_path / "none"), "--data", str(tmp_path / "data")]) == 1

    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "data").exists()


def test_a_damaged_vendor_table_names_its_remedy(tmp_path: Path) -> None:
    """The table in the data folder is broken: one line that says how to make it anew."""
    (tmp_path / "vendors.bin").write_bytes(b"FWVENDOR")
    with pytest.raises(Failure, match="fieldwatch-agent vendors update"):
        load_vendors(AgentConfig(data=str(tmp_path)))


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def drawn(stream: io.StringIO, *, quiet: bool = False) -> str:
    progress = Progress(quiet=quiet, stream=stream)
    deadline_s = time.monotonic() + PATIENCE_S + 2 * INTERVAL_S
    while time.monotonic() < deadline_s and not stream.getvalue():
        progress.update("office\x1b.pcap", 450, 1_000, 12_345)
    progress.clear()
    return stream.getvalue()


def test_a_capture_that_may_not_be_read_names_its_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line: the file, why, and who may read it."""
    capture = tmp_path / "office.pcap"
    capture.touch()

    def refused(path: str) -> int:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(read, "_open", refused)
    code = main(["read", str(capture)])

    owner = pwd.getpwuid(os.getuid()).pw_name
    said = f"{capture}: Permission denied; it belongs to {owner}: run this with sudo -u {owner}"
    assert (1, f"fieldwatch-agent: {said}\n") == (code, capsys.readouterr().err)


def test_progress() -> None:
    """On a terminal and after a moment: name, share, frames; gone when the work is done. Elsewhere nothing."""
    line = drawn(Terminal())

    assert "office\\x1b.pcap  [###########.............]  45%  12,345 frames" in line
    assert line.endswith("\r\x1b[K")
    assert drawn(Terminal(), quiet=True) == drawn(io.StringIO()) == ""


def test_run_update_refreshes_the_table_of_its_own_folder(tmp_path: Path) -> None:
    """`run --update` hands --config and --data on: else the table would land in the default folder."""
    args = argparse.Namespace(config=tmp_path / "agent.toml", data=tmp_path / "data")
    assert run.vendors_command(args)[-6:] == [
        "vendors",
        "update",
        "--config",
        str(tmp_path / "agent.toml"),
        "--data",
        str(tmp_path / "data"),
    ]
    assert run.vendors_command(argparse.Namespace(config=None, data=None))[-2:] == ["vendors", "update"]
