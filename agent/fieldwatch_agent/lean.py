"""What the daemon does without, so that a full table of flows fits into the memory it may have.

Some libraries import at their own top what the daemon never uses. Left out, before they are imported:

- ``ssl`` and ``_hashlib``: they load OpenSSL; gRPC brings its own TLS, and BLAKE2 and SHA-512 are part of Python.
- ``grpc.aio`` and with it ``asyncio``: the daemon speaks gRPC from threads. gRPC's core imports asyncio by name and
  asks nothing of it before the first asynchronous call.
- dpkt's eighty protocols but for the three whose headers the dissectors use, and the base class.

About 11 MB together. Only for the process of `run`, which ends with the daemon: everybody else gets the whole library.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType

DPKT_PARTS = ("dns", "dhcp", "cdp")


def leave_out() -> None:
    """To be called before anything of these is imported; what is there already stays."""
    for name in ("ssl", "_hashlib"):
        # None makes the import fail, which hashlib, hmac and asyncio expect of a Python built without OpenSSL.
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    for name in ("grpc.aio", "asyncio"):
        sys.modules.setdefault(name, ModuleType(name))
    if "dpkt" not in sys.modules:
        _dpkt_in_part()


def _dpkt_in_part() -> None:
    """The package without its own top, which imports every module that it has."""
    spec = importlib.util.find_spec("dpkt")
    assert spec is not None
    package = sys.modules["dpkt"] = importlib.util.module_from_spec(spec)
    base = importlib.import_module("dpkt.dpkt")
    for name in ("Packet", "Error", "UnpackError", "NeedData", "PackError"):
        setattr(package, name, getattr(base, name))
    for name in DPKT_PARTS:
        importlib.import_module(f"dpkt.{name}")
