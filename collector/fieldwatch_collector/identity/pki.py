"""What certificates are made of, and how they are written to disk."""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

# Agents without a clock check certificates, too: what they check is good at any time (docs/decisions/0018). The end is
# the one that RFC 5280, 4.1.2.5 has for "no well-defined expiration date".
ALWAYS = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC), dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC))
# Agents without a clock of their own are behind: what is signed now must be valid for them.
BACKDATE = dt.timedelta(hours=24)


def name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Fieldwatch"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def ca_certificate(key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """A root, good at any time. Every CA of a collector has the same name; their key identifiers tell them apart.

    The length of paths is not bounded: below it stand the CAs that replace it, each vouched for by the one before.
    """
    subject = name("Fieldwatch collector CA")
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ALWAYS[0])
        .not_valid_after(ALWAYS[1])
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def cross_certificate(
    new: x509.Certificate, old: x509.Certificate, old_key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    """The new CA's key, vouched for by the old CA: RFC 4210's newWithOld.

    Both have one name, so it counts as self-issued, and roots of earlier versions, with a path length of 0, allow it
    (RFC 5280, 6.1.4 l).
    """
    builder = (
        x509.CertificateBuilder()
        .subject_name(new.subject)
        .issuer_name(old.subject)
        .public_key(new.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(new.not_valid_before_utc)
        .not_valid_after(min(old.not_valid_after_utc, new.not_valid_after_utc))
    )
    for extension in new.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(old_key.public_key())
    return builder.add_extension(issuer, critical=False).sign(old_key, hashes.SHA256())


def key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def der(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.DER)


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write(path: Path, octets: bytes, mode: int) -> None:
    """The whole file or none, with its mode from the first octet on; on the disk, in this order, when it returns."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(octets)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
