"""Configuration of agent and collector: one frozen dataclass per TOML table, nested in a root dataclass.

    @dataclass(frozen=True)
    class Spool:
        max_bytes: int = setting(1 << 30, "most bytes on disk", unit="bytes", low=1 << 20)
        seal_age: float = setting(5.0, "oldest record before a batch is sealed", unit="seconds", low=0.1)

    @dataclass(frozen=True)
    class Config:
        spool: Spool = Spool()

    loaded = load(Config, file=path, env_prefix="FIELDWATCH_AGENT", environ=os.environ, flags={})
    loaded.value.spool.max_bytes, loaded.origins["spool.max_bytes"]

- A value comes from, later over earlier: the dataclass, what somebody else offers (`Offer`), the file,
  ``PREFIX__SECTION__KEY`` (or ``..._FILE``, which names a file whose text is the value), flags
  (``{"spool.max_bytes": value}``; None = was not given).
- Field types: bool, int, float, str, ``tuple[str, ...]``. In the environment a list is separated by commas.
- ``unit="bytes"`` fields are int and also accept "64 MiB", "50 MB"; ``unit="seconds"`` fields are float and also
  accept "30 s", "250 ms", "5 min", "12 h", "7 d".
- An unknown table or key is an error that names the nearest known one; a wrong value names the key, the value
  seen and what is accepted. Every problem of a file is found in one go.

    fields    how a setting is written down
    values    what it accepts
    loading   where its value comes from
    showing   what is told of it: `config show`, `config schema`

May import the standard library, tomli and `quantities` only.
"""

from __future__ import annotations

from fieldwatch_proto.settings.fields import REDACTED, ConfigError, UsageError, leaves, setting
from fieldwatch_proto.settings.loading import DEFAULT, Loaded, Offer, find_file, load
from fieldwatch_proto.settings.showing import effective, json_schema, render_show

__all__ = [
    "DEFAULT",
    "REDACTED",
    "ConfigError",
    "Loaded",
    "Offer",
    "UsageError",
    "effective",
    "find_file",
    "json_schema",
    "leaves",
    "load",
    "render_show",
    "setting",
]
