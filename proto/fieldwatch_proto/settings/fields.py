"""How a setting is written down: a field of a frozen dataclass with a rule; and the errors of whoever sets one."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

T = TypeVar("T")
Unit = Literal["", "bytes", "seconds"]

REDACTED = "********"


class UsageError(Exception):
    """The user asked for something that cannot be: one line, exit code 2."""


class ConfigError(UsageError):
    """Configuration that is not valid. `problems` holds one line each; exit code 2."""

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


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


def tables(cls: type[Any]) -> dict[str, type[Any]]:
    """The fields that are tables of their own."""
    hints = typing.get_type_hints(cls)
    return {
        item.name: hints[item.name] for item in dataclasses.fields(cls) if dataclasses.is_dataclass(hints[item.name])
    }


def _leaves(cls: type[Any], prefix: str) -> Iterator[Leaf]:
    hints = typing.get_type_hints(cls)
    nested = tables(cls)
    for item in dataclasses.fields(cls):
        if item.name in nested:
            yield from _leaves(nested[item.name], f"{prefix}{item.name}.")
        else:
            yield Leaf(prefix + item.name, hints[item.name], item.default, item.metadata.get("rule") or Rule(""))
