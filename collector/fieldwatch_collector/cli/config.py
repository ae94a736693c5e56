"""`fieldwatch-collector config`."""

from __future__ import annotations

import argparse
import json
import sys

from fieldwatch_proto.cli.command import Program

from fieldwatch_collector.cli.common import add_place, loaded


def register(program: Program) -> None:
    program.group("config", "the configuration: /etc/fieldwatch/collector.toml, environment, flags")
    program.add(
        "config check",
        check,
        "say what is wrong with it, or that nothing is",
        example="fieldwatch-collector config check --config ./collector.toml",
        arguments=add_place,
    )
    program.add(
        "config show",
        show,
        "every value in force, and where it comes from",
        example="fieldwatch-collector config show --json",
        arguments=_show_arguments,
    )
    program.add(
        "config schema",
        schema,
        "the JSON schema of the file",
        example="fieldwatch-collector config schema > collector.schema.json",
    )


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("--json", action="store_true", help="a list of objects: key, value, origin")


def check(args: argparse.Namespace) -> None:
    loaded(args)
    print("the configuration is valid")


def show(args: argparse.Namespace) -> None:
    from fieldwatch_proto import settings

    found = loaded(args)
    if args.json:
        json.dump(settings.effective(found), sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")
    else:
        sys.stdout.write(settings.render_show(found))


def schema(args: argparse.Namespace) -> None:
    from fieldwatch_proto import settings

    from fieldwatch_collector.config import CollectorConfig

    json.dump(settings.json_schema(CollectorConfig, "fieldwatch-collector"), sys.stdout, indent=2)
    sys.stdout.write("\n")
