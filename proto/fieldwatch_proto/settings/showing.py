"""Settings as they are shown: the effective values with their origins, and the JSON Schema of a file."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from fieldwatch_proto.quantities import bytes_exact, seconds_exact
from fieldwatch_proto.settings.fields import REDACTED, Leaf, leaves, tables
from fieldwatch_proto.settings.loading import Loaded


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
    nested = {name: _schema(kind) for name, kind in tables(cls).items()}
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
