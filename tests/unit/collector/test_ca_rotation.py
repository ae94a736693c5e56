"""The CA is replaced: what signs, what is trusted by whom, what a cut leaves, what becomes of the old key."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from fieldwatch_collector import admin, audit
from fieldwatch_collector.identity import cas as cas_module
from fieldwatch_collector.identity import pki
from fieldwatch_collector.identity.authority import Authority
from support.collector import offline, private_key, request_der

NOW = dt.datetime(2026, 5, 1, tzinfo=dt.UTC)


def at(data: Path, days: float = 0.0) -> Authority:
    return Authority.open(data, lambda: NOW + dt.timedelta(days=days))


def chain_of(authority: Authority) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(authority.server_files([])[0].read_bytes())


def test_the_new_ca_signs_and_the_old_one_vouches_for_it(tmp_path: Path) -> None:
    """Certificates of agents and of the server are by the new; the chain that is shown ends at the old."""
    authority = at(tmp_path)
    old = authority.certificate
    authority.begin_rotation()
    issued = x509.load_der_x509_certificate(authority.sign_agent(request_der(private_key()), "x").der)
    leaf, cross = chain_of(authority)

    assert authority.certificate != old
    assert authority.certificate.subject == old.subject
    issued.verify_directly_issued_by(authority.certificate)
    leaf.verify_directly_issued_by(authority.certificate)
    cross.verify_directly_issued_by(old)
    assert cross.public_key() == authority.certificate.public_key()
    assert cross.not_valid_after_utc == old.not_valid_after_utc


def test_three_rotations_leave_one_chain_to_every_ca_there_was(tmp_path: Path) -> None:
    authority = at(tmp_path)
    roots = [authority.certificate]
    for _ in range(3):
        authority.begin_rotation()
        authority.finish_rotation()
        roots.append(authority.certificate)
    leaf, *crosses = chain_of(at(tmp_path))

    assert [pki.der(root) for root in reversed(roots)] == at(tmp_path).known_der()
    assert len(crosses) == 3
    above: Sequence[x509.Certificate] = [*roots[:0:-1]]
    leaf.verify_directly_issued_by(roots[-1])
    for cross, subject, issuer in zip(crosses, above, roots[-2::-1], strict=True):
        assert cross.public_key() == subject.public_key()
        cross.verify_directly_issued_by(issuer)


def test_agents_are_told_of_both_until_the_end_and_then_of_the_new_alone(tmp_path: Path) -> None:
    authority = at(tmp_path)
    old = authority.ca_der
    before = authority.trusted_der()
    authority.begin_rotation()
    during = authority.trusted_der()
    authority.finish_rotation()

    assert before == [old]
    assert during == [authority.ca_der, old]
    assert authority.trusted_der() == [authority.ca_der]
    assert at(tmp_path).trusted_der() == [authority.ca_der]
    assert authority.known_der() == [authority.ca_der, old]


def test_certificates_of_the_old_ca_are_accepted_until_the_last_of_them_has_ended(tmp_path: Path) -> None:
    """Seven days from the beginning, whenever the end is."""
    authority = at(tmp_path)
    old = pki.pem(authority.certificate)
    authority.begin_rotation()
    authority.finish_rotation()

    assert old in at(tmp_path, 6.9).client_roots_pem()
    assert old not in at(tmp_path, 7.1).client_roots_pem()
    assert pki.pem(authority.certificate) in at(tmp_path, 7.1).client_roots_pem()


def test_one_rotation_at_a_time(tmp_path: Path) -> None:
    """Who comes while the CAs are being replaced is told so, whichever step it is; afterwards it goes on."""
    with offline(tmp_path) as services:
        begun, go_on = threading.Event(), threading.Event()

        def show_others() -> None:
            begun.set()
            assert go_on.wait(30)

        services.authority.on_change = show_others
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(admin.run, services, "ca.rotate", {"step": "begin"})
            assert begun.wait(30)
            for step in ("begin", "finish"):
                with pytest.raises(admin.AdminError, match="somebody else replaces the CA right now"):
                    admin.run(services, "ca.rotate", {"step": step})
            go_on.set()
            states = [one["state"] for one in first.result(30)["cas"]]
        with pytest.raises(admin.AdminError, match="agents still trust both"):
            admin.run(services, "ca.rotate", {"step": "begin"})
        admin.run(services, "ca.rotate", {"step": "finish"})
        with services.store.reader() as connection:
            written = [tuple(row) for row in connection.execute("SELECT action, outcome FROM audit ORDER BY seq")]

    assert states == ["signs", "trusted beside it"]
    assert written == [("ca.begin", "done"), ("ca.finish", "done")]


def test_the_key_of_the_old_ca_is_gone(tmp_path: Path) -> None:
    authority = at(tmp_path)
    old_key = (tmp_path / "pki" / "ca.key").read_bytes()
    authority.begin_rotation()
    held = [path.read_bytes() for path in (tmp_path / "pki").iterdir()]
    key = load_pem_private_key((tmp_path / "pki" / "ca.key").read_bytes(), None)

    assert not any(old_key in octets for octets in held)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.public_key() == authority.certificate.public_key()
    assert (tmp_path / "pki" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "pki" / "rotation.json").exists()


class CutError(Exception):
    """The machine stops here."""


@pytest.mark.parametrize("writes", range(4))
def test_a_cut_at_any_write_leaves_one_whole_ca(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: int) -> None:
    """Before the rotation is written down the old one, after that the new one: key and certificate belong together."""
    (tmp_path / "whole").mkdir()
    authority = at(tmp_path / "whole")
    old = authority.ca_der
    left = [writes]

    def write(path: Path, octets: bytes, mode: int) -> None:
        if left[0] == 0:
            raise CutError
        left[0] -= 1
        pki.write(path, octets, mode)

    monkeypatch.setattr(cas_module, "pki", SimpleNamespace(**{**vars(pki), "write": write}))
    with pytest.raises(CutError):
        authority.begin_rotation()
    monkeypatch.undo()
    shutil.copytree(tmp_path / "whole", tmp_path / "after")
    opened = at(tmp_path / "after")
    agent = x509.load_der_x509_certificate(opened.sign_agent(request_der(private_key()), "x").der)

    assert (opened.ca_der == old) is (writes == 0)
    agent.verify_directly_issued_by(opened.certificate)
    assert opened.known_der()[-1] == old
    assert not (tmp_path / "after" / "pki" / "rotation.json").exists()


def test_a_damaged_file_of_earlier_cas_says_what_to_do(tmp_path: Path) -> None:
    at(tmp_path).begin_rotation()
    (tmp_path / "pki" / "earlier.json").write_text('[{"root": 1}]')

    with pytest.raises(ValueError, match=r"earlier.json: cannot be read .*restore the data folder from a backup"):
        at(tmp_path)


def test_a_key_of_another_ca_is_not_used(tmp_path: Path) -> None:
    """What it signed nobody would trust: said at the start, not by each agent."""
    at(tmp_path)
    (tmp_path / "pki" / "ca.key").write_bytes(pki.private_pem(private_key()))

    with pytest.raises(ValueError, match=r"ca.key: is not the key of ca.crt; restore the data folder from a backup"):
        at(tmp_path)


def test_a_strict_verifier_follows_the_chain_from_the_old_root(tmp_path: Path) -> None:
    """RFC 5280 as another implementation reads it; a root that has nothing to do with it is refused."""
    authority = Authority.open(tmp_path)
    old = authority.certificate
    authority.begin_rotation()
    leaf, cross = chain_of(authority)
    (tmp_path / "other").mkdir()
    stranger = Authority.open(tmp_path / "other").certificate
    name = x509.DNSName("collector.fieldwatch.internal")

    for root in (old, authority.certificate):
        verified = PolicyBuilder().store(Store([root])).build_server_verifier(name).verify(leaf, [cross])
        assert verified[0] == leaf
    with pytest.raises(VerificationError):
        PolicyBuilder().store(Store([stranger])).build_server_verifier(name).verify(leaf, [cross])


def test_the_steps_in_their_order_and_the_audit_log(tmp_path: Path) -> None:
    """A second beginning, and an end of nothing, are refused with what to do instead."""
    with offline(tmp_path) as services:
        with pytest.raises(admin.AdminError, match="no rotation is under way; begin one"):
            admin.run(services, "ca.rotate", {"step": "finish"})
        first = admin.run(services, "ca.status", {})
        begun = admin.run(services, "ca.rotate", {"step": "begin"})
        with pytest.raises(admin.AdminError, match=r"agents still trust both; first: .*--finish"):
            admin.run(services, "ca.rotate", {"step": "begin"})
        finished = admin.run(services, "ca.rotate", {"step": "finish"})
        with pytest.raises(admin.AdminError, match="accepted are begin and finish"):
            admin.run(services, "ca.rotate", {"step": "back"})
        with services.store.reader() as connection:
            rows = [(row[0], json.loads(row[1])) for row in connection.execute("SELECT action, data FROM audit")]
            whole = audit.verify(connection).problem

    old, new = first["cas"][0]["fingerprint"], begun["cas"][0]["fingerprint"]
    assert [ca["state"] for ca in begun["cas"]] == ["signs", "trusted beside it"]
    assert [ca["state"] for ca in finished["cas"]] == ["signs", "vouches for its successor"]
    assert [ca["fingerprint"] for ca in finished["cas"]] == [new, old]
    assert rows == [("ca.begin", {"ca": new, "before": old}), ("ca.finish", {"ca": new, "before": new})]
    assert whole == ""
