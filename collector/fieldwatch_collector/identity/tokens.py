"""Join tokens in the store. The seed leaves with the token's text and is never stored: only its public key is."""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from fieldwatch_proto.join import SEED_BYTES, JoinToken, signed_message

from fieldwatch_collector import audit

NS = 1_000_000_000


def create(
    connection: sqlite3.Connection,
    ca_der: bytes,
    *,
    site: str,
    uses: int,
    ttl_s: float,
    tags: Mapping[str, str],
    replace_agent: str | None = None,
    actor: str,
) -> JoinToken:
    """A new token, valid from now for `ttl_s` seconds."""
    seed = os.urandom(SEED_BYTES)
    token = JoinToken(os.urandom(6).hex(), seed, ca_der)
    now = time.time_ns()
    connection.execute(
        "INSERT INTO join_token(id, public_key, site, tags, uses_left, created_ns, expires_ns, replace_agent)"
        " VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
        (
            token.token_id,
            Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw(),
            site,
            json.dumps(dict(sorted(tags.items()))),
            uses,
            now,
            now + int(ttl_s * NS),
            replace_agent,
        ),
    )
    audit.append(
        connection,
        actor=actor,
        action="token.create",
        subject=token.token_id,
        data={"site": site, "uses": uses, "ttl_s": ttl_s, "tags": dict(tags), "replace": replace_agent or ""},
    )
    return token


def state(row: Mapping[str, Any] | sqlite3.Row, now_ns: int) -> str:
    """usable, used, expired or revoked."""
    if row["revoked_ns"] is not None:
        return "revoked"
    if row["uses_left"] <= 0:
        return "used"
    return "expired" if row["expires_ns"] <= now_ns else "usable"


def revoke(connection: sqlite3.Connection, token_id: str, *, actor: str) -> bool:
    """Whether there was such a token that was not revoked yet."""
    changed = connection.execute(
        "UPDATE join_token SET revoked_ns = ? WHERE id = ? AND revoked_ns IS NULL", (time.time_ns(), token_id)
    )
    if changed.rowcount == 1:
        audit.append(connection, actor=actor, action="token.revoke", subject=token_id)
    return changed.rowcount == 1


def signature_holds(public_key: bytes, ca_der: bytes, token_id: str, csr_der: bytes, signature: bytes) -> bool:
    """Whether the holder of the token's seed signed this request for this CA."""
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, signed_message(ca_der, token_id, csr_der))
    except (InvalidSignature, ValueError):
        return False
    return True
