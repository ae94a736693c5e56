"""The table of agents, the same in `fieldwatch` and `fieldwatch-collector`."""

from __future__ import annotations

import argparse

from fieldwatch_proto.cli.tables import Column, bytes_text, count_text, moment_text

DESCRIPTION = (
    "list agents. RUN: counted since the agent started; EVER: since it was enrolled. SKEW: its version is older or"
    " newer than the collector's. CLOCK: synced = a time service keeps it right; corrected = it is wrong, and the times"
    " of its records are set right here. CONFIG: how the settings fare that it gets from the collector"
)


def add_choice(parser: argparse.ArgumentParser) -> None:
    """``--select`` of a list: all where it is left out."""
    parser.add_argument(
        "--select", default="", metavar="WHICH", help="an agent, or terms that must all hold: site=hq,role=edge"
    )


AGENTS = (
    Column("name"),
    Column("site", spare=True),
    Column("state"),
    Column("health", show=lambda level: level or "-"),
    Column("last_contact", show=moment_text),
    Column("clock", show=lambda clock: clock or "-", spare=True),
    Column("frames_seen", "FRAMES/RUN", align="right", show=count_text, spare=True),
    Column("frames_dropped", "DROPPED/RUN", align="right", show=count_text),
    Column("records_stored", "STORED/EVER", align="right", show=count_text, spare=True),
    Column("records_lost", "LOST/EVER", align="right", show=count_text),
    Column("spool_records", "WAITING", align="right", show=count_text),
    Column("rss_bytes", "MEMORY", align="right", show=bytes_text, spare=True),
    Column("config_state", "CONFIG", show=lambda state: state or "-", spare=True),
    Column("version", spare=True),
    Column("version_skew", "SKEW", spare=True),
    Column("tags", show=lambda tags: " ".join(f"{key}={value}" for key, value in sorted(tags.items())), spare=True),
    Column("id", "ID", spare=True),
)
