"""The key that signs remote configuration: made and renewed in ``DATA/pki`` (config.key 0600, config.crt).

A key of its own, certified by the CA for this use alone: extended key usage codeSigning (RFC 5280 4.2.1.12) and the
SAN URI ``spiffe://fieldwatch/config``. An agent takes settings from nobody else, whatever certificate the CA gave
them; and the CA's key is not used for what is signed every day.

While a new CA is being announced, a certificate of the CA before it stays in use: agents that have not heard of the new
one know no other, and those that have accept both.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from fieldwatch_collector.identity.authority import Authority

CONFIG_URI = "spiffe://fieldwatch/config"
DAYS = 90


class ConfigSigner:
    """Thread-safe. The key is renewed, past half of its certificate's life, when something is to be signed."""

    def __init__(
        self, authority: Authority, clock: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC)
    ) -> None:
        self._authority = authority
        self._clock = clock
        self._lock = threading.Lock()
        self._held: tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None = None

    def prepare(self) -> None:
        """Have a key before anything is to be signed, so that a rotation finds one of the CA so far. Raises OSError."""
        with self._lock:
            self._good()

    def sign(self, octets: bytes) -> tuple[bytes, bytes]:
        """(ECDSA signature with SHA-256, DER of the signer's certificate). Raises OSError."""
        with self._lock:
            key, certificate = self._good()
        return key.sign(octets, ec.ECDSA(hashes.SHA256())), certificate.public_bytes(serialization.Encoding.DER)

    def _good(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        if self._held is None or not self._is_good(*self._held):
            self._held = self._load() or self._make()
        return self._held

    def _load(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate] | None:
        """What is on the disk, where it is still good."""
        folder = self._authority.folder
        try:
            certificate = x509.load_pem_x509_certificate((folder / "config.crt").read_bytes())
            key = serialization.load_pem_private_key((folder / "config.key").read_bytes(), None)
        except (OSError, ValueError, TypeError):
            return None
        if isinstance(key, ec.EllipticCurvePrivateKey) and self._is_good(key, certificate):
            return key, certificate
        return None

    def _is_good(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bool:
        """Of this key, by a CA that agents are told to trust, within the first half of its life."""
        issuers = map(x509.load_der_x509_certificate, self._authority.trusted_der())
        if not any(_issued_by(certificate, issuer) for issuer in issuers):
            return False
        left = certificate.not_valid_after_utc - self._clock()
        return certificate.public_key() == key.public_key() and left > dt.timedelta(days=DAYS) / 2

    def _make(self) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._authority.certify(
            "Fieldwatch configuration",
            key.public_key(),
            dt.timedelta(days=DAYS),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]),
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(CONFIG_URI)]),
        )
        self._authority.keep("config", key, certificate)
        return key, certificate


def _issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
