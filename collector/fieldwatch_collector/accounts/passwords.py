"""Passwords: argon2id (RFC 9106) with the library's parameters, rehashed when those are raised."""

from __future__ import annotations

import base64
import secrets
import threading

import argon2

from fieldwatch_collector.accounts.errors import AccountError

MIN_CHARACTERS = 8
MAX_CHARACTERS = 1_024
MAX_AT_ONCE = 2  # each hash takes 64 MiB and a core for some 50 ms: a flood of logins must not take the machine

_HASHER = argon2.PasswordHasher()
_TURN = threading.BoundedSemaphore(MAX_AT_ONCE)


def _hash_of_nothing() -> str:
    """A stored text of today's parameters that no password has. Written, not computed: commands import this too."""
    salt, digest = (
        base64.b64encode(secrets.token_bytes(length)).decode().rstrip("=")
        for length in (_HASHER.salt_len, _HASHER.hash_len)
    )
    costs = f"m={_HASHER.memory_cost},t={_HASHER.time_cost},p={_HASHER.parallelism}"
    return f"$argon2id$v={argon2.low_level.ARGON2_VERSION}${costs}${salt}${digest}"


# What a login to a name that does not exist is checked against, so that it takes the same time.
_NOBODY = _hash_of_nothing()


def hash_password(password: str) -> str:
    """The text that is stored. Raises AccountError where the password is too short or too long."""
    if not MIN_CHARACTERS <= len(password) <= MAX_CHARACTERS:
        raise AccountError(
            f"a password has {MIN_CHARACTERS} to {MAX_CHARACTERS} characters, this one has {len(password)}"
        )
    with _TURN:
        return _HASHER.hash(_octets(password))


def verify(stored: str | None, password: str) -> bool:
    """Whether `password` is the stored one; without a stored one it takes as long and is False."""
    if len(password) > MAX_CHARACTERS:
        return False
    with _TURN:
        try:
            return _HASHER.verify(stored or _NOBODY, _octets(password)) and stored is not None
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False


def is_outdated(stored: str) -> bool:
    """Whether the hash was made with weaker parameters than today's."""
    return _HASHER.check_needs_rehash(stored)


def _octets(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")  # JSON can carry what UTF-8 cannot
