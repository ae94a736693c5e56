"""The join token: one line of text with which a device asks a collector for its first certificate.

Form: ``fwj1.<token id>.<base64url without padding of: seed (32) || CA certificate (DER) || check (4)>``, where check is
the first four octets of SHA-256 over everything before it (text and octets): a token that lost its tail in a copy is
told apart from a wrong one.

The seed makes an Ed25519 key (RFC 8032). The device signs its request with it; the collector keeps the public key only.
The CA certificate is the only root that the device trusts, so there is no unverified first contact.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass

PREFIX = "fwj1"
SEED_BYTES = 32
CHECK_BYTES = 4
MAX_TEXT = 8_192  # characters; a P-256 CA gives about 800
RETRY_AFTER = "fieldwatch-retry-after"  # trailing metadata of a call that came too early: whole seconds
_TOKEN_ID = re.compile(r"[0-9a-z]{1,40}")
_CONTEXT = b"fieldwatch-enrol-1"


class JoinTokenError(ValueError):
    """A text that is no join token; the message says why, and never holds the seed."""


@dataclass(frozen=True)
class JoinToken:
    token_id: str
    seed: bytes
    ca_der: bytes

    def __post_init__(self) -> None:
        if not _TOKEN_ID.fullmatch(self.token_id):
            raise JoinTokenError("a token id is 1 to 40 lower-case letters and digits")
        if len(self.seed) != SEED_BYTES:
            raise JoinTokenError(f"a seed has {SEED_BYTES} octets, not {len(self.seed)}")
        if not self.ca_der:
            raise JoinTokenError("the CA certificate is empty")

    def __repr__(self) -> str:
        return f"JoinToken({self.token_id})"  # the seed stays out of logs and tracebacks

    def text(self) -> str:
        """One line without spaces, as `parse` takes it."""
        head = f"{PREFIX}.{self.token_id}."
        octets = self.seed + self.ca_der
        packed = base64.urlsafe_b64encode(octets + _check(head, octets)).rstrip(b"=")
        return head + packed.decode("ascii")

    @classmethod
    def parse(cls, text: str) -> JoinToken:
        """The token of a line of text; white space around it is ignored. Raises JoinTokenError."""
        text = text.strip()
        if not text:
            raise JoinTokenError("the join token is empty; make one: fieldwatch-collector token create")
        if len(text) > MAX_TEXT:
            raise JoinTokenError(f"a join token has at most {MAX_TEXT} characters, this text has {len(text)}")
        if text.startswith("fwj") and not text.startswith(PREFIX + "."):
            raise JoinTokenError(f"the join token is of another version than {PREFIX}; update this agent")
        parts = text.split(".")
        if parts[0] != PREFIX or len(parts) != 3:
            raise JoinTokenError(
                f"this is no join token (it begins with '{PREFIX}.'); make one: fieldwatch-collector token create"
            )
        _, token_id, packed = parts
        try:
            octets = base64.b64decode(packed + "=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise JoinTokenError("the join token was cut or changed on the way; copy the whole line") from None
        body, check = octets[:-CHECK_BYTES], octets[-CHECK_BYTES:]
        if len(body) <= SEED_BYTES or check != _check(f"{PREFIX}.{token_id}.", body):
            raise JoinTokenError("the join token was cut or changed on the way; copy the whole line")
        return cls(token_id, body[:SEED_BYTES], body[SEED_BYTES:])


def signed_message(ca_der: bytes, token_id: str, csr_der: bytes) -> bytes:
    """What the device signs: it binds the token and the request to this CA."""
    return _CONTEXT + hashlib.sha256(ca_der).digest() + token_id.encode("ascii") + hashlib.sha256(csr_der).digest()


def _check(head: str, octets: bytes) -> bytes:
    return hashlib.sha256(head.encode("ascii", "replace") + octets).digest()[:CHECK_BYTES]
