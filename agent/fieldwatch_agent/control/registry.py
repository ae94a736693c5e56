"""The commands that a collector can give, each with its arguments, the permission it needs and its bounds.

    @command("log_level", "says more or less for a while", arguments=(Argument("level", str, "...", choices=LEVELS),))
    def log_level(run: Run, agent: Agent, *, level: str) -> Outcome: ...

A module of `commands/` is imported with the first command of its name (its name is the command's): what is never asked
for costs no memory. `config.REMOTE_COMMANDS` lists the names for `[remote] allow`; a test holds the two together.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fieldwatch_agent.config import REMOTE_COMMANDS

MAX_ARGUMENTS_BYTES = 16 << 10
MAX_TEXT_CHARS = 4_096
REQUIRED: Any = object()


class ArgumentError(Exception):
    """The arguments of a command are not what it takes: one line."""


@dataclass(frozen=True)
class Argument:
    """One argument: JSON's number, text or truth value. Limits are inclusive."""

    name: str
    type: type
    about: str
    default: Any = REQUIRED
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()

    def value(self, raw: object) -> Any:
        """The value that a command gets. Raises ArgumentError."""
        if self.type is float and isinstance(raw, int) and not isinstance(raw, bool):
            raw = float(raw)
        if type(raw) is not self.type or (isinstance(raw, float) and not math.isfinite(raw)):
            accepted = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}[self.type]
            raise ArgumentError(f"{self.name} = {_shown(raw)}: accepted is {accepted}")
        if isinstance(raw, int | float) and (
            (self.low is not None and raw < self.low) or (self.high is not None and raw > self.high)
        ):
            raise ArgumentError(f"{self.name} = {_shown(raw)}: accepted is {self.low:g} to {self.high:g}")
        if self.choices and raw not in self.choices:
            raise ArgumentError(f"{self.name} = {_shown(raw)}: accepted is one of: {', '.join(self.choices)}")
        if isinstance(raw, str) and len(raw) > MAX_TEXT_CHARS:
            raise ArgumentError(f"{self.name}: accepted are at most {MAX_TEXT_CHARS} characters")
        return raw


@dataclass(frozen=True)
class Outcome:
    """How a command ended well: a line for people, an object for programs, what is to happen once it is reported."""

    text: str = ""
    result: Mapping[str, Any] = field(default_factory=dict)
    then: Callable[[], None] | None = None


@dataclass(frozen=True)
class Spec:
    """One command. `permission`: what `[remote] allow` must hold. `exclusive`: one at a time."""

    name: str
    about: str
    permission: str
    timeout_s: float
    exclusive: bool
    arguments: tuple[Argument, ...]
    call: Callable[..., Outcome]

    def parse(self, octets: bytes) -> dict[str, Any]:
        """The arguments of a command, as `call` takes them. Raises ArgumentError."""
        if len(octets) > MAX_ARGUMENTS_BYTES:
            raise ArgumentError(f"the arguments have {len(octets)} octets; accepted are {MAX_ARGUMENTS_BYTES}")
        try:
            given = json.loads(octets or b"{}")
        except (ValueError, RecursionError):
            raise ArgumentError("the arguments are not JSON") from None
        if not isinstance(given, dict):
            raise ArgumentError("the arguments are no JSON object")
        known = {argument.name: argument for argument in self.arguments}
        if strange := sorted(set(given) - set(known)):
            raise ArgumentError(
                f"unknown argument {_shown(strange[0])}; {self.name} takes: {', '.join(known) or 'none'}"
            )
        missing = [name for name, argument in known.items() if argument.default is REQUIRED and name not in given]
        if missing:
            raise ArgumentError(f"the argument {missing[0]} is missing: {known[missing[0]].about}")
        return {
            name: argument.value(given[name]) if name in given else argument.default for name, argument in known.items()
        }


_specs: dict[str, Spec] = {}


def command(
    name: str,
    about: str,
    *,
    arguments: tuple[Argument, ...] = (),
    permission: str = "",
    timeout_s: float = 60.0,
    exclusive: bool = False,
) -> Callable[[Callable[..., Outcome]], Callable[..., Outcome]]:
    """Register a function ``(run, agent, **arguments) -> Outcome``. `permission` is by default the name."""

    def register(call: Callable[..., Outcome]) -> Callable[..., Outcome]:
        _specs[name] = Spec(name, about, permission or name, timeout_s, exclusive, arguments, call)
        return call

    return register


def find(name: str) -> Spec | None:
    """The command of that name; None for one that this version does not know."""
    if name not in REMOTE_COMMANDS:
        return None
    importlib.import_module(f"fieldwatch_agent.control.commands.{name}")
    return _specs[name]


def _shown(raw: object) -> str:
    text = json.dumps(raw, ensure_ascii=True, default=str)
    return text if len(text) <= 80 else f"{text[:77]}..."
