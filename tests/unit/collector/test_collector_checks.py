"""What `doctor` says of identities: a CA near its end, devices that wait for a person."""

from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path

from fieldwatch_collector.cli.checks import Level, examine
from fieldwatch_collector.config import CollectorConfig
from fieldwatch_collector.identity.authority import Authority
from support.collector import offline


def findings(data: Path, check: str) -> list[tuple[Level, str, str]]:
    return [
        (finding.level, finding.what, finding.remedy)
        for finding in examine(CollectorConfig(data=str(data)))
        if finding.check == check
    ]


def test_a_ca_in_its_last_year_is_to_be_replaced_in_time(tmp_path: Path) -> None:
    """While agents still trust it; once it was replaced all is well."""
    then = dt.datetime.now(dt.UTC) - dt.timedelta(days=365 * 19 + 100)
    Authority.open(tmp_path, lambda: then)
    before = findings(tmp_path, "certificate")
    Authority.open(tmp_path).begin_rotation()
    after = findings(tmp_path, "certificate")

    assert [(level, remedy) for level, _, remedy in before] == [
        (Level.NOTE, "replace it while agents still trust it: fieldwatch-collector ca rotate --begin")
    ]
    assert before[0][1].startswith("ca.crt is valid for 26")
    assert [level for level, _, _ in after] == [Level.OK]


def test_devices_that_wait_are_told(tmp_path: Path) -> None:
    """And a database from before there was approval is no error."""
    with offline(tmp_path) as services:

        def ask(connection: sqlite3.Connection) -> None:
            connection.executemany(
                "INSERT INTO pending_enrolment(id, key_digest, token, hostname, address, asked_ns, state)"
                " VALUES(?, ?, '', '', '', 0, ?)",
                [("a", b"a", "waiting"), ("b", b"b", "waiting"), ("c", b"c", "rejected")],
            )

        nobody = findings(tmp_path, "agents")
        services.store.transact_sync(ask)
        two = findings(tmp_path, "agents")
        services.store.transact_sync(lambda connection: connection.execute("DROP TABLE pending_enrolment").rowcount)
        earlier = [*findings(tmp_path, "agents"), *findings(tmp_path, "store")]

    assert nobody == []
    assert two == [(Level.NOTE, "2 devices wait for approval", "fieldwatch-collector agents pending")]
    assert [level for level, _, _ in earlier] == [Level.OK]
