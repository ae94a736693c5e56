"""What `doctor` says of identities: a CA near its end, devices that wait for a person."""

from __future__ import annotations

import datetime as dt
import sqlite3
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from fieldwatch_collector.cli.checks import Level, examine
from fieldwatch_collector.config import CollectorConfig
from fieldwatch_collector.identity import pki
from fieldwatch_collector.identity.authority import Authority
from support.collector import offline, private_key


def findings(data: Path, check: str) -> list[tuple[Level, str, str]]:
    return [
        (finding.level, finding.what, finding.remedy)
        for finding in examine(CollectorConfig(data=str(data)))
        if finding.check == check
    ]


def ca_of_an_earlier_version(data: Path, days_left: float) -> None:
    """CAs used to end after 20 years."""
    key, end = private_key(), dt.datetime.now(dt.UTC) + dt.timedelta(days=days_left)
    made = pki.ca_certificate(key)
    builder = x509.CertificateBuilder(
        made.issuer, made.subject, key.public_key(), 1, end - dt.timedelta(days=7_300), end, list(made.extensions)
    )
    (data / "pki").mkdir()
    (data / "pki" / "ca.key").write_bytes(pki.private_pem(key))
    (data / "pki" / "ca.crt").write_bytes(pki.pem(builder.sign(key, hashes.SHA256())))


def test_a_ca_in_its_last_year_is_to_be_replaced_in_time(tmp_path: Path) -> None:
    """While agents still trust it; once it was replaced all is well."""
    ca_of_an_earlier_version(tmp_path, days_left=265.5)
    before = findings(tmp_path, "certificate")
    Authority.open(tmp_path).begin_rotation()
    after = findings(tmp_path, "certificate")

    assert [(level, remedy) for level, _, remedy in before] == [
        (Level.NOTE, "replace it while agents still trust it: fieldwatch-collector ca rotate --begin")
    ]
    assert before[0][1].startswith("ca.crt is valid for 26")
    assert [(level, what) for level, what, _ in after] == [
        (Level.OK, "ca.crt is good at any time, also for agents without a clock")
    ]


def test_the_certificate_of_the_page_ends(tmp_path: Path) -> None:
    """That of the gRPC ports does not: its age is bounded by its renewal."""
    authority = Authority.open(tmp_path)
    authority.server_files([])
    authority.page_files([])

    assert [what.partition(" is ")[::2] for _, what, _ in findings(tmp_path, "certificate")] == [
        ("ca.crt", "good at any time, also for agents without a clock"),
        ("server.crt", "good at any time, also for agents without a clock"),
        ("page.crt", "valid for 90 days"),
    ]


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
