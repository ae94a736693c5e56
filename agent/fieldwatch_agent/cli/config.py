"""`config check|show|schema`: the configuration in force, the origin of each value, what may stand in the file."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwatch_proto.cli.command import Program

if TYPE_CHECKING:
    from fieldwatch_proto.settings import Loaded

    from fieldwatch_agent.config import AgentConfig


def register(program: Program) -> None:
    program.group("config", "validation, effective values with their origin, JSON schema")
    program.add(
        "config check",
        check,
        "whether the configuration is valid; every problem in a line",
        example="fieldwatch-agent config check --config agent.toml",
        arguments=_arguments,
    )
    program.add(
        "config show",
        show,
        "the effective values as TOML, each with its origin; secrets are redacted",
        example="""
        fieldwatch-agent config show
        FIELDWATCH_AGENT__LOG__LEVEL=debug fieldwatch-agent config show --json
        """,
        arguments=_show_arguments,
    )
    program.add(
        "config schema",
        schema,
        "JSON schema of the configuration file, for editors",
        example="fieldwatch-agent config schema > agent.schema.json",
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: /etc/fieldwatch/agent.toml if it exists")


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    _arguments(parser)
    parser.add_argument("--json", action="store_true", help="a list of objects: key, value, origin")


def check(args: argparse.Namespace) -> int:
    from fieldwatch_proto.settings import DEFAULT, find_file

    from fieldwatch_agent.config import DEFAULT_FILE, load_config
    from fieldwatch_agent.filters import compile_filter

    loaded = load_config(args.config)
    compile_filter(loaded.value.capture.filter)
    file = find_file(args.config, DEFAULT_FILE)
    given = sum(origin != DEFAULT for origin in loaded.origins.values())
    print(f"{file or 'defaults and environment'}: valid; keys that are not at their default: {given}")
    return 0


def show(args: argparse.Namespace) -> int:
    from fieldwatch_proto.settings import effective, render_show

    loaded = _in_force(args.config)
    if args.json:
        json.dump(effective(loaded), sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
    else:
        sys.stdout.write(render_show(loaded))
    return 0


def _in_force(file: Path | None) -> Loaded[AgentConfig]:
    """What the agent would start with, the collector's settings included where this user may read them."""
    from fieldwatch_proto.settings import ConfigError

    from fieldwatch_agent.control.files import FOLDER
    from fieldwatch_agent.control.remote import FILE_NAME, RemoteConfiguration
    from fieldwatch_agent.control.settings import Settings

    settings = Settings(file, {})
    data = settings.value.data_dir
    try:
        (data / FOLDER / FILE_NAME).read_bytes()
    except FileNotFoundError:
        return settings.loaded
    except PermissionError:
        remedy = "run this as root, or as the agent's user"
        print(f"without what the collector may have set: {data} cannot be read by this user; {remedy}", file=sys.stderr)
        return settings.loaded
    try:
        return settings.read(RemoteConfiguration(data).in_force)
    except ConfigError as problem:
        print(f"without what the collector has set, which this agent cannot use: {problem}", file=sys.stderr)
        return settings.loaded


def schema(args: argparse.Namespace) -> int:
    from fieldwatch_proto.settings import json_schema

    from fieldwatch_agent.config import AgentConfig

    json.dump(json_schema(AgentConfig, "Fieldwatch agent"), sys.stdout, indent=2)
    sys.stdout.write("\n")
    return 0
