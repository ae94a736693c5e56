"""The collector's own certificate authority: made on first start, key in ``DATA/pki/`` (0600), never sent anywhere.

The server certificate carries ``collector.fieldwatch.internal`` always (agents and clients dial any address and expect
that name), and beside it localhost, the loopback addresses, the host's name and the addresses that are bound. It is
renewed at a start that needs other names, and past half of its life.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fieldwatch_collector.identity import AGENT_CERTIFICATE_DAYS, COLLECTOR_NAME, SPIFFE_PREFIX

CA_YEARS = 20
SERVER_DAYS = 90
# Agents without a clock of their own are behind: what is signed now must be valid for them.
BACKDATE = dt.timedelta(hours=24)


Clock = Callable[[], dt.datetime]


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class RequestError(ValueError):
    """A certificate request that is not accepted; the text says why, for the peer."""


@dataclass(frozen=True)
class Issued:
    """A certificate for an agent, and the key that it is for (SubjectPublicKeyInfo, DER)."""

    der: bytes
    serial: str
    expires_ns: int
    public_key: bytes


class Authority:
    """Signs for agents and for the server itself. Made by `open`."""

    def __init__(
        self, folder: Path, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey, clock: Clock
    ) -> None:
        self.folder = folder
        self._clock = clock
        self.certificate = certificate
        self.ca_der = certificate.public_bytes(serialization.Encoding.DER)
        self.ca_pem = certificate.public_bytes(serialization.Encoding.PEM)
        self._key = key

    @classmethod
    def open(cls, data: Path, clock: Clock = _now) -> Authority:
        """The authority of a data folder, made where there is none yet. Raises OSError, ValueError."""
        folder = data / "pki"
        folder.mkdir(mode=0o700, exist_ok=True)
        key_file, certificate_file = folder / "ca.key", folder / "ca.crt"
        if not certificate_file.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            _write(key_file, _private_pem(key), 0o600)
            _write(certificate_file, _ca_certificate(key, clock()).public_bytes(serialization.Encoding.PEM), 0o644)
        loaded = serialization.load_pem_private_key(key_file.read_bytes(), None)
        if not isinstance(loaded, ec.EllipticCurvePrivateKey):
            raise ValueError(f"{key_file}: is no P-256 key; restore the data folder from a backup")
        return cls(folder, x509.load_pem_x509_certificate(certificate_file.read_bytes()), loaded, clock)

    def sign_agent(self, csr_der: bytes, agent_id: str) -> Issued:
        """A client certificate for the key of a PKCS #10 request; nothing else of the request is used.

        Raises RequestError: not a request, a signature that does not hold, or a key that is not P-256.
        """
        key = request_key(csr_der)
        now = self._clock()
        expires = now + dt.timedelta(days=AGENT_CERTIFICATE_DAYS)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(agent_id))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(expires)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(
                x509.SubjectAlternativeName([x509.UniformResourceIdentifier(SPIFFE_PREFIX + agent_id)]), critical=False
            )
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return Issued(
            certificate.public_bytes(serialization.Encoding.DER),
            serial_text(certificate.serial_number),
            int(expires.timestamp()) * 1_000_000_000,
            key_octets(key),
        )

    def server_files(self, bound: Sequence[str]) -> tuple[Path, Path]:
        """(certificate chain, key) of the server as PEM files, fresh enough and with every name it needs."""
        certificate_file, key_file = self.folder / "server.crt", self.folder / "server.key"
        names = server_names(bound)
        if not _is_good(certificate_file, key_file, self.certificate, names, self._clock()):
            key = ec.generate_private_key(ec.SECP256R1())
            certificate = self._server_certificate(key, names)
            _write(key_file, _private_pem(key), 0o600)
            _write(certificate_file, certificate.public_bytes(serialization.Encoding.PEM) + self.ca_pem, 0o644)
        return certificate_file, key_file

    def _server_certificate(self, key: ec.EllipticCurvePrivateKey, names: Sequence[str]) -> x509.Certificate:
        now = self._clock()
        return (
            x509.CertificateBuilder()
            .subject_name(_name(COLLECTOR_NAME))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + dt.timedelta(days=SERVER_DAYS))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_general(name) for name in names]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def request_key(csr_der: bytes) -> ec.EllipticCurvePublicKey:
    """The P-256 key of a request that is signed with it. Raises RequestError."""
    try:
        request = x509.load_der_x509_csr(csr_der)
        key = request.public_key()
        signed = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature) as problem:
        raise RequestError(f"the certificate request cannot be read: {problem}") from None
    if not signed:
        raise RequestError("the certificate request is not signed by its own key")
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise RequestError("the key of a certificate request must be P-256")
    return key


def key_octets(key: ec.EllipticCurvePublicKey) -> bytes:
    """A public key as it stands in the store: SubjectPublicKeyInfo, DER."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def server_names(bound: Sequence[str]) -> list[str]:
    """DNS names and addresses of the server's certificate, sorted; a wildcard address brings all of the host's."""
    names = {COLLECTOR_NAME, "localhost", "127.0.0.1", "::1", *_host_names()}
    for host in bound:
        if host in ("", "0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            names.update(_host_addresses())
        else:
            names.add(host)
    return sorted(names)


def serial_text(number: int) -> str:
    """A certificate's serial as it stands in the store."""
    return f"{number:x}"


def certificate_expiry_ns(pem: bytes) -> int:
    """notAfter of the first certificate of a PEM text."""
    return int(x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()) * 1_000_000_000


def _host_names() -> list[str]:
    name = socket.gethostname()
    return [name] if name and len(name) <= 253 and name.isascii() else []


def _host_addresses() -> list[str]:
    """The addresses by which this host reaches out, and those that its name has."""
    found = set()
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((target, 9))  # RFC 5737, RFC 3849: chooses a source address, sends nothing
            found.add(probe.getsockname()[0])
    with contextlib.suppress(OSError, UnicodeError):
        found.update(entry[4][0] for entry in socket.getaddrinfo(socket.gethostname(), None))
    return [str(address).partition("%")[0] for address in found]


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common_name: str) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Fieldwatch"),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name),
        ]
    )


def _ca_certificate(key: ec.EllipticCurvePrivateKey, now: dt.datetime) -> x509.Certificate:
    name = _name("Fieldwatch collector CA")
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATE)
        .not_valid_after(now + dt.timedelta(days=365 * CA_YEARS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
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


def _is_good(
    certificate_file: Path, key_file: Path, ca: x509.Certificate, names: Sequence[str], now: dt.datetime
) -> bool:
    """Whether the files hold a certificate of this CA with these names, within the first half of its life."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        certificate.verify_directly_issued_by(ca)
        stated = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    half = dt.timedelta(days=SERVER_DAYS) / 2
    return (
        certificate.public_key() == key.public_key()
        and set(stated) >= {_general(name) for name in names}
        and certificate.not_valid_after_utc - now > half
    )


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, octets: bytes, mode: int) -> None:
    """The whole file or none, with its mode from the first octet on."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(octets)
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(path)
