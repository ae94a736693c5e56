"""The API token: one line with which a program reaches a collector's `Query` service and its REST interface.

Form: ``fwa1.<token id>.<secret>.<base64url without padding of the CA certificate, DER>``. The first three parts are the
credential (`bearer`), sent in ``authorization: Bearer ...``; the CA certificate is the only root that a client trusts
and never leaves it. The collector keeps a digest of the secret only.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass

PREFIX = "fwa1"
MAX_TEXT = 8_192  # characters
_TOKEN_ID = re.compile(r"[0-9a-z]{1,40}")
_SECRET = re.compile(r"[0-9A-Za-z_-]{20,100}")


class ApiTokenError(ValueError):
    """A text that is no API token; the message says why, and never holds the secret."""


@dataclass(frozen=True)
class ApiToken:
    token_id: str
    secret: str
    ca_der: bytes

    def __repr__(self) -> str:
        return f"ApiToken({self.token_id})"  # the secret stays out of logs and tracebacks

    @property
    def bearer(self) -> str:
        """What is sent: the token without the certificate."""
        return f"{PREFIX}.{self.token_id}.{self.secret}"

    def text(self) -> str:
        """One line without spaces, as `parse` takes it."""
        return f"{self.bearer}.{base64.urlsafe_b64encode(self.ca_der).rstrip(b'=').decode('ascii')}"

    @classmethod
    def parse(cls, text: str) -> ApiToken:
        """The token of a line of text; white space around it is ignored. Raises ApiTokenError."""
        text = text.strip()
        if not text:
            raise ApiTokenError("the API token is empty")
        if text.startswith("fwj"):
            raise ApiTokenError(
                "this is a join token for an agent; make an API token: fieldwatch-collector api-token create"
            )
        parts = text.split(".") if len(text) <= MAX_TEXT else []
        if len(parts) != 4 or parts[0] != PREFIX:
            raise ApiTokenError(
                f"this is no API token (it begins with '{PREFIX}.' and has four parts);"
                " make one: fieldwatch-collector api-token create NAME"
            )
        token_id, secret = split_bearer(".".join(parts[:3]))
        try:
            ca_der = base64.b64decode(parts[3] + "=" * (-len(parts[3]) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            ca_der = b""
        if not _is_der_sequence(ca_der):
            raise ApiTokenError("the API token was cut or changed on the way; copy the whole line")
        return cls(token_id, secret, ca_der)


def split_bearer(text: str) -> tuple[str, str]:
    """(token id, secret) of a credential; a fourth part, the certificate, is let pass. Raises ApiTokenError."""
    parts = text.split(".", 3) if len(text) <= MAX_TEXT else []
    if len(parts) < 3 or parts[0] != PREFIX or not _TOKEN_ID.fullmatch(parts[1]) or not _SECRET.fullmatch(parts[2]):
        raise ApiTokenError("the API token was cut or changed on the way; copy the whole line")
    return parts[1], parts[2]


def _is_der_sequence(octets: bytes) -> bool:
    """A certificate is one SEQUENCE that states its own length (X.690 8.1.3): a line that was cut shows."""
    if len(octets) < 4 or octets[0] != 0x30 or octets[1] not in (0x81, 0x82):
        return False
    width = octets[1] & 0x7F
    return len(octets) == 2 + width + int.from_bytes(octets[2 : 2 + width], "big")
