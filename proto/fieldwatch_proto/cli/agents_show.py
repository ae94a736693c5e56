"""`agents show`, `agents tag`: one agent, with everything that is known of it; what it is chosen by."""

from __future__ import annotations

import argparse
import datetime as dt
import sys
from collections.abc import Mapping
from typing import Any

from fieldwatch_proto.cli.agents_door import Door
from fieldwatch_proto.cli.command import Program, UsageError
from fieldwatch_proto.cli.tables import (
    Column,
    add_output,
    amount_text,
    bytes_text,
    count_text,
    duration_text,
    moment_text,
    write,
)

HEALTH = (Column("component"), Column("level", "HEALTH"), Column("reason"))
INTERFACES = (
    Column("name", "INTERFACE"),
    Column("up", "UP"),
    Column("frames", align="right", show=count_text),
    Column("dropped", align="right", show=count_text),
)
CLOCKS = {
    "synced": "kept by a time service",
    "unsynced": "kept by no time service",
    "corrected": "wrong, its times are corrected here",
}
SHEET = (Column("what", "AGENT"), Column("is", " "))


def register(program: Program, door: Door) -> None:
    door.add(
        program,
        "agents show",
        show,
        "everything about one agent: health, versions, clock, disk, settings, what it allows",
        example="agents show pi-attic",
        arguments=_show_arguments,
    )
    door.add(
        program,
        "agents tag",
        tag,
        "give an agent tags, by which selectors choose it",
        example="""agents tag pi-attic role=edge floor=3
            agents tag pi-attic floor-""",
        arguments=_tag_arguments,
    )


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("agent", metavar="AGENT", help="id, the beginning of an id, or name")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="form of the output")


def _tag_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("agent", metavar="AGENT", help="id, the beginning of an id, or name")
    parser.add_argument(
        "tags", nargs="+", metavar="KEY=VALUE|KEY-", help="a tag to set; with - behind it, to take away"
    )
    add_output(parser)


def show(door: Door, args: argparse.Namespace) -> None:
    with door.open(args) as fleet:
        found = fleet.agent(args.agent)
    if args.output == "json":
        import json

        json.dump(found, sys.stdout, ensure_ascii=False, indent=2)
        print()
        return
    agent = found["agent"]
    write(({"what": what, "is": text} for what, text in sheet(agent, dt.datetime.now(dt.UTC))), SHEET)
    for rows, columns in ((agent["interfaces"], INTERFACES), (_tree(found["health"]), HEALTH)):
        if rows:
            print()
            write(rows, columns)


def tag(door: Door, args: argparse.Namespace) -> None:
    tags = dict(_tag(word) for word in args.tags)
    with door.open(args) as fleet:
        agent = fleet.tag(args.agent, tags)
    columns = (Column("name", "AGENT"), Column("tags", show=tags_text))
    write([agent], columns, args.output)


def sheet(agent: Mapping[str, Any], now: dt.datetime) -> list[tuple[str, str]]:
    """What a person wants to know first, as (what, text)."""
    lost = f"{amount_text(agent['records_lost'], 'record')}, {amount_text(agent['frames_lost'], 'frame')}"
    waiting = f"{amount_text(agent['spool_records'], 'record')}, {bytes_text(agent['spool_bytes'])}"
    if agent["spool_oldest"]:
        waiting += f", since {_clock(agent['spool_oldest'])}"
        if agent["spool_oldest_clock"]:
            waiting += f" ({agent['spool_oldest_clock']})"
    seen = f"{count_text(agent['frames_seen'])}, dropped {count_text(agent['frames_dropped'])}"
    return [
        ("name", agent["name"]),
        ("id", agent["id"]),
        ("site", agent["site"]),
        ("tags", tags_text(agent["tags"]) or "none"),
        ("state", agent["state"]),
        ("health", ": ".join(filter(None, (agent["health"] or "not told", agent["health_reason"])))),
        ("version", skewed(agent)),
        ("last contact", _clock(agent["last_contact"]) or "never"),
        ("enrolled", _clock(agent["enrolled"])),
        ("certificate until", _clock(agent["certificate_expires"])),
        ("clock", clock_text(agent["clock"], agent["clock_offset_ns"])),
        ("up for", duration_text(agent["uptime_s"]) if agent["uptime_s"] else ""),
        ("CPU since it started", f"{100 * agent['cpu_share']:.2g} % of a core" if agent["cpu_share"] else ""),
        ("memory", bytes_text(agent["rss_bytes"]) if agent["rss_bytes"] else ""),
        ("frames since it started", f"{seen}, rejected {count_text(agent['frames_rejected'])}"),
        ("stored since it enrolled", amount_text(agent["records_stored"], "record")),
        ("lost since it enrolled", lost),
        ("waiting in the spool", waiting if agent["spool_records"] else "nothing"),
        ("written a day", _written(agent)),
        ("settings", settings_text(agent)),
        ("allows", " ".join(agent["allowed_commands"]) or "nothing"),
        ("open commands", count_text(agent["open_commands"])),
    ]


def skewed(agent: Mapping[str, Any]) -> str:
    """Its version, marked where it is another than the collector's."""
    return f"{agent['version']} ({agent['version_skew']})" if agent["version_skew"] else str(agent["version"])


def tags_text(tags: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(tags.items()))


def clock_text(clock: str, offset_ns: int) -> str:
    """Whether anything keeps an agent's clock right, and how it stands to the collector's."""
    return ", ".join(filter(None, (CLOCKS.get(clock, ""), _offset_text(offset_ns)))) or "not known"


def _offset_text(offset_ns: int) -> str:
    if not offset_ns:
        return ""
    if abs(offset_ns) < 1_000_000:
        return "as the collector's"
    side = "behind" if offset_ns > 0 else "ahead of"
    return f"{duration_text(abs(offset_ns) / 1e9)} {side} the collector's"


def settings_text(agent: Mapping[str, Any]) -> str:
    """How the remote settings fare."""
    if not agent["config_version"]:
        return "none set from here"
    text = f"version {agent['config_version']} {agent['config_state']}"
    if agent["config_drifted"]:
        text += ", changed on the device since"
    return f"{text}: {agent['config_problem']}" if agent["config_problem"] else text


def _written(agent: Mapping[str, Any]) -> str:
    if not agent["written_bytes_day"]:
        return "not known yet"
    text = bytes_text(agent["written_bytes_day"])
    if agent["write_budget_bytes_day"]:
        text += f" of {bytes_text(agent['write_budget_bytes_day'])}"
    if agent["card_life_years"]:
        text += f"; the card lasts {agent['card_life_years']:g} years at that rate"
    return text


def _tree(health: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each component below the one that holds it."""
    return [
        {**one, "component": "  " * one["component"].count("/") + one["component"].rpartition("/")[2]} for one in health
    ]


def _clock(text: str) -> str:
    return f"{moment_text(text)} UTC" if text else ""


def _tag(word: str) -> tuple[str, str | None]:
    key, equals, value = word.partition("=")
    if equals and key and value:
        return key, value
    if not equals and word.endswith("-") and len(word) > 1:
        return word[:-1], None
    raise UsageError(f"{word!r:.60} is neither KEY=VALUE nor KEY-; give role=edge to set, role- to take away")
