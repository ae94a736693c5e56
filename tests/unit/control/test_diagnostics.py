"""The diagnostics bundle: what is in it, and what is not."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_agent.control.bundle import Redaction, archive
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.version import VERSION
from support.commanding import Commanding, commanding

log = get_logger("fieldwatch_agent.test")


def bundle_of(site: Commanding, command_id: str) -> dict[str, str]:
    """The files of a bundle that was sent: name without its folder -> text."""
    octets = b"".join(report.chunk for report in site.collector.reports if report.id == command_id)
    with tarfile.open(fileobj=io.BytesIO(octets), mode="r:gz") as tar:
        return {
            member.name.partition("/")[2]: tar.extractfile(member).read().decode()  # type: ignore[union-attr]
            for member in tar.getmembers()
        }


def test_a_bundle_tells_of_the_agent_and_of_nobody_else(tmp_path: Path) -> None:
    """Versions, settings with origins, status, interfaces, limits, the newest log lines; no address of anybody."""
    toml = '[capture]\nfilter = "host 192.0.2.77 or ether host 02:00:5e:10:00:01"\n[log]\nlevel = "info"\n'
    with commanding(tmp_path, toml) as site:
        site.agent.log.configure("info", "json")
        log.info("said a moment ago", peer="2001:db8::17", token="do-not-tell")
        site.give("c1", "diagnostics")
        last = site.end("c1")
    files = bundle_of(site, "c1")
    whole = "\n".join(files.values())
    config = {row["key"]: row for row in json.loads(files["config.json"])}
    (line,) = [json.loads(line) for line in files["log.ndjson"].splitlines() if "said a moment ago" in line]

    assert last.state == pb.COMMAND_DONE
    assert json.loads(files["versions.json"])["fieldwatch"] == VERSION
    assert config["capture.filter"]["value"] == "host address-1 or ether host address-2"
    assert config["capture.filter"]["origin"] == f"file {tmp_path / 'agent.toml'}"
    assert (line["peer"], line["token"]) == ("address-3", "********")
    assert "lo" in json.loads(files["interfaces.json"])
    assert json.loads(files["limits.json"])["open_files"] > 0
    assert json.loads(files["status.json"])["state"] == "capturing"
    for secret in ("192.0.2.77", "02:00:5e:10:00:01", "2001:db8::17", "do-not-tell", "PRIVATE KEY"):
        assert secret not in whole
    name = next(report.file_name for report in site.collector.reports if report.file_name)
    assert json.loads(last.result) == {"file": name, "octets": site_octets(site)}


def site_octets(site: Commanding) -> int:
    return sum(len(report.chunk) for report in site.collector.reports)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("10.0.0.1", "address-1"),
        ("from 10.0.0.1:53 to 10.0.0.2:99", "from address-1:53 to address-2:99"),
        ("10.0.0.1 10.0.0.2 10.0.0.1", "address-1 address-2 address-1"),
        ("[2001:db8::1]:7443", "[address-1]:7443"),
        ("fe80::1%eth0", "address-1%eth0"),
        ("::ffff:192.0.2.1", "address-1"),
        ("00:1B:44:11:3a:b7 00-1b-44-11-3A-B7", "address-1 address-1"),
        ("10.0.0.0/24", "address-1/24"),
        (
            "peer:10.0.0.1, peer:2001:db8::1. It ended at 10.0.0.1.",
            "peer:address-1, peer:address-2. It ended at address-1.",
        ),
        ("12:34:56", "12:34:56"),
        ("2026-11-30T14:02:07.123456789Z", "2026-11-30T14:02:07.123456789Z"),
        ("version 1.85.1, 999.1.1.1", "version 1.85.1, 999.1.1.1"),
        ("eth0.100 lo veth1a2b", "eth0.100 lo veth1a2b"),
    ],
)
def test_addresses_get_names(text: str, shown: str) -> None:
    """Every form of an address; what only looks like one stays."""
    assert Redaction().text(text) == shown


def test_the_same_address_has_the_same_name_in_all_files() -> None:
    """In texts, in values and in keys of objects."""
    files: dict[str, Any] = {"a.json": {"192.0.2.1": ["192.0.2.2"]}, "b.txt": "192.0.2.2 and 192.0.2.1"}
    with tarfile.open(fileobj=io.BytesIO(archive("f", files)), mode="r:gz") as tar:
        texts = [tar.extractfile(member).read().decode() for member in tar.getmembers()]  # type: ignore[union-attr]

    assert json.loads(texts[0]) == {"address-1": ["address-2"]}
    assert texts[1] == "address-2 and address-1"


def test_the_log_that_is_kept_is_bounded(tmp_path: Path) -> None:
    """In lines and in characters: the newest stay."""
    from fieldwatch_agent.control.logs import MOST_CHARS, MOST_LINES, DaemonLog

    kept = DaemonLog()
    kept.configure("info", "json")
    for number in range(2 * MOST_LINES):
        log.info("short", number=number)
    short = [json.loads(line)["number"] for line in kept.recent.lines()]
    for _ in range(100):
        log.info("x" * 2_000)
    long = kept.recent.lines()

    assert short == list(range(2 * MOST_LINES - len(short), 2 * MOST_LINES))
    assert 0 < len(short) <= MOST_LINES
    assert sum(map(len, long)) <= MOST_CHARS
    assert len(long) > 20
