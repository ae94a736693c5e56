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
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from fieldwatch_proto.quantities import bytes_exact, parse_bytes, parse_seconds, seconds_exact

T = TypeVar("T")
Unit = Literal["", "bytes", "seconds"]

MAX_SECRET_FILE_BYTES = 64 << 10
REDACTED = "********"
DEFAULT = "default"  # origin of what nobody set

_WORDS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)


class UsageError(Exception):
    """The user asked for something that cannot be: one line, exit code 2."""


class ConfigError(UsageError):
    """Configuration that is not valid. `problems` holds one line each; exit code 2."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


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


@dataclass(frozen=True)
class Rule:
    """What a field accepts beyond its type. `check` gives None, or what is accepted instead."""

    about: str
    unit: Unit = ""
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    secret: bool = False
    flag: str = ""
    check: Callable[[Any], str | None] | None = None


@dataclass(frozen=True)
class Leaf:
    """One key: its dotted name, type, default and rule."""

    key: str
    type: Any
    default: Any
    rule: Rule


def setting(
    default: T,
    about: str,
    *,
    unit: Unit = "",
    low: float | None = None,
    high: float | None = None,
    choices: Sequence[str] = (),
    secret: bool = False,
    flag: str = "",
    check: Callable[[Any], str | None] | None = None,
) -> T:
    """A field: its default, a line of help, its limits (inclusive), and `flag`, the command line's name for it."""
    rule = Rule(about, unit, low, high, tuple(choices), secret, flag, check)
    return dataclasses.field(default=default, metadata={"rule": rule})


def leaves(cls: type[Any]) -> list[Leaf]:
    """Every key of a root dataclass, in the order of definition."""
    return list(_leaves(cls, ""))


def _tables(cls: type[Any]) -> dict[str, type[Any]]:
    """The fields that are tables of their own."""
    hints = typing.get_type_hints(cls)
    return {
        item.name: hints[item.name] for item in dataclasses.fields(cls) if dataclasses.is_dataclass(hints[item.name])
    }


def _leaves(cls: type[Any], prefix: str) -> Iterator[Leaf]:
    hints = typing.get_type_hints(cls)
    tables = _tables(cls)
    for item in dataclasses.fields(cls):
        if item.name in tables:
            yield from _leaves(tables[item.name], f"{prefix}{item.name}.")
        else:
            yield Leaf(prefix + item.name, hints[item.name], item.default, item.metadata.get("rule") or Rule(""))


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
            values[leaf.key] = _convert(leaf, raw, text=text)
            origins[leaf.key] = origin
        except ValueError as problem:
            seen = REDACTED if leaf.rule.secret else f"{_shown(raw)}"
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
    tables = _tables(cls)
    parts: dict[str, Any] = {}
    for item in dataclasses.fields(cls):  # type: ignore[arg-type]  # T is a dataclass: `setting` makes no other
        key = prefix + item.name
        kind = tables.get(item.name)
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
    tables = {key[: place + 1] for key in known for place in range(len(key)) if key[place] == "."}
    for name, raw in table.items():
        key = f"{prefix}{name}"
        if key in known:
            yield key, raw
        elif f"{key}." in tables:
            if isinstance(raw, dict):
                yield from _flatten(raw, known, where, problems, f"{key}.")
            else:
                problems.append(f"{where}: {key} = {_shown(raw)}: accepted is a table, [{key}]")
        else:
            problems.append(f"{where}: unknown {_unknown(key, isinstance(raw, dict), known)}")


def _unknown(key: str, is_table: bool, known: Mapping[str, Leaf]) -> str:
    """ "key spool.max_byte; the nearest known one is spool.max_bytes"."""
    tables = sorted({name.rpartition(".")[0] for name in known} - {""})
    candidates = tables if is_table else list(known)
    near = difflib.get_close_matches(key, candidates, n=1, cutoff=0.8)
    if not near and not is_table:  # the right key in the wrong table
        near = [name for name in known if name.rpartition(".")[2] == key.rpartition(".")[2]]
    near = near or difflib.get_close_matches(key, candidates, n=1, cutoff=0.5)
    siblings = tables if is_table else [name for name in known if name.rpartition(".")[0] == key.rpartition(".")[0]]
    hint = f"the nearest known one is {near[0]}" if near else f"known ones: {', '.join(siblings or tables)}"
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


def _convert(leaf: Leaf, raw: object, *, text: bool) -> Any:
    """The value of a key. `text`: numbers and lists may come as text (environment, flags)."""
    rule = leaf.rule
    value: Any
    if leaf.type is bool:
        if isinstance(raw, str) and text and raw.strip().lower() in _WORDS:
            raw = _WORDS[raw.strip().lower()]
        if not isinstance(raw, bool):
            raise ValueError("accepted are true and false")
        return raw
    if leaf.type in (int, float):
        value = _number(leaf, raw, text=text)
        if (rule.low is not None and value < rule.low) or (rule.high is not None and value > rule.high):
            raise ValueError(f"accepted is {_range(rule)}")
    elif leaf.type is str:
        if isinstance(raw, Path):
            raw = str(raw)
        if not isinstance(raw, str):
            raise ValueError("accepted is text in quotes")
        value = raw
        if rule.choices and value not in rule.choices:
            raise ValueError(f"accepted is one of: {', '.join(rule.choices)}")
    else:  # tuple[str, ...]
        if isinstance(raw, str) and text:
            raw = [part.strip() for part in raw.split(",") if part.strip()]
        if not isinstance(raw, list | tuple) or not all(isinstance(part, str) for part in raw):
            raise ValueError('accepted is a list of texts, ["a", "b"]')
        value = tuple(raw)
        if rule.choices and (strange := [part for part in value if part not in rule.choices]):
            raise ValueError(f"{strange[0]} is not known; accepted are: {', '.join(rule.choices)}")
    if rule.check is not None and (accepted := rule.check(value)):
        raise ValueError(accepted)
    return value


def _number(leaf: Leaf, raw: object, *, text: bool) -> int | float:
    unit = leaf.rule.unit
    if isinstance(raw, str) and (unit or text):
        raw = parse_bytes(raw) if unit == "bytes" else parse_seconds(raw) if unit == "seconds" else _plain(raw)
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
        raise ValueError(f"accepted is {_range(leaf.rule)}")
    if leaf.type is int:
        if raw != int(raw):
            raise ValueError("accepted is a whole number")
        return int(raw)
    return float(raw)


def _plain(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return float(text)
    except ValueError:
        raise ValueError("accepted is a number") from None


def _range(rule: Rule) -> str:
    show: Callable[[Any], str] = {"bytes": bytes_exact, "seconds": seconds_exact}.get(rule.unit, str)
    what = {"bytes": 'a size such as "64 MiB"', "seconds": 'a duration such as "30 s"'}.get(rule.unit, "a number")
    if rule.low is not None and rule.high is not None:
        return f"{what} from {show(rule.low)} to {show(rule.high)}"
    if rule.low is not None:
        return f"{what} of at least {show(rule.low)}"
    if rule.high is not None:
        return f"{what} of at most {show(rule.high)}"
    return what


def _shown(raw: object) -> str:
    text = json.dumps(raw, ensure_ascii=True, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _rendered(leaf: Leaf, value: Any) -> str:
    """The value as TOML."""
    if leaf.rule.secret:
        return json.dumps(REDACTED if value else "")
    if leaf.rule.unit == "bytes":
        return json.dumps(bytes_exact(value))
    if leaf.rule.unit == "seconds":
        return json.dumps(seconds_exact(value))
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def effective(loaded: Loaded[Any]) -> list[dict[str, Any]]:
    """Every key with its effective value and origin, secrets redacted: for ``config show -o json``."""
    rows = []
    for leaf in leaves(type(loaded.value)):
        value: Any = loaded.value
        for part in leaf.key.split("."):
            value = getattr(value, part)
        if leaf.rule.secret:
            value = REDACTED if value else ""
        rows.append({"key": leaf.key, "value": value, "origin": loaded.origins[leaf.key]})
    return rows


def render_show(loaded: Loaded[Any]) -> str:
    """The effective values as TOML that loads again, each with its origin behind it; secrets are redacted."""
    rows = effective(loaded)
    lines: list[str] = []
    table = ""
    pairs = [_rendered(leaf, row["value"]) for leaf, row in zip(leaves(type(loaded.value)), rows, strict=True)]
    width = min(
        48,
        max(len(row["key"].rpartition(".")[2]) + 3 + len(pair) for row, pair in zip(rows, pairs, strict=True)),
    )
    for row, pair in zip(rows, pairs, strict=True):
        section, _, name = row["key"].rpartition(".")
        if section != table:
            lines += ([""] if lines else []) + [f"[{section}]"]
            table = section
        text = f"{name} = {pair}"
        lines.append(f"{text:<{width}}  # {row['origin']}")
    return "\n".join(lines) + "\n"


def json_schema(cls: type[Any], title: str = "") -> dict[str, Any]:
    """JSON Schema (2020-12) of the file."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title or cls.__name__}
    return head | _schema(cls)


def _schema(cls: type[Any]) -> dict[str, Any]:
    own = {leaf.key: _leaf_schema(leaf) for leaf in leaves(cls)}
    nested = {name: _schema(kind) for name, kind in _tables(cls).items()}
    properties = {item.name: nested.get(item.name) or own[item.name] for item in dataclasses.fields(cls)}
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _leaf_schema(leaf: Leaf) -> dict[str, Any]:
    rule = leaf.rule
    if leaf.type is bool:
        shape: dict[str, Any] = {"type": "boolean"}
    elif leaf.type in (int, float):
        name = "integer" if leaf.type is int else "number"
        shape = {"type": [name, "string"] if rule.unit else name}
        if rule.low is not None:
            shape["minimum"] = rule.low
        if rule.high is not None:
            shape["maximum"] = rule.high
    elif leaf.type is str:
        shape = {"type": "string"}
        if rule.choices:
            shape["enum"] = list(rule.choices)
    else:
        items: dict[str, Any] = {"type": "string"}
        if rule.choices:
            items["enum"] = list(rule.choices)
        shape = {"type": "array", "items": items}
    default = list(leaf.default) if isinstance(leaf.default, tuple) else leaf.default
    return shape | {"description": rule.about, "default": default}
