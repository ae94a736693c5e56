"""What the daemon does without, so that it fits into the memory it may have: `docs/decisions/0007-resident-memory.md`.

Some libraries import at their own top what the daemon never uses. Left out, before they are imported:

- ``ssl`` and ``_hashlib``: they load OpenSSL; gRPC brings its own TLS, and BLAKE2 and SHA-512 are part of Python.
- ``grpc.aio`` and with it ``asyncio``: the daemon speaks gRPC from threads. gRPC's core imports asyncio by name and
  asks nothing of it before the first asynchronous call; logging asks it for the current task, and bears that there is
  none to be had.
- dpkt's eighty protocols but for those whose headers the dissectors import, and the base class.

Others are imported for a case that hardly comes; these are loaded when it does (`LAZY`).

Only for the process of `run`, which ends with the daemon: everybody else gets the whole library.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

# For glibc: one heap instead of one for each thread, and freed memory goes back; for Python: code without columns for
# the marks under a traceback's lines. Saves 4 to 5 MB with a full table.
ENVIRONMENT = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_TRIM_THRESHOLD_": "65536",
    "MALLOC_MMAP_THRESHOLD_": "32768",
    "PYTHONNODEBUGRANGES": "1",
}

LAZY = (
    "google.protobuf.internal.python_message",  # where the compiled messages are missing; with pickle
    "google.protobuf.descriptor_database",  # the same
    "calendar",  # protobuf: for timestamps
    "pkgutil",  # gRPC: for its own root certificates
    "platform",  # for a bundle of diagnostics
    "inspect",  # dataclasses: for a class without a docstring
    "subprocess",  # for a filter, a renewal
    "shutil",  # to remove a folder; with bz2 and lzma
    "difflib",  # for a name that was probably meant
    "random",  # for a pause after a failure
    "base64",  # for an export
    "selectors",  # to send a file over a socket
    "traceback",  # for an exception in the log
    "linecache",  # for the lines of a traceback; with tokenize
    "textwrap",  # for a traceback of a group of exceptions
    "locale",
    "unicodedata",  # for the text of messages
)


def become_lean() -> None:
    """To be called before anything else is imported; what is there already stays."""
    for name in ("ssl", "_hashlib"):
        # None makes the import fail, which hashlib, hmac and asyncio expect of a Python built without OpenSSL.
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    for name in ("grpc.aio", "asyncio"):
        sys.modules.setdefault(name, ModuleType(name))
    for name in LAZY:
        if name not in sys.modules:
            _at_first_use(name, partial(importlib.import_module, name))
    # From Python 3.12 to 3.13 dataclasses ask it for this alone, for every class: `inspect` loads `ast` and `dis`.
    vars(sys.modules["inspect"]).setdefault("get_annotations", _annotations)
    # What zstandard asks of it at its top; the rest of it looks at the machine.
    vars(sys.modules["platform"]).setdefault("python_implementation", lambda: "CPython")
    if "dpkt" not in sys.modules:
        _at_first_use("dpkt", _dpkt_in_part)


def _annotations(of: type) -> dict[str, Any]:
    """As `inspect.get_annotations` gives those of a class."""
    return dict(vars(of).get("__annotations__", {}))


def _at_first_use(name: str, load: Callable[[], ModuleType]) -> None:
    """A module in the place of `name` that asks the real one, which is loaded when something is asked of it."""
    stand_in = ModuleType(name)
    lock = threading.RLock()

    def __getattr__(attribute: str) -> Any:  # noqa: N807 - PEP 562
        with lock:
            if sys.modules.get(name) is stand_in:
                del sys.modules[name]
                load()
        return getattr(sys.modules[name], attribute)

    stand_in.__getattr__ = __getattr__  # type: ignore[method-assign]
    sys.modules[name] = stand_in


def _dpkt_in_part() -> ModuleType:
    """The package without its own top, which imports every module that it has."""
    spec = importlib.util.find_spec("dpkt")
    assert spec is not None
    package = sys.modules["dpkt"] = importlib.util.module_from_spec(spec)
    base = importlib.import_module("dpkt.dpkt")
    for name in ("Packet", "Error", "UnpackError", "NeedData", "PackError"):
        setattr(package, name, getattr(base, name))
    return package
