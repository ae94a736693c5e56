"""Signs configurations as a collector does: a key that the CA certified for it."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from fieldwatch_proto.v1 import agent_pb2 as pb

from support.scripted import Authority

SIGNER_NAME = "spiffe://fieldwatch/config"


class Signer:
    """A signing key with its certificate; keywords make one that must not be accepted."""

    def __init__(
        self,
        authority: Authority,
        *,
        usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.CODE_SIGNING,
        name: str = SIGNER_NAME,
        ca: bool = False,
        days: float = 1,
        curve: ec.EllipticCurve | None = None,
    ) -> None:
        self.key = ec.generate_private_key(curve or ec.SECP256R1())
        now = dt.datetime.now(dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "configuration")]))
            .issuer_name(authority.certificate.subject)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(days=30))
            .not_valid_after(now + dt.timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca, None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(name)]), critical=False)
            .sign(authority.key, hashes.SHA256())
        )
        self.der = certificate.public_bytes(serialization.Encoding.DER)

    def sign(self, version: int, settings: Any, agent_id: str = "agent-1") -> pb.RemoteConfig:
        """`settings`: an object, or octets as they are."""
        octets = settings if isinstance(settings, bytes) else json.dumps(settings).encode()
        message = b"fieldwatch-config-1" + agent_id.encode() + version.to_bytes(8, "big")
        signature = self.key.sign(message + hashlib.sha256(octets).digest(), ec.ECDSA(hashes.SHA256()))
        return pb.RemoteConfig(version=version, settings=octets, signature=signature, signer_der=self.der)
