"""The collector's own certificate authority: made on first start, key in ``DATA/pki/`` (0600), never sent anywhere.

It may be replaced (docs/decisions/0015): from that moment the new CA signs, and the server shows, beside its own
certificate, the one by which the old CA vouches for the new. Who trusts any CA that this collector ever had is thus at
the right place: agents that slept, join tokens and API tokens from before.

The server's certificates carry ``collector.fieldwatch.internal`` always (agents and clients dial any address and expect
that name), and beside it localhost, the loopback addresses, the host's name and the addresses that are bound. There are
two. Agents check the one of the gRPC ports, and may take any moment for now: it is good at any time
(docs/decisions/0018). Browsers check the one of the page, and refuse what is good for years. Both are renewed at a
start that needs other names, and when they are half of `SERVER_DAYS` old.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import ipaddress
import os
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from fieldwatch_collector.identity import AGENT_CERTIFICATE_DAYS, COLLECTOR_NAME, SPIFFE_PREFIX, pki
from fieldwatch_collector.identity.cas import Cas, Earlier, open_cas, write_earlier, write_rotation

SERVER_DAYS = 90
_HALF = dt.timedelta(days=SERVER_DAYS) / 2

Clock = Callable[[], dt.datetime]


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class RequestError(ValueError):
    """A certificate request that is not accepted; the text says why, for the peer."""


@dataclass(frozen=True)
class Issued:
    """A certificate for an agent, the key that it is for (SubjectPublicKeyInfo, DER), and the CA that signed it."""

    der: bytes
    serial: str
    expires_ns: int
    public_key: bytes
    ca_der: bytes


class Authority:
    """Signs for agents and for the server itself. Made by `open`; may be used by several threads."""

    def __init__(self, folder: Path, cas: Cas, clock: Clock) -> None:
        self.folder = folder
        self._clock = clock
        self._cas = cas  # replaced as a whole
        self.rotating = threading.Lock()
        """Held by whoever replaces the CA."""
        self.on_change: Callable[[], None] = lambda: None
        """Called after the CAs have changed: the server then shows and accepts others."""

    @classmethod
    def open(cls, data: Path, clock: Clock = _now) -> Authority:
        """The authority of a data folder, made where there is none yet. Raises OSError, ValueError."""
        folder = data / "pki"
        folder.mkdir(mode=0o700, exist_ok=True)
        return cls(folder, open_cas(folder), clock)

    # --- the CAs ------------------------------------------------------------------------------------------------

    @property
    def certificate(self) -> x509.Certificate:
        """Of the CA that signs."""
        return self._cas.root

    @property
    def ca_der(self) -> bytes:
        return pki.der(self._cas.root)

    @property
    def ca_pem(self) -> bytes:
        return pki.pem(self._cas.root)

    @property
    def earlier(self) -> tuple[Earlier, ...]:
        """The CAs before it, the newest first."""
        return self._cas.earlier

    def trusted_der(self) -> list[bytes]:
        """What agents are told to trust: the CA that signs first, during a rotation also the one before."""
        cas = self._cas
        return [pki.der(cas.root), *(pki.der(one.root) for one in cas.earlier if one.announced)]

    def known_der(self) -> list[bytes]:
        """Every CA that join tokens of this collector may hold."""
        cas = self._cas
        return [pki.der(cas.root), *(pki.der(one.root) for one in cas.earlier)]

    def client_roots_pem(self) -> bytes:
        """The CAs of which certificates of agents are accepted: an earlier one until the last that it signed ends."""
        cas, now = self._cas, self._clock()
        life = dt.timedelta(days=AGENT_CERTIFICATE_DAYS)
        return pki.pem(cas.root) + b"".join(pki.pem(one.root) for one in cas.earlier if now < one.replaced + life)

    def begin_rotation(self) -> None:
        """Sign with a new CA from now on. Raises OSError."""
        fresh = self._cas.rotated(self._clock())
        write_rotation(self.folder, fresh)
        self._cas = fresh
        self.on_change()

    def finish_rotation(self) -> None:
        """Tell agents to trust the new CA alone. Raises OSError."""
        settled = self._cas.settled()
        write_earlier(self.folder, settled.earlier)
        self._cas = settled
        self.on_change()

    # --- certificates -------------------------------------------------------------------------------------------

    def sign_agent(self, csr_der: bytes, agent_id: str) -> Issued:
        """A client certificate for the key of a PKCS #10 request; nothing else of the request is used.

        Raises RequestError: not a request, a signature that does not hold, or a key that is not P-256.
        """
        key, cas = request_key(csr_der), self._cas
        now = self._clock()
        expires = now + dt.timedelta(days=AGENT_CERTIFICATE_DAYS)
        certificate = _signed(
            cas,
            agent_id,
            key,
            (now - pki.BACKDATE, expires),
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]),
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(SPIFFE_PREFIX + agent_id)]),
        )
        return Issued(
            pki.der(certificate),
            serial_text(certificate.serial_number),
            int(expires.timestamp()) * 1_000_000_000,
            key_octets(key),
            pki.der(cas.root),
        )

    def server_files(self, bound: Sequence[str]) -> tuple[Path, Path]:
        """(certificate chain, key) of the gRPC ports as PEM files, fresh enough and with every name it needs.

        Its age is the file's: the certificate itself does not tell when it was made.
        """
        certificate_file, key_file = self.folder / "server.crt", self.folder / "server.key"
        names, now = server_names(bound), self._clock()
        certificate = _read_good(certificate_file, key_file, self._cas.root, names)
        if (
            certificate is None
            or certificate.not_valid_after_utc < pki.ALWAYS[1]  # of an earlier version
            or abs(now.timestamp() - certificate_file.stat().st_mtime) > _HALF.total_seconds()
        ):
            self._make_server_files(certificate_file, key_file, names, pki.ALWAYS)
            os.utime(certificate_file, (now.timestamp(), now.timestamp()))
        return certificate_file, key_file

    def page_files(self, bound: Sequence[str]) -> tuple[Path, Path]:
        """The same for HTTPS, where it is good for `SERVER_DAYS`."""
        certificate_file, key_file = self.folder / "page.crt", self.folder / "page.key"
        names, now = server_names(bound), self._clock()
        certificate = _read_good(certificate_file, key_file, self._cas.root, names)
        if certificate is None or not _HALF < certificate.not_valid_after_utc - now <= 2 * _HALF:
            end = now + dt.timedelta(days=SERVER_DAYS)
            self._make_server_files(certificate_file, key_file, names, (now - pki.BACKDATE, end))
        return certificate_file, key_file

    def _make_server_files(
        self, certificate_file: Path, key_file: Path, names: Sequence[str], valid: tuple[dt.datetime, dt.datetime]
    ) -> None:
        cas = self._cas
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _signed(
            cas,
            COLLECTOR_NAME,
            key.public_key(),
            valid,
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]),
            x509.SubjectAlternativeName([_general(name) for name in names]),
        )
        # With the new root itself in the chain, who trusts an earlier one alone would stop at it.
        above = [one.cross for one in cas.earlier] or [cas.root]
        pki.write(key_file, pki.private_pem(key), 0o600)
        pki.write(certificate_file, b"".join(pki.pem(one) for one in (certificate, *above)), 0o644)

    def certify(
        self, name: str, key: ec.EllipticCurvePublicKey, life: dt.timedelta, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        """A certificate for a key of the collector's own that signs messages."""
        now = self._clock()
        return _signed(self._cas, name, key, (now - pki.BACKDATE, now + life), *extensions)

    def keep(self, name: str, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        """Write ``NAME.key`` (0600) and ``NAME.crt`` beside the CA's. Raises OSError."""
        pki.write(self.folder / f"{name}.key", pki.private_pem(key), 0o600)
        pki.write(self.folder / f"{name}.crt", pki.pem(certificate), 0o644)


def _signed(
    cas: Cas,
    name: str,
    key: ec.EllipticCurvePublicKey,
    valid: tuple[dt.datetime, dt.datetime],
    *extensions: x509.ExtensionType,
) -> x509.Certificate:
    """A certificate by the CA in force, of a key that signs no certificates."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(pki.name(name))
        .issuer_name(cas.root.subject)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(valid[0])
        .not_valid_after(valid[1])
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(pki.key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(cas.key.public_key()), critical=False)
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(cas.key, hashes.SHA256())


def request_key(csr_der: bytes) -> ec.EllipticCurvePublicKey:
    """The P-256 key of a request that is signed with it. Raises RequestError."""
    try:
        request = x509.load_der_x509_csr(csr_der)
        key = request.public_key()
        signed = request.is_signature_valid
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm, x509.InvalidVersion) as problem:
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


def _read_good(
    certificate_file: Path, key_file: Path, ca: x509.Certificate, names: Sequence[str]
) -> x509.Certificate | None:
    """The certificate, where the files hold one of this CA with these names, and its key."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_file.read_bytes())
        key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        certificate.verify_directly_issued_by(ca)
        stated = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return None
    good = certificate.public_key() == key.public_key() and set(stated) >= {_general(name) for name in names}
    return certificate if good else None
