"""Users, sessions, one-time links and API tokens on the collector's store.

Every method blocks (a password costs some 50 ms of one core by intention): call them in a thread, never on the event
loop. Problems that people can mend raise `AccountError` with one line.

- A session is a cookie of 256 random bits, valid for 30 days from its last use.
- A set-up link makes the first administrator; a login link lets an existing user in. Both are 128 bits, work once and
  for 30 minutes.
- What changes who may do what is written to the audit log in the same transaction; `actor` is who did it.
- What `session` and `bearer` found is remembered for `CACHE_S`; a change made through the same object forgets it.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import re
import secrets
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar

from fieldwatch_proto.api_token import ApiToken, ApiTokenError, split_bearer
from fieldwatch_proto.schema import time_text

from fieldwatch_collector import audit
from fieldwatch_collector.accounts import passwords
from fieldwatch_collector.accounts.errors import AccountError, LinkError, LoginError, TooManyAttemptsError
from fieldwatch_collector.accounts.principal import ROLES, Principal
from fieldwatch_collector.accounts.throttle import Throttle
from fieldwatch_collector.store.tables import rows

T = TypeVar("T")

SESSION_S = 30 * 86_400
SESSION_RENEW_S = 86_400  # a session's end is moved at most once a day: reading must not mean writing
LINK_S = 30 * 60
LINK_BYTES = 16
COLLECTOR = "collector"  # who acts where no person and no command does
CACHE_S = 2.0
CACHE_ENTRIES = 1_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Store(Protocol):
    """What this module needs of the collector's store."""

    def reader(self) -> AbstractContextManager[sqlite3.Connection]: ...

    def transact_sync(self, work: Callable[[sqlite3.Connection], T]) -> T: ...


class Accounts:
    """The people and programs of one collector; thread-safe. `clock` gives nanoseconds since the epoch."""

    def __init__(self, store: Store, clock: Callable[[], int] = time.time_ns) -> None:
        self._store = store
        self._clock = clock
        self._throttle = Throttle()
        self._cache: dict[bytes, tuple[float, Principal]] = {}

    # --- the first administrator, and links ---------------------------------------------------------------------

    def needs_setup(self) -> bool:
        """Whether no administrator exists yet."""
        with self._store.reader() as connection:
            return not _has_admin(connection)

    def make_setup_link(self) -> str:
        """A new set-up secret (hex); it replaces the ones before it."""
        secret, now = secrets.token_hex(LINK_BYTES), self._clock()

        def work(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM setup_link")
            connection.execute(
                "INSERT INTO setup_link(digest, created_ns, expires_ns) VALUES(?, ?, ?)",
                (_digest(secret), now, now + LINK_S * 1_000_000_000),
            )

        self._store.transact_sync(work)
        return secret

    def complete_setup(self, secret: str, name: str, password: str) -> str:
        """Make the first administrator and log in: the cookie's value. The link is used up. Raises LinkError."""
        with self._store.reader() as connection:
            self._check_setup(connection, secret)  # before the hash is paid for
        _check_name(name)
        stored = passwords.hash_password(password)

        def work(connection: sqlite3.Connection) -> str:
            self._check_setup(connection, secret)
            connection.execute("DELETE FROM setup_link")
            self._insert_user(connection, name, stored, "admin", actor=f"user:{name}")
            return self._open_session(connection, name)

        return self._store.transact_sync(work)

    def one_time_login(self, name: str = "", *, actor: str = COLLECTOR) -> str:
        """A login secret (hex) for an existing user; without a name for the administrator who came first."""
        secret, now = secrets.token_hex(LINK_BYTES), self._clock()

        def work(connection: sqlite3.Connection) -> None:
            user = name or _first_admin(connection)
            _need_user(connection, user)
            connection.execute("DELETE FROM login_link WHERE expires_ns <= ?", (now,))
            connection.execute(
                "INSERT INTO login_link(digest, user, created_ns, expires_ns) VALUES(?, ?, ?, ?)",
                (_digest(secret), user, now, now + LINK_S * 1_000_000_000),
            )
            audit.append(connection, actor=actor, action="user.login_link", subject=f"user:{user}")

        self._store.transact_sync(work)
        return secret

    def redeem_login(self, secret: str) -> str:
        """Log in by a one-time link: the cookie's value. Raises LinkError."""
        digest = _digest(secret)
        with self._store.reader() as connection:  # a wrong link must not cost a write
            if connection.execute("SELECT 1 FROM login_link WHERE digest = ?", (digest,)).fetchone() is None:
                raise LinkError(_LINK_IS_GONE)

        def work(connection: sqlite3.Connection) -> str:
            row = connection.execute(
                "DELETE FROM login_link WHERE digest = ? RETURNING user, expires_ns", (digest,)
            ).fetchone()
            if row is None or row["expires_ns"] <= self._clock():
                raise LinkError(_LINK_IS_GONE)
            return self._open_session(connection, row["user"])

        return self._store.transact_sync(work)

    def _check_setup(self, connection: sqlite3.Connection, secret: str) -> None:
        row = connection.execute("SELECT expires_ns FROM setup_link WHERE digest = ?", (_digest(secret),)).fetchone()
        if row is None or row["expires_ns"] <= self._clock():
            raise LinkError("this set-up link was used or ran out; restart the collector for a new one")
        if _has_admin(connection):
            raise LinkError("this collector has an administrator already; log in")

    # --- people -------------------------------------------------------------------------------------------------

    def login(self, name: str, password: str, address: str) -> str:
        """The value of a new session's cookie. Raises LoginError or TooManyAttemptsError."""
        keys = (f"name:{name[:64]}", f"address:{address[:64]}")
        wait_s = self._throttle.wait_s(keys)
        if wait_s > 0:
            raise TooManyAttemptsError(math.ceil(wait_s))
        stored = self._password_of(name) if _NAME.fullmatch(name) else None
        if not passwords.verify(stored, password):
            self._throttle.fail(keys)
            raise LoginError("wrong name or password")
        self._throttle.succeed(keys)
        renewed = passwords.hash_password(password) if passwords.is_outdated(stored or "") else stored

        def work(connection: sqlite3.Connection) -> str:
            changed = connection.execute(
                "UPDATE user SET password_hash = ? WHERE name = ? AND password_hash = ?", (renewed, name, stored)
            )
            if changed.rowcount != 1:  # the password was changed while this one was being checked
                raise LoginError("wrong name or password")
            return self._open_session(connection, name)

        return self._store.transact_sync(work)

    def _password_of(self, name: str) -> str | None:
        with self._store.reader() as connection:
            row = connection.execute("SELECT password_hash FROM user WHERE name = ?", (name,)).fetchone()
        return str(row["password_hash"]) if row else None

    def session(self, cookie: str) -> Principal | None:
        """Who a cookie's value belongs to; None where it is unknown or ran out."""
        digest = _digest(cookie)
        known = self._remembered(digest)
        if known:
            return known
        now = self._clock()
        with self._store.reader() as connection:
            row = connection.execute(
                "SELECT user.name, user.role, session.expires_ns FROM session JOIN user ON user.name = session.user"
                " WHERE session.digest = ? AND session.expires_ns > ?",
                (digest, now),
            ).fetchone()
        if row is None:
            return None
        expires_ns = now + SESSION_S * 1_000_000_000
        if expires_ns - row["expires_ns"] > SESSION_RENEW_S * 1_000_000_000:
            self._store.transact_sync(
                lambda connection: (
                    connection.execute(
                        "UPDATE session SET expires_ns = ? WHERE digest = ?", (expires_ns, digest)
                    ).rowcount
                )
            )
        return self._remember(digest, Principal(row["name"], row["role"], "user"))

    def logout(self, cookie: str) -> None:
        """End a session."""
        digest = _digest(cookie)
        self._store.transact_sync(
            lambda connection: connection.execute("DELETE FROM session WHERE digest = ?", (digest,)).rowcount
        )
        self._cache.clear()

    def add_user(self, name: str, password: str, role: str = "viewer", *, actor: str = COLLECTOR) -> None:
        """Raises AccountError where the name is taken or one of the three cannot be."""
        _check_name(name)
        _check_role(role)
        stored = passwords.hash_password(password)
        self._store.transact_sync(lambda connection: self._insert_user(connection, name, stored, role, actor=actor))

    def set_password(self, name: str, password: str, *, actor: str = COLLECTOR) -> None:
        """Change a password; every session and login link of the user ends."""
        stored = passwords.hash_password(password)

        def work(connection: sqlite3.Connection) -> None:
            _need_user(connection, name)
            connection.execute("UPDATE user SET password_hash = ? WHERE name = ?", (stored, name))
            connection.execute("DELETE FROM session WHERE user = ?", (name,))
            connection.execute("DELETE FROM login_link WHERE user = ?", (name,))
            audit.append(connection, actor=actor, action="user.password", subject=f"user:{name}")

        self._store.transact_sync(work)
        self._cache.clear()

    def set_role(self, name: str, role: str, *, actor: str = COLLECTOR) -> None:
        """Change a role at once; the last administrator stays one."""
        _check_role(role)

        def work(connection: sqlite3.Connection) -> None:
            _need_user(connection, name)
            connection.execute("UPDATE user SET role = ? WHERE name = ?", (role, name))
            if not _has_admin(connection):
                raise AccountError(f"{name} is the last administrator; make another one first")
            audit.append(connection, actor=actor, action="user.role", subject=f"user:{name}", data={"role": role})

        self._store.transact_sync(work)
        self._cache.clear()

    def list_users(self) -> list[dict[str, Any]]:
        """name, role, created (RFC 3339), sessions (open ones), by name."""
        with self._store.reader() as connection:
            connection.execute("BEGIN")  # both tables of one moment
            users = rows(connection, "user", order_by="name")
            sessions = Counter(row["user"] for row in rows(connection, "session", "expires_ns > ?", (self._clock(),)))
        return [
            {
                "name": row["name"],
                "role": row["role"],
                "created": time_text(row["created_ns"]),
                "sessions": sessions[row["name"]],
            }
            for row in users
        ]

    def _insert_user(self, connection: sqlite3.Connection, name: str, stored: str, role: str, *, actor: str) -> None:
        try:
            connection.execute(
                "INSERT INTO user(name, password_hash, role, created_ns) VALUES(?, ?, ?, ?)",
                (name, stored, role, self._clock()),
            )
        except sqlite3.IntegrityError:
            raise AccountError(f"a user {name} exists already; choose another name") from None
        audit.append(connection, actor=actor, action="user.add", subject=f"user:{name}", data={"role": role})

    def _open_session(self, connection: sqlite3.Connection, name: str) -> str:
        cookie, now = secrets.token_urlsafe(32), self._clock()
        connection.execute("DELETE FROM session WHERE expires_ns <= ?", (now,))
        connection.execute(
            "INSERT INTO session(digest, user, created_ns, expires_ns) VALUES(?, ?, ?, ?)",
            (_digest(cookie), name, now, now + SESSION_S * 1_000_000_000),
        )
        return cookie

    # --- programs -----------------------------------------------------------------------------------------------

    def create_api_token(self, name: str, role: str, ca_der: bytes, *, actor: str = COLLECTOR) -> str:
        """One line that holds the credential and the CA certificate; the secret is not kept."""
        if not 1 <= len(name) <= 100 or not name.isprintable():
            raise AccountError("an API token's name has 1 to 100 printable characters")
        _check_role(role)
        token = ApiToken(secrets.token_hex(5), secrets.token_urlsafe(32), ca_der)

        def work(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO api_token(id, digest, name, role, created_ns) VALUES(?, ?, ?, ?, ?)",
                (token.token_id, _digest(token.secret), name, role, self._clock()),
            )
            data = {"name": name, "role": role}
            audit.append(connection, actor=actor, action="api_token.create", subject=token.token_id, data=data)

        self._store.transact_sync(work)
        return token.text()

    def list_api_tokens(self) -> list[dict[str, Any]]:
        """id, name, role, created, revoked (RFC 3339, empty = never), oldest first."""
        with self._store.reader() as connection:
            tokens = rows(connection, "api_token", order_by="created_ns, id")
        return [
            {
                "id": row["id"],
                "name": row["name"],
                "role": row["role"],
                "created": time_text(row["created_ns"]),
                "revoked": time_text(row["revoked_ns"]) if row["revoked_ns"] else "",
            }
            for row in tokens
        ]

    def revoke_api_token(self, token_id: str, *, actor: str = COLLECTOR) -> None:
        """The token is of no use from now on. Raises AccountError where no valid one has this id."""

        def work(connection: sqlite3.Connection) -> bool:
            changed = connection.execute(
                "UPDATE api_token SET revoked_ns = ? WHERE id = ? AND revoked_ns IS NULL", (self._clock(), token_id)
            )
            if changed.rowcount:
                audit.append(connection, actor=actor, action="api_token.revoke", subject=token_id)
            return bool(changed.rowcount)

        revoked = self._store.transact_sync(work)
        self._cache.clear()
        if not revoked:
            raise AccountError(
                f"no valid API token {token_id!r:.60}; see them with: fieldwatch-collector api-token list"
            )

    def bearer(self, token: str) -> Principal | None:
        """Who a credential belongs to; None where it is malformed, unknown or revoked."""
        try:
            token_id, secret = split_bearer(token)
        except ApiTokenError:
            return None
        digest = _digest(secret)
        key = _digest(f"{token_id}.{secret}")
        known = self._remembered(key)
        if known:
            return known
        with self._store.reader() as connection:
            row = connection.execute(
                "SELECT digest, name, role FROM api_token WHERE id = ? AND revoked_ns IS NULL", (token_id,)
            ).fetchone()
        if row is None or not hmac.compare_digest(row["digest"], digest):
            return None
        return self._remember(key, Principal(row["name"], row["role"], "api-token"))

    # --- what both share ----------------------------------------------------------------------------------------

    def _remembered(self, key: bytes) -> Principal | None:
        until, principal = self._cache.get(key, (0.0, None))
        return principal if time.monotonic() < until else None

    def _remember(self, key: bytes, principal: Principal) -> Principal:
        if len(self._cache) >= CACHE_ENTRIES:
            self._cache.clear()
        self._cache[key] = (time.monotonic() + CACHE_S, principal)
        return principal


_LINK_IS_GONE = "this login link was used or ran out; make a new one: fieldwatch-collector user login-link"


def _digest(secret: str) -> bytes:
    """SHA-256: enough for secrets that are random by themselves."""
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise AccountError("a user name has 1 to 64 letters, digits and . _ @ -, the first a letter or digit")


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise AccountError(f"{role!r:.40} is no role; roles are {', '.join(ROLES)}")


def _has_admin(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM user WHERE role = 'admin' LIMIT 1").fetchone() is not None


def _first_admin(connection: sqlite3.Connection) -> str:
    row = connection.execute("SELECT name FROM user WHERE role = 'admin' ORDER BY created_ns, name LIMIT 1").fetchone()
    if row is None:
        raise AccountError("no administrator yet; make one: fieldwatch-collector user add NAME --role admin")
    return str(row["name"])


def _need_user(connection: sqlite3.Connection, name: str) -> None:
    if connection.execute("SELECT 1 FROM user WHERE name = ?", (name,)).fetchone() is None:
        raise AccountError(f"no user {name!r:.80}; see them with: fieldwatch-collector user list")
