"""`agents config show|set|unset`: remote settings by selector, and what they come to for an agent."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from fieldwatch_proto.cli.agents_door import Door, Fleet, add_select, selected
from fieldwatch_proto.cli.agents_show import settings_text
from fieldwatch_proto.cli.command import Program, UsageError
from fieldwatch_proto.cli.tables import Column, add_output, amount_text, moment_text, plain, write

ANSWER_S = 5.0  # at most, until the agents that are connected have said whether they take it
LOOK_S = 0.4
MOST_ASKED = 20  # agents; of more the list of agents tells
SETTINGS = (
    Column("selector"),
    Column("setting"),
    Column("value"),
    Column("actor", "BY"),
    Column("set", show=moment_text),
)
OF_AGENT = (Column("setting"), Column("value", "SET"), Column("in_force"), Column("selector", "FROM"))


def register(program: Program, door: Door) -> None:
    program.group("agents config", "settings that agents get from here")
    door.add(
        program,
        "agents config show",
        show,
        "what is set for whom; of one agent what that comes to, and what is in force there",
        example="""agents config show
            agents config show pi-attic""",
        arguments=_show_arguments,
    )
    door.add(
        program,
        "agents config set",
        change,
        "set something for the agents that a selector means, now and later",
        description="set something for the agents that a selector means, those that come later included. The more"
        " specific selector wins. What an agent's own file says, wins over what is set here; a setting that breaks"
        " shipping goes again by itself. Exit code 1 where an agent that is connected does not take it",
        example="""agents config set flows.idle='30 s' --select site=hq
            agents config set capture.interfaces='["eth0", "eth1"]' --select pi-attic""",
        arguments=_set_arguments,
    )
    door.add(
        program,
        "agents config unset",
        forget,
        "no longer set something for the agents that a selector means",
        example="agents config unset flows.idle --select site=hq",
        arguments=_unset_arguments,
    )


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("agent", nargs="?", default="", metavar="AGENT", help="id or name; all where it is left out")
    add_output(parser)


def _set_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "words", nargs="*", default=[], metavar="SECTION.KEY=VALUE", help="as in the agent's file; TOML, or a text"
    )
    add_select(parser)


def _unset_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs="*", default=[], metavar="SECTION.KEY", help="as config show has it")
    add_select(parser)


def show(door: Door, args: argparse.Namespace) -> None:
    with door.open(args) as fleet:
        if not args.agent:
            rows = [{**row, "setting": f"{row['section']}.{row['key']}"} for row in fleet.settings()]
            write(map(_shown, rows), SETTINGS, args.output, empty="nothing is set from here; see: agents config set")
            return
        found = fleet.agent(args.agent)
    effective = found["config"]["effective"]
    rows = [
        {
            **row,
            "setting": f"{row['section']}.{row['key']}",
            "in_force": _in_force(effective, row["section"], row["key"]),
        }
        for row in found["config"]["settings"]
    ]
    if args.output == "table":
        print(f"{found['agent']['name']}: {settings_text(found['agent'])}", file=sys.stderr)
    write(map(_shown, rows), OF_AGENT, args.output, empty="nothing is set for it from here")


def change(door: Door, args: argparse.Namespace) -> int:
    select, words = selected(args, args.words)
    if not words:
        raise UsageError("nothing to set; give SECTION.KEY=VALUE, as in flows.idle='30 s'")
    settings: dict[str, dict[str, Any]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        section, dot, key = name.partition(".")
        if not (equals and dot):
            raise UsageError(f"{word!r:.60} is no SECTION.KEY=VALUE, as in flows.idle='30 s'")
        settings.setdefault(section, {})[key] = value_of(text)
    return _configure(door, args, select, settings, ())


def forget(door: Door, args: argparse.Namespace) -> int:
    select, words = selected(args, args.words)
    if not words:
        raise UsageError("nothing to unset; give SECTION.KEY, as agents config show has it")
    return _configure(door, args, select, {}, words)


def _configure(
    door: Door,
    args: argparse.Namespace,
    select: str,
    settings: Mapping[str, Mapping[str, Any]],
    unset: Sequence[str],
) -> int:
    with door.open(args) as fleet:
        reply = fleet.configure(select, settings, unset)
        concerned = amount_text(reply["agents"], "agent")
        hint = "see: agents config show AGENT" if reply["agents"] else "those that come later get it"
        print(f"kept for {reply['selector']}: {concerned} now; {hint}", file=sys.stderr)
        refusals = [one for one in _answers(fleet, reply["results"]) if one["state"] in ("failed", "refused")]
    for one in refusals:
        print(plain(f"{one['agent_name']} does not take it: {one['text']}"), file=sys.stderr)
    if refusals:
        print(f"to take a setting back: {door.program} agents config unset SECTION.KEY --select ...", file=sys.stderr)
    return 1 if refusals else 0


def _answers(fleet: Fleet, results: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The commands that bring it to the agents, once all that are connected have answered or `ANSWER_S` is over."""
    ids = [str(one["command"]) for one in results if one["command"]]
    if not ids or len(ids) > MOST_ASKED:
        return []
    deadline = time.monotonic() + ANSWER_S
    while True:
        time.sleep(LOOK_S)
        found = [fleet.command(one) for one in ids]
        if time.monotonic() > deadline or all(one["ended"] or one["state"] == "waiting" for one in found):
            return found


def value_of(text: str) -> str | int | float | bool | list[Any]:
    """A value as TOML has it; what is no TOML is a text."""
    import tomllib

    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError):
        return text
    return value if isinstance(value, str | int | float | bool | list) else text


def _in_force(effective: Mapping[str, Any], section: str, key: str) -> str:
    value = effective.get(section, {}).get(key)
    return "not told" if value is None else _text(value)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _shown(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "value": _text(row["value"])}
