"""Keys, requests and certificates: P-256 for all of TLS. The only module of the agent that imports cryptography."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID
from fieldwatch_proto import recovery
from fieldwatch_proto.join import JoinToken, signed_message

from fieldwatch_agent.enrolment.identity import Credentials, EnrolmentError

FINGERPRINT_BYTES = 8
_PEM = serialization.Encoding.PEM


def make_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


def load_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    """Raises EnrolmentError."""
    try:
        key = serialization.load_pem_private_key(pem, None)
    except ValueError as problem:
        raise EnrolmentError(f"the agent's key cannot be read ({problem}); remove it and enrol again") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise EnrolmentError("the agent's key is not of the curve P-256; remove it and enrol again")
    return key


def request_der(key: ec.EllipticCurvePrivateKey, name: str) -> bytes:
    """A certificate request (PKCS #10). The collector decides on the subject; the name is for people only."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name[:64] or "agent")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.DER)


def token_signature(token: JoinToken, csr_der: bytes) -> bytes:
    message = signed_message(token.ca_der, token.token_id, csr_der)
    return Ed25519PrivateKey.from_private_bytes(token.seed).sign(message)


def ca_pem(ca_der: bytes) -> bytes:
    """Raises EnrolmentError."""
    return _certificate(ca_der).public_bytes(_PEM)


def roots_of(pem: bytes) -> list[bytes]:
    """The DER of every certificate of a PEM text. Raises EnrolmentError."""
    try:
        return [root.public_bytes(serialization.Encoding.DER) for root in x509.load_pem_x509_certificates(pem)]
    except ValueError as problem:
        raise EnrolmentError(f"the CA certificate on disk cannot be read ({problem}); enrol again") from None


def _certificate(der: bytes) -> x509.Certificate:
    try:
        return x509.load_der_x509_certificate(der)
    except ValueError as problem:
        raise EnrolmentError(f"the collector's answer holds no certificate ({problem})") from None


def accepted(
    key: ec.EllipticCurvePrivateKey, certificate_der: bytes, trusted_der: Sequence[bytes]
) -> tuple[Credentials, int, int]:
    """What the agent keeps, and the validity in Unix seconds. Raises EnrolmentError where key, certificate and the CAs
    do not belong together.
    """
    certificate, authorities = _certificate(certificate_der), [_certificate(der) for der in trusted_der]
    if _public_octets(certificate.public_key()) != _public_octets(key.public_key()):
        raise EnrolmentError("the collector answered with a certificate for another key")
    if not any(_issued_by(certificate, authority) for authority in authorities):
        raise EnrolmentError("the collector answered with a certificate that its CA did not sign")
    roots = b"".join(authority.public_bytes(_PEM) for authority in authorities)
    return (
        Credentials(key_pem(key), certificate.public_bytes(_PEM), roots),
        int(certificate.not_valid_before_utc.timestamp()),
        int(certificate.not_valid_after_utc.timestamp()),
    )


def fingerprint(key: ec.EllipticCurvePrivateKey) -> str:
    """What the collector calls a device that waits for approval: the beginning of its key's SHA-256."""
    return hashlib.sha256(_public_octets(key.public_key())).digest()[:FINGERPRINT_BYTES].hex()


def recovery_signature(registered: ec.EllipticCurvePrivateKey, challenge: bytes, csr_der: bytes) -> bytes:
    """By the key of the certificate that has expired."""
    return registered.sign(recovery.signed_message(challenge, csr_der), ec.ECDSA(hashes.SHA256()))


def _issued_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _public_octets(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
