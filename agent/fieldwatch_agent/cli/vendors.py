"""`vendors update`: the MAC vendor table, made anew from IEEE's registries."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from fieldwatch_proto.cli.command import Failure, Program

if TYPE_CHECKING:
    from fieldwatch_proto.vendors import Vendors

    from fieldwatch_agent.config import AgentConfig

IEEE = "https://standards-oui.ieee.org"
OFFLINE = "without a way there: apt-get install ieee-data, then vendors update --from /usr/share/ieee-data"


def register(program: Program) -> None:
    program.group("vendors", "the table of MAC vendors")
    program.add(
        "vendors update",
        update,
        "makes the table anew from IEEE's files",
        description=(
            "Reads oui.csv, mam.csv and oui36.csv (and iab.csv where it is there) from IEEE, a mirror with the same "
            "paths, or from a folder; Debian's package ieee-data puts them into /usr/share/ieee-data"
        ),
        example="""
        fieldwatch-agent vendors update
        fieldwatch-agent vendors update --from /usr/share/ieee-data
        """,
        arguments=_arguments,
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="source", default=IEEE, metavar="URL|DIR", help=f"default: {IEEE}")
    parser.add_argument("--config", type=Path, metavar="FILE", help="default: /etc/fieldwatch/agent.toml if it exists")
    parser.add_argument("--data", type=Path, metavar="DIR", help="the agent's data folder")


def update(args: argparse.Namespace) -> None:
    from fieldwatch_proto.cli.tables import amount_text
    from fieldwatch_proto.vendors import Vendors, VendorsError, install, read_sources

    from fieldwatch_agent.config import load_config

    target = load_config(args.config, {"data": args.data}).value.vendors_file
    try:
        table = read_sources(args.source)
    except VendorsError as problem:
        raise Failure(f"{problem}; {OFFLINE}" if "://" in args.source else str(problem)) from None
    try:
        install(table, target)
    except VendorsError as problem:
        raise Failure(str(problem)) from None
    print(f"{target}: {amount_text(len(Vendors.from_bytes(table)), 'prefix', 'prefixes')}")


def load_vendors(config: AgentConfig) -> Vendors:
    """The refreshed table where there is one, else the one that came with the program."""
    from fieldwatch_proto.vendors import Vendors, VendorsError

    file = config.vendors_file
    try:
        return Vendors.load(file if config.vendors.path or file.exists() else None)
    except VendorsError as problem:
        raise Failure(str(problem)) from None
