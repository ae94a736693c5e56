"""Recovery: how an agent whose certificate has expired shows that it still holds the key that it was issued for.

It asks for a challenge and signs it together with its new request, so that neither can be used for another one.
"""

from __future__ import annotations

import hashlib

_CONTEXT = b"fieldwatch-recover-1"


def signed_message(challenge: bytes, csr_der: bytes) -> bytes:
    """What the agent signs: ECDSA with SHA-256 by its registered P-256 key (RFC 5480)."""
    return _CONTEXT + challenge + hashlib.sha256(csr_der).digest()
