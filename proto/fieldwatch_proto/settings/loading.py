"""Where values come from, which of them wins, and every problem of a file in one go."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from fieldwatch_proto.settings.fields import REDACTED, ConfigError, Leaf, leaves, tables
from fieldwatch_proto.settings.values import convert, shown

T = TypeVar("T")

MAX_SECRET_FILE_BYTES = 64 << 10
DEFAULT = "default"  # origin of what nobody set


@dataclass(frozen=True)
class Loaded(Generic[T]):
    """The configuration in force, and for each dotted key where its value came from."""

    value: T
    origins: Mapping[str, str]


@dataclass(frozen=True)
class Offer:
    """Values in the place of defaults, as a file has them: section -> key -> value. `origin` names who offers them."""

    origin: str
    values: Mapping[str, Any]


def find_file(explicit: Path | None, default: Path) -> Path | None:
    """The file that the user named (which must then exist), else the default one if it is there."""
    if explicit is not None:
        return explicit
    return default if default.exists() else None


def load(
    cls: type[T],
    *,
    file: Path | None,
    env_prefix: str,
    environ: Mapping[str, str],
    flags: Mapping[str, object],
    offer: Offer | None = None,
) -> Loaded[T]:
    """Defaults < `offer` < `file` < environment < `flags`. Raises ConfigError with every problem found."""
    known = {leaf.key: leaf for leaf in leaves(cls)}
    values: dict[str, Any] = {key: leaf.default for key, leaf in known.items()}
    origins = dict.fromkeys(known, DEFAULT)
    problems: list[str] = []

    def take(leaf: Leaf, raw: object, origin: str, *, text: bool) -> None:
        try:
            values[leaf.key] = convert(leaf, raw, text=text)
            origins[leaf.key] = origin
        except ValueError as problem:
            seen = REDACTED if leaf.rule.secret else f"{shown(raw)}"
            problems.append(f"{origin}: {leaf.key} = {seen}: {problem}")

    if offer is not None:
        for key, raw in _flatten(offer.values, known, offer.origin, problems):
            take(known[key], raw, offer.origin, text=False)
    if file is not None:
        for key, raw in _flatten(_read_toml(file), known, f"file {file}", problems):
            take(known[key], raw, f"file {file}", text=False)
    for key, raw, name in _environment(known, env_prefix, environ, problems):
        take(known[key], raw, f"environment {name}", text=True)
    for key, raw in flags.items():
        if raw is not None:
            leaf = known[key]
            name = leaf.rule.flag or "--" + key.replace(".", "-").replace("_", "-")
            take(leaf, raw, f"flag {name}", text=True)
    if problems:
        raise ConfigError(*problems)
    try:
        return Loaded(_build(cls, "", values), origins)
    except ValueError as problem:
        raise ConfigError(f"{f'file {file}: ' if file else ''}{problem}") from None


def _build(cls: type[T], prefix: str, values: Mapping[str, Any]) -> T:
    nested = tables(cls)
    parts: dict[str, Any] = {}
    for item in dataclasses.fields(cls):  # type: ignore[arg-type]  # T is a dataclass: `setting` makes no other
        key = prefix + item.name
        kind = nested.get(item.name)
        parts[item.name] = values[key] if kind is None else _build(kind, f"{key}.", values)
    return cls(**parts)


def _read_toml(file: Path) -> dict[str, Any]:
    import tomli

    try:
        return tomli.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"{file}: no such file; give another with --config, or leave it out for the defaults"
        ) from None
    except OSError as problem:
        raise ConfigError(f"{file}: cannot be read: {problem.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: is not UTF-8 text") from None
    except tomli.TOMLDecodeError as problem:
        raise ConfigError(f"{file}: is not valid TOML: {problem}") from None


def _flatten(
    table: Mapping[str, Any], known: Mapping[str, Leaf], where: str, problems: list[str], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    known_tables = {key[: place + 1] for key in known for place in range(len(key)) if key[place] == "."}
    for name, raw in table.items():
        key = f"{prefix}{name}"
        if key in known:
            yield key, raw
        elif f"{key}." in known_tables:
            if isinstance(raw, dict):
                yield from _flatten(raw, known, where, problems, f"{key}.")
            else:
                problems.append(f"{where}: {key} = {shown(raw)}: accepted is a table, [{key}]")
        else:
            problems.append(f"{where}: unknown {_unknown(key, isinstance(raw, dict), known)}")


def _unknown(key: str, is_table: bool, known: Mapping[str, Leaf]) -> str:
    """ "key spool.max_byte; the nearest known one is spool.max_bytes"."""
    sections = sorted({name.rpartition(".")[0] for name in known} - {""})
    candidates = sections if is_table else list(known)
    near = difflib.get_close_matches(key, candidates, n=1, cutoff=0.8)
    if not near and not is_table:  # the right key in the wrong table
        near = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    near = near or difflib.get_close_matches(key, candidates, n=1, cutoff=0.5)
    siblings = sections if is_table else [name for name in known if name.rpartition(".")[0] == key.rpartition(".")[0]]
    hint = f"the nearest known one is {near[0]}" if near else f"known ones: {', '.join(siblings or sections)}"
    return f"{'table' if is_table else 'key'} {key}; {hint}"


def _environment(
    known: Mapping[str, Leaf], prefix: str, environ: Mapping[str, str], problems: list[str]
) -> Iterator[tuple[str, str, str]]:
    names = {f"{prefix}__{key.replace('.', '__').upper()}": key for key in known}
    for name in sorted(environ):
        if not name.startswith(f"{prefix}__"):
            continue
        if name in names:
            yield names[name], environ[name], name
        elif name.endswith("_FILE") and name[: -len("_FILE")] in names:
            try:
                octets = Path(environ[name]).read_bytes()[:MAX_SECRET_FILE_BYTES]
                yield names[name[: -len("_FILE")]], octets.decode("utf-8").strip(), name
            except OSError as problem:
                problems.append(f"environment {name} = {environ[name]}: cannot be read: {problem.strerror}")
            except UnicodeDecodeError:
                problems.append(f"environment {name} = {environ[name]}: is not UTF-8 text")
        else:
            near = difflib.get_close_matches(name, list(names), n=1, cutoff=0.5)
            problems.append(
                f"environment: unknown variable {name}" + (f"; the nearest known one is {near[0]}" if near else "")
            )
