"""What a setting accepts: from TOML, where values have types, and from text (environment, flags)."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fieldwatch_proto.quantities import bytes_exact, parse_bytes, parse_seconds, seconds_exact
from fieldwatch_proto.settings.fields import Leaf, Rule

_WORDS = dict.fromkeys(("true", "yes", "on", "1"), True) | dict.fromkeys(("false", "no", "off", "0"), False)


def convert(leaf: Leaf, raw: object, *, text: bool) -> Any:
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


def shown(raw: object) -> str:
    text = json.dumps(raw, ensure_ascii=True, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
