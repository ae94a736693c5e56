"""The diagnostics bundle: a tar.gz of what the agent told of itself, with every address taken out.

A child of the daemon: ``python -m fieldwatch_agent.control.bundle``, a JSON object on standard input (file name -> text
or JSON value), the archive on standard output. Addresses (IPv4, IPv6, MAC) become ``address-1``, ``address-2`` ...:
the same one the same name throughout, so that a reader can follow it and learns no more. Names of interfaces stay.
"""

from __future__ import annotations

import io
import ipaddress
import json
import platform
import re
import sys
import tarfile
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fieldwatch_proto.version import VERSION

MAX_INPUT_BYTES = 8 << 20
LIBRARIES = ("grpcio", "protobuf", "msgpack", "zstandard", "dpkt", "cryptography", "pcapy-ng", "sqlite-utils")

# What may stand around one: "from=2001:db8::1" and "10.0.0.1:53" hold an address, "v1.2.3.4" and "1.2.3.4.5" none.
_BEFORE = r"(?:(?<![0-9A-Za-z:.])|(?<=[G-Zg-z]:))"
_MAC = rf"{_BEFORE}(?:[0-9A-Fa-f]{{2}}[:-]){{5}}[0-9A-Fa-f]{{2}}(?![0-9A-Za-z:-])"
_IPV6 = rf"{_BEFORE}[0-9A-Fa-f]{{0,4}}(?::[0-9A-Fa-f]{{0,4}}){{2,7}}(?:\.\d{{1,3}}){{0,3}}(?![0-9A-Za-z:])"
_IPV4 = r"(?<![0-9A-Za-z.])\d{1,3}(?:\.\d{1,3}){3}(?![0-9A-Za-z]|\.\d)"
_CANDIDATE = re.compile(rf"({_MAC})|{_IPV6}|{_IPV4}")


class Redaction:
    """Names for addresses, in the order in which they are met."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def text(self, text: str) -> str:
        return _CANDIDATE.sub(self._replaced, text)

    def value(self, value: Any) -> Any:
        """JSON's value with every text redacted, keys included."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(key)): self.value(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.value(item) for item in value]
        return value

    def _replaced(self, match: re.Match[str]) -> str:
        found = match[0].lower().replace("-", ":") if match[1] else match[0]
        if not match[1]:
            try:
                found = str(ipaddress.ip_address(found))
            except ValueError:  # a time of day, a version
                return match[0]
        return self._names.setdefault(found, f"address-{len(self._names) + 1}")


def archive(folder: str, files: dict[str, Any]) -> bytes:
    """The tar.gz; each file under `folder`."""
    redaction = Redaction()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            shown = redaction.value(content)
            text = shown if isinstance(shown, str) else json.dumps(shown, indent=2, sort_keys=True) + "\n"
            octets = text.encode("utf-8", "backslashreplace")
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime, entry.mode = len(octets), int(time.time()), 0o600
            tar.addfile(entry, io.BytesIO(octets))
    return out.getvalue()


def versions() -> dict[str, str]:
    found = {"fieldwatch": VERSION, "python": sys.version, "system": platform.platform(), "machine": platform.machine()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def main() -> int:
    request = json.loads(sys.stdin.buffer.read(MAX_INPUT_BYTES))
    files = {"versions.json": versions(), **request["files"]}
    sys.stdout.buffer.write(archive(request["folder"], files))
    return 0


if __name__ == "__main__":
    sys.exit(main())
