"""The commands there are. Agents have a registry of their own: what one does not know or allow, it refuses."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fieldwatch_proto.logs import LEVELS

from fieldwatch_collector.accounts import Action
from fieldwatch_collector.read_model.asking import BadRequest

CONFIG = "config"  # made by `remote_config` alone
MAX_TIMEOUT_S = 7 * 86_400
MAX_FILTER = 1_000
_CONTROL_FREE = "one line of printable characters"


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument: a text of at most `high` characters, one of `choices`, or an integer from `low` to `high`.

    `default` None = it must be given.
    """

    name: str
    help: str
    default: str | int | None = None
    low: int = 0
    high: int = 0
    choices: tuple[str, ...] = ()
    integer: bool = False

    def check(self, value: object) -> str | int:
        """The value; a number may come as text. Raises BadRequest."""
        if self.integer:
            return self._number(value)
        if not isinstance(value, str):
            raise BadRequest(f"{self.name}: a text is wanted, not {type(value).__name__}")
        if self.choices and value not in self.choices:
            raise BadRequest(f"{self.name}: {value!r:.60} is none of {', '.join(self.choices)}")
        if len(value) > self.high > 0:
            raise BadRequest(f"{self.name}: {len(value)} characters, the limit is {self.high}")
        if not value.isprintable():
            raise BadRequest(f"{self.name}: accepted is {_CONTROL_FREE}")
        if not value and self.default is None:
            raise BadRequest(f"{self.name}: must not be empty")
        return value

    def _number(self, value: object) -> int:
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            raise BadRequest(f"{self.name}: {value!r:.60} is no number from {self.low} to {self.high}")
        return value


@dataclass(frozen=True, slots=True)
class Kind:
    """A command. `action` is what the role of who runs it must allow; `timeout_s` counts from the order to the end.

    keeps_part: what has come of its file is of use although it was stopped or failed, as the packets of a capture are.
    """

    name: str
    summary: str
    action: Action
    arguments: tuple[Argument, ...] = ()
    gives_file: bool = False
    keeps_part: bool = False
    timeout_s: int = 600

    def check(self, given: Mapping[str, Any]) -> dict[str, str | int]:
        """Every argument with its value. Raises BadRequest: one is unknown, missing, or out of its bounds."""
        names = [argument.name for argument in self.arguments]
        for name in given:
            if name not in names:
                near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(names) or 'none'}"
                raise BadRequest(f"{self.name} has no argument {str(name)!r:.60}; {hint}")
        found: dict[str, str | int] = {}
        for argument in self.arguments:
            value = given.get(argument.name, argument.default)
            if value is None:
                raise BadRequest(f"{self.name} needs {argument.name}: {argument.help}")
            found[argument.name] = argument.check(value)
        return found


def _integer(name: str, help_: str, default: int, low: int, high: int) -> Argument:
    return Argument(name, help_, default, low, high, integer=True)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("reload", "read the configuration anew, and apply what can be applied while running", "operate"),
        Kind(
            "diagnostics",
            "a bundle for support: versions, settings without secrets, health, spool, the last log lines",
            "operate",
            gives_file=True,
        ),
        Kind(
            "log_level",
            "log more or less for a while; the level before returns by itself",
            "operate",
            (
                Argument("level", "how much the agent logs", choices=LEVELS),
                _integer("minutes", "until the level before returns", 15, 1, 1_440),
            ),
        ),
        Kind(
            "capture",
            "packets of an interface as a pcap file; the agent's own configuration must allow it",
            "admin",
            (
                Argument("interface", "where to listen, as the agent names it", high=64),
                _integer("packets", "how many at most", 1_000, 1, 10_000),
                Argument("filter", "BPF, as tcpdump takes it; empty = everything", "", high=MAX_FILTER),
                _integer("seconds", "how long at most", 60, 1, 300),
                _integer("snaplen", "octets of each packet", 65_535, 64, 65_535),
            ),
            gives_file=True,
            keeps_part=True,
        ),
        Kind(CONFIG, "remote settings; set them with: agents config set", "admin", timeout_s=MAX_TIMEOUT_S),
    )
}


def kind_of(name: str) -> Kind:
    """The command that people may run by this name. Raises BadRequest."""
    runnable = [each for each in KINDS if each != CONFIG]
    if name == CONFIG:
        raise BadRequest("config: settings are pushed with agents config set, which keeps them for agents to come")
    if name not in runnable:
        near = difflib.get_close_matches(name, runnable, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(runnable)}"
        raise BadRequest(f"command: {name!r:.60} is none that agents know; {hint}")
    return KINDS[name]


def timeout_of(kind: Kind, arguments: Mapping[str, Any], wanted_s: int) -> int:
    """Seconds from the order to the end; `wanted_s` 0 = the command's own. Raises BadRequest."""
    if not 0 <= wanted_s <= MAX_TIMEOUT_S:
        raise BadRequest(f"timeout_s: {wanted_s} is outside 1 to {MAX_TIMEOUT_S} (7 days)")
    seconds = wanted_s or kind.timeout_s
    if int(arguments.get("seconds", 0)) > seconds:
        raise BadRequest(f"timeout_s: {seconds} is less than the {arguments['seconds']} s that the command may take")
    return seconds


def described() -> list[dict[str, Any]]:
    """The commands that people may run: CommandKind each."""
    return [
        {
            "name": kind.name,
            "summary": kind.summary,
            "role": {"read": "viewer", "operate": "operator", "admin": "admin"}[kind.action],
            "gives_file": kind.gives_file,
            "timeout_s": kind.timeout_s,
            "arguments": [
                {
                    "name": argument.name,
                    "help": argument.help,
                    "required": argument.default is None,
                    "default": "" if argument.default is None else str(argument.default),
                    "integer": argument.integer,
                    "low": argument.low,
                    "high": argument.high,
                    "choices": list(argument.choices),
                }
                for argument in kind.arguments
            ],
        }
        for kind in KINDS.values()
        if kind.name != CONFIG
    ]
