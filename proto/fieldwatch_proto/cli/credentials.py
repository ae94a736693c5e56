"""Which collector a client command talks to, and with which token.

``FIELDWATCH_COLLECTOR`` and ``FIELDWATCH_API_TOKEN_FILE`` go before what `fieldwatch login` stored in
``~/.config/fieldwatch/credentials.json`` (``$XDG_CONFIG_HOME`` is honoured): ``{"collector": "HOST:7444", "token":
"fwa1...."}``, mode 0600.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from fieldwatch_proto.api_token import MAX_TEXT, ApiToken, ApiTokenError
from fieldwatch_proto.settings import UsageError

ENV_COLLECTOR = "FIELDWATCH_COLLECTOR"
ENV_TOKEN_FILE = "FIELDWATCH_API_TOKEN_FILE"  # noqa: S105 - the name of a file, not a token
MAX_FILE_BYTES = 64 << 10


def credentials_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the credentials of this user are."""
    base = environ.get("XDG_CONFIG_HOME")
    return (Path(base) if base else Path.home() / ".config") / "fieldwatch" / "credentials.json"


def credentials(environ: Mapping[str, str] = os.environ) -> tuple[str, ApiToken]:
    """(collector's address, token). Raises UsageError where one is missing or not valid."""
    address, token_file = environ.get(ENV_COLLECTOR, ""), environ.get(ENV_TOKEN_FILE, "")
    path = credentials_file(environ)
    stored = {} if address and token_file else _stored(path)
    address = address or stored.get("collector", "")
    text = read_text(token_file) if token_file else stored.get("token", "")
    if not address or not text:
        raise UsageError(
            "no collector is known; log in: fieldwatch login HOST:7444 --token-file FILE"
            f" (or set {ENV_COLLECTOR} and {ENV_TOKEN_FILE})"
        )
    try:
        return address, ApiToken.parse(text)
    except ApiTokenError as problem:
        raise UsageError(f"{token_file or path}: {problem}") from None


def store_credentials(address: str, token: ApiToken, environ: Mapping[str, str] = os.environ) -> Path:
    """Write the file for this user alone, whole or not at all; its path."""
    path = credentials_file(environ)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            json.dump({"collector": address, "token": token.text()}, stream)
            stream.write("\n")
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    return path


def read_text(source: str) -> str:
    """The text of a file, or of standard input for "-"; bounded."""
    if source == "-":
        return sys.stdin.read(MAX_TEXT + 1)
    with Path(source).open(encoding="utf-8", errors="replace") as stream:
        return stream.read(MAX_TEXT + 1)


def _stored(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as stream:
            found = json.loads(stream.read(MAX_FILE_BYTES))
    except FileNotFoundError:
        return {}
    except ValueError:
        found = None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise UsageError(f"{path}: not a file of fieldwatch login; log in again: fieldwatch login HOST:7444 ...")
    return found
