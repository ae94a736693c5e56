"""The CAs of a data folder: the one that signs, and those before it. Files in ``DATA/pki/``.

- ``ca.crt``, ``ca.key``: the CA that signs. ``earlier.json``: the roots before it, the newest first, each with the
  certificate by which it vouches for its successor; their keys are gone.
- A rotation is written whole to ``rotation.json`` first and then put in force file by file; what a cut left is put in
  force at the next opening. Nothing is ever half of one CA and half of another.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fieldwatch_collector.identity import pki


@dataclass(frozen=True)
class Earlier:
    """A CA that was replaced. `announced`: agents are still told to trust it, beside the one that signs now."""

    root: x509.Certificate
    cross: x509.Certificate
    replaced: dt.datetime
    announced: bool


@dataclass(frozen=True)
class Cas:
    """`earlier`: the newest first."""

    root: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    earlier: tuple[Earlier, ...] = ()

    def rotated(self, now: dt.datetime) -> Cas:
        """A new CA that signs; the one so far vouches for it, and its key is let go."""
        key = ec.generate_private_key(ec.SECP256R1())
        root = pki.ca_certificate(key)
        last = Earlier(self.root, pki.cross_certificate(root, self.root, self.key), now, announced=True)
        return Cas(root, key, (last, *self.earlier))

    def settled(self) -> Cas:
        """No earlier CA is announced any more."""
        return replace(self, earlier=tuple(replace(one, announced=False) for one in self.earlier))


def open_cas(folder: Path) -> Cas:
    """The CAs of the folder, made where there is none yet. Raises OSError, ValueError."""
    _finish_writing(folder)
    key_file, certificate_file = folder / "ca.key", folder / "ca.crt"
    if not certificate_file.exists():
        key = ec.generate_private_key(ec.SECP256R1())
        pki.write(key_file, pki.private_pem(key), 0o600)
        pki.write(certificate_file, pki.pem(pki.ca_certificate(key)), 0o644)
    loaded = serialization.load_pem_private_key(key_file.read_bytes(), None)
    if not isinstance(loaded, ec.EllipticCurvePrivateKey):
        raise ValueError(f"{key_file}: is no P-256 key; restore the data folder from a backup")
    root = x509.load_pem_x509_certificate(certificate_file.read_bytes())
    if loaded.public_key() != root.public_key():
        raise ValueError(
            f"{key_file}: is not the key of {certificate_file.name}; restore the data folder from a backup"
        )
    return Cas(root, loaded, _read_earlier(folder / "earlier.json"))


def write_rotation(folder: Path, cas: Cas) -> None:
    """Put a new CA in force. Raises OSError; then the one before is in force, or the next opening finishes."""
    text = {
        "key": pki.private_pem(cas.key).decode(),
        "certificate": pki.pem(cas.root).decode(),
        "earlier": _earlier_text(cas.earlier),
    }
    pki.write(folder / "rotation.json", json.dumps(text).encode(), 0o600)
    _finish_writing(folder)


def write_earlier(folder: Path, earlier: Sequence[Earlier]) -> None:
    pki.write(folder / "earlier.json", json.dumps(_earlier_text(earlier), indent=1).encode(), 0o644)


def _finish_writing(folder: Path) -> None:
    """Every step may be done again."""
    whole = folder / "rotation.json"
    if not whole.exists():
        return
    text = json.loads(whole.read_bytes())
    pki.write(folder / "earlier.json", json.dumps(text["earlier"], indent=1).encode(), 0o644)
    pki.write(folder / "ca.key", text["key"].encode(), 0o600)
    pki.write(folder / "ca.crt", text["certificate"].encode(), 0o644)
    whole.unlink()


def _read_earlier(path: Path) -> tuple[Earlier, ...]:
    try:
        listed = json.loads(path.read_bytes())
    except FileNotFoundError:
        return ()
    try:
        return tuple(
            Earlier(
                x509.load_pem_x509_certificate(one["root"].encode()),
                x509.load_pem_x509_certificate(one["cross"].encode()),
                dt.datetime.fromisoformat(one["replaced"]),
                one["announced"],
            )
            for one in listed
        )
    except (AttributeError, KeyError, TypeError, ValueError) as problem:
        raise ValueError(f"{path}: cannot be read ({problem}); restore the data folder from a backup") from None


def _earlier_text(earlier: Sequence[Earlier]) -> list[dict[str, Any]]:
    return [
        {
            "root": pki.pem(one.root).decode(),
            "cross": pki.pem(one.cross).decode(),
            "replaced": one.replaced.isoformat(),
            "announced": one.announced,
        }
        for one in earlier
    ]
