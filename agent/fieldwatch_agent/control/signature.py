"""Whether a configuration is the collector's: signed by a key that this agent's CA has certified for just that.

A child of the daemon, which loads no cryptography: ``python -m fieldwatch_agent.control.signature --data DIR``, a JSON
object on standard input. Exit code 0 (signed), or 1 with the reason on standard error.

The signer's certificate: issued by a CA that the agent trusts, P-256, no CA itself, extended key usage codeSigning
(RFC 5280, 4.2.1.12) and the name ``spiffe://fieldwatch/config``, so that neither an agent's nor the collector's own
certificate can sign settings. The signature is ECDSA with SHA-256 over `message`.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwatch_agent.enrolment.identity import load_credentials, load_identity

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from fieldwatch_proto.v1 import agent_pb2

SIGNER_NAME = "spiffe://fieldwatch/config"
MAX_CERTIFICATE_BYTES = 8 << 10
MAX_SIGNATURE_BYTES = 256
CLOCK_SKEW = dt.timedelta(days=1)
TIMEOUT_S = 30.0
MAX_REQUEST_BYTES = 1 << 20


class SignatureError(Exception):
    """It is not signed as it must be: one line."""


def message(agent_id: str, version: int, settings: bytes) -> bytes:
    """What the signature is over."""
    head = b"fieldwatch-config-1" + agent_id.encode("utf-8") + version.to_bytes(8, "big")
    return head + hashlib.sha256(settings).digest()


def check(data: Path, pushed: agent_pb2.RemoteConfig, timeout_s: float, now_s: float) -> None:
    """In a child, at `now_s` (Unix seconds). Raises SignatureError."""
    if not (0 < len(pushed.signature) <= MAX_SIGNATURE_BYTES and 0 < len(pushed.signer_der) <= MAX_CERTIFICATE_BYTES):
        raise SignatureError("it is not signed")
    request = {
        "version": pushed.version,
        "now": now_s,
        "settings": base64.b64encode(pushed.settings).decode(),
        "signature": base64.b64encode(pushed.signature).decode(),
        "signer": base64.b64encode(pushed.signer_der).decode(),
    }
    command = [sys.executable, "-m", "fieldwatch_agent.control.signature", "--data", str(data)]
    try:
        done = subprocess.run(  # noqa: S603
            command,
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=min(TIMEOUT_S, timeout_s),
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise SignatureError(f"its signature could not be checked ({problem})") from None
    if done.returncode != 0:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise SignatureError(said[-1] if said else f"its signature could not be checked (exit code {done.returncode})")


def verify(data: Path, version: int, settings: bytes, signature: bytes, signer_der: bytes, *, now_s: float) -> None:
    """In this process, at `now_s` (Unix seconds). Raises SignatureError, EnrolmentError.

    A clock that stands before this agent's own certificate is behind, and is taken to stand there.
    """
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    identity = load_identity(data)
    if identity is None:
        raise SignatureError("this agent is not enrolled")
    authorities = x509.load_pem_x509_certificates(load_credentials(data).ca)
    try:
        signer = x509.load_der_x509_certificate(signer_der)
    except ValueError as problem:
        raise SignatureError(f"the signer's certificate cannot be read ({problem})") from None
    if not any(_issued(signer, authority) for authority in authorities):
        raise SignatureError("the signer's certificate was not issued by this agent's CA")
    key = _signing_key(signer, dt.datetime.fromtimestamp(max(now_s, identity.not_before), dt.UTC))
    try:
        key.verify(signature, message(identity.agent_id, version, settings), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        raise SignatureError("the signature does not hold for this agent, version and settings") from None


def _issued(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _signing_key(signer: x509.Certificate, now: dt.datetime) -> ec.EllipticCurvePublicKey:
    """The key of a certificate that is for this use, and good now. Raises SignatureError."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID

    if now > signer.not_valid_after_utc or now < signer.not_valid_before_utc - CLOCK_SKEW:
        raise SignatureError(
            f"the signer's certificate is good from {signer.not_valid_before_utc:%Y-%m-%d}"
            f" to {signer.not_valid_after_utc:%Y-%m-%d}; check the clocks of agent and collector"
        )
    try:
        usages = signer.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        names = signer.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        is_authority = signer.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError) as problem:
        raise SignatureError(f"the signer's certificate is not for configurations ({problem})") from None
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if is_authority or ExtendedKeyUsageOID.CODE_SIGNING not in usages or SIGNER_NAME not in uris:
        raise SignatureError("the signer's certificate is not for configurations")
    key = signer.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SignatureError("the signer's key is not of the curve P-256")
    return key


def main() -> int:
    import argparse

    from fieldwatch_agent.enrolment.identity import EnrolmentError

    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    options = parser.parse_args()
    request = json.loads(sys.stdin.buffer.read(MAX_REQUEST_BYTES))
    parts = [base64.b64decode(request[name]) for name in ("settings", "signature", "signer")]
    try:
        verify(options.data, request["version"], *parts, now_s=request["now"])
    except (SignatureError, EnrolmentError) as problem:
        print(problem, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
