"""The authority's files and names, and the limits on enrolment."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from fieldwatch_collector.identity.authority import Authority, RequestError, request_key
from fieldwatch_collector.ingest.throttle import MAX_ADDRESSES, PENALTY_S, EnrolmentThrottle, peer_address
from support.collector import private_key, request_der


def names(path: Path) -> set[str]:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    stated = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(stated.get_values_for_type(x509.DNSName)) | {
        str(ip) for ip in stated.get_values_for_type(x509.IPAddress)
    }


def test_the_ca_is_made_once_and_its_key_is_closed(tmp_path: Path) -> None:
    first, second = Authority.open(tmp_path), Authority.open(tmp_path)

    assert first.ca_der == second.ca_der
    assert (tmp_path / "pki" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert isinstance(first.certificate.public_key(), ec.EllipticCurvePublicKey)
    assert 200 < len(first.ca_der) < 600  # it travels in every join token


def test_the_server_certificate_carries_its_names_and_is_kept_while_it_is_good(tmp_path: Path) -> None:
    """The fixed name always; another address, or half of its life gone, makes a new one."""
    authority = Authority.open(tmp_path)
    certificate, key = authority.server_files(["127.0.0.1"])
    first = certificate.read_bytes()
    authority.server_files(["127.0.0.1"])
    kept = certificate.read_bytes()
    authority.server_files(["127.0.0.1", "192.0.2.7", "fw.example"])
    wider = certificate.read_bytes()

    assert {"collector.fieldwatch.internal", "localhost", "127.0.0.1", "::1"} <= names(certificate)
    assert {"192.0.2.7", "fw.example"} <= names(certificate)
    assert (first == kept, first == wider) == (True, False)
    assert key.stat().st_mode & 0o777 == 0o600


def test_the_server_certificate_is_renewed_past_half_of_its_life(tmp_path: Path) -> None:
    """Of 90 days, after 44 it is kept, after 46 it is made anew."""
    now = dt.datetime.now(dt.UTC)
    seen = []
    for days in (0, 44, 46):
        authority = Authority.open(tmp_path, lambda days=days: now + dt.timedelta(days=days))
        seen.append(authority.server_files([])[0].read_bytes())

    assert (seen[0] == seen[1], seen[1] == seen[2]) == (True, False)


def test_what_agents_check_is_good_at_any_time(tmp_path: Path) -> None:
    """CA and server certificate, also of a CA that replaced another: from 1970 on, no end (RFC 5280, 4.1.2.5)."""
    authority = Authority.open(tmp_path)
    authority.begin_rotation()
    shown = x509.load_pem_x509_certificates(authority.server_files([])[0].read_bytes())

    for certificate in (authority.certificate, *shown):
        assert certificate.not_valid_before_utc == dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
        assert certificate.not_valid_after_utc == dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC)
    assert len(shown) == 2


@pytest.mark.parametrize("days", [46, 91, 4_000, -46])
def test_certificates_of_the_server_are_made_anew_whatever_the_clock_does(tmp_path: Path, days: int) -> None:
    """Past half of 90 days; and when the clock that made them was far ahead. The page's is good for those 90 days."""
    now = dt.datetime.now(dt.UTC)
    authority = Authority.open(tmp_path, lambda: now)
    later = Authority.open(tmp_path, lambda: now + dt.timedelta(days=days))
    before = [files([])[0].read_bytes() for files in (authority.server_files, authority.page_files)]
    after = [files([])[0].read_bytes() for files in (later.server_files, later.page_files)]
    kept = [files([])[0].read_bytes() for files in (later.server_files, later.page_files)]
    page = x509.load_pem_x509_certificate(after[1])

    assert [one != other for one, other in zip(before, after, strict=True)] == [True, True]
    assert kept == after
    assert page.not_valid_after_utc == (now + dt.timedelta(days=days + 90)).replace(microsecond=0)
    assert (tmp_path / "pki" / "page.key").stat().st_mode & 0o777 == 0o600


def test_a_server_certificate_of_an_earlier_version_is_replaced(tmp_path: Path) -> None:
    """One that ends is good for no agent whose clock is ahead."""
    authority = Authority.open(tmp_path)
    certificate, key = authority.server_files([])
    page, page_key = authority.page_files([])
    certificate.write_bytes(page.read_bytes())
    key.write_bytes(page_key.read_bytes())

    authority.server_files([])

    assert x509.load_pem_x509_certificate(certificate.read_bytes()).not_valid_after_utc.year == 9999


def test_a_damaged_certificate_is_replaced(tmp_path: Path) -> None:
    authority = Authority.open(tmp_path)
    certificate, _ = authority.server_files([])
    certificate.write_bytes(b"-----BEGIN CERTIFICATE-----\nnot one\n")
    authority.server_files([])

    assert "collector.fieldwatch.internal" in names(certificate)


def test_a_damaged_request_is_refused_in_words_whatever_is_damaged() -> None:
    """Each octet in turn becomes three others: a RequestError, never another exception, and never another key."""
    key = private_key()
    csr = request_der(key)
    outcomes = set()
    for place in range(len(csr)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = csr[:place] + bytes([csr[place] ^ flip]) + csr[place + 1 :]
            try:
                assert request_key(damaged) == key.public_key()  # what pads the signature is not signed
            except RequestError as problem:
                outcomes.add(str(problem).partition(":")[0])

    assert outcomes <= {
        "the certificate request cannot be read",
        "the certificate request is not signed by its own key",
        "the key of a certificate request must be P-256",
    }


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_one_try_a_second_after_a_short_burst() -> None:
    clock = Clock()
    throttle = EnrolmentThrottle(clock)
    burst = [throttle.wait_s("a") for _ in range(6)]
    clock.now += 1.0
    after = [throttle.wait_s("a"), throttle.wait_s("a")]

    assert [0, 0, 0, 0, 0, 1.0] == burst
    assert [0, 1.0] == after


def test_a_flood_from_many_addresses_leaves_room_for_who_passes_the_checks() -> None:
    """Tries of all share a wide limit, turns a narrow one; who is over its own limit takes nothing of either."""
    clock = Clock()
    throttle = EnrolmentThrottle(clock)
    tries = sum(throttle.wait_s(f"address-{n}") == 0 for n in range(1_000))
    turns = sum(throttle.turn_s() == 0 for _ in range(100))
    clock.now += 1.0
    then = sum(throttle.wait_s(f"other-{n}") == 0 for n in range(1_000)), sum(throttle.turn_s() == 0 for _ in range(99))

    assert (400, 20) == (tries, turns)
    assert (200, 10) == then


def test_failures_far_apart_bar_nobody() -> None:
    """An agent that was revoked tries every ten minutes; its neighbours behind the same address must not suffer."""
    clock = Clock()
    throttle = EnrolmentThrottle(clock)
    waits = []
    for _ in range(20):
        waits.append(throttle.wait_s("a"))
        throttle.failed("a")
        clock.now += 600.0

    assert waits == [0] * 20


def test_five_failures_bar_for_a_quarter_of_an_hour() -> None:
    clock = Clock()
    throttle = EnrolmentThrottle(clock)
    for _ in range(5):
        throttle.wait_s("a")
        throttle.failed("a")
    barred = throttle.wait_s("a")
    other = throttle.wait_s("b")
    clock.now += PENALTY_S
    after = throttle.wait_s("a")

    assert (PENALTY_S, 0, 0) == (barred, other, after)


def test_a_success_forgets_failures() -> None:
    throttle = EnrolmentThrottle(Clock())
    throttle.wait_s("a")
    for _ in range(4):
        throttle.failed("a")
    throttle.succeeded("a")
    throttle.failed("a")

    assert throttle.wait_s("a") == 0


def test_the_memory_of_addresses_is_bounded() -> None:
    throttle = EnrolmentThrottle(Clock())
    for number in range(MAX_ADDRESSES + 500):
        throttle.wait_s(str(number))

    assert len(throttle._addresses) == MAX_ADDRESSES


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        ("ipv4:192.0.2.1:5000", "192.0.2.1"),
        ("ipv6:%5B2001:db8::17%5D:5000", "2001:db8::/64"),
        ("ipv6:[::ffff:192.0.2.1]:5000", "192.0.2.1"),
        ("unix:", "unix:"),
        ("ipv4:nonsense", "ipv4:nonsense"),
    ],
)
def test_addresses_of_peers(peer: str, address: str) -> None:
    """An IPv6 host commands a /64 and counts as one."""
    assert address == peer_address(peer)
