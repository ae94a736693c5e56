"""`fieldwatch agents` and `fieldwatch sites`: who reports, and from where."""

from __future__ import annotations

import argparse

from fieldwatch_proto.cli.asking import add_question, client, clock
from fieldwatch_proto.cli.command import Program
from fieldwatch_proto.cli.tables import Column, add_output, bytes_text, count_text, write

AGENTS = (
    Column("name"),
    Column("site"),
    Column("state"),
    Column("last_contact", show=clock),
    Column("frames_seen", "FRAMES", align="right", show=count_text),
    Column("frames_dropped", "DROPPED", align="right", show=count_text),
    Column("records_stored", "STORED", align="right", show=count_text),
    Column("records_lost", "LOST", align="right", show=count_text),
    Column("spool_records", "WAITING", align="right", show=count_text),
    Column("rss_bytes", "MEMORY", align="right", show=bytes_text),
    Column("version"),
    Column("id", "ID"),
)
SITES = (
    Column("name"),
    Column("agents", align="right", show=count_text),
    Column("devices", align="right", show=count_text),
)


def register(program: Program) -> None:
    program.group("agents", "who listens")
    program.add(
        "agents ls",
        agents,
        "list agents: state, frames seen and dropped, records stored and lost",
        example="fieldwatch agents ls --site hq",
        arguments=add_question,
    )
    program.group("sites", "where agents listen")
    program.add(
        "sites ls",
        sites,
        "list sites with the number of their agents and devices",
        example="fieldwatch sites ls -o json",
        arguments=add_output,
    )


def agents(args: argparse.Namespace) -> None:
    from fieldwatch_proto.client import as_dict

    with client() as asked:
        write(map(as_dict, asked.agents(site=args.site)), AGENTS, args.output, empty="no agents")


def sites(args: argparse.Namespace) -> None:
    from fieldwatch_proto.client import as_dict

    with client() as asked:
        write(map(as_dict, asked.sites()), SITES, args.output, empty="no sites")
