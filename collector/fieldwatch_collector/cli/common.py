"""What the commands share: the flags that name the data folder, and the call of an operation."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fieldwatch_proto.cli.command import UsageError

if TYPE_CHECKING:
    from fieldwatch_proto.settings import Loaded

    from fieldwatch_collector.config import CollectorConfig


def add_place(parser: argparse.ArgumentParser) -> None:
    """``--config`` and ``--data``."""
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="configuration (default: /etc/fieldwatch/collector.toml)"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="data folder (default: /var/lib/fieldwatch/collector)")


def add_list(parser: argparse.ArgumentParser) -> None:
    """``--config``, ``--data`` and ``--output``: all that most lists take."""
    from fieldwatch_proto.cli.tables import add_output

    add_place(parser)
    add_output(parser)


def loaded(args: argparse.Namespace, **flags: object) -> Loaded[CollectorConfig]:
    """The configuration in force for a command. Raises ConfigError."""
    from fieldwatch_collector.config import load_config

    return load_config(args.config, {"data": args.data, **flags})


def call(args: argparse.Namespace, operation: str, **arguments: Any) -> Any:
    """Run an operation in the server of this data folder, or here where none runs. Raises AdminError, UsageError."""
    from fieldwatch_collector import admin

    config = loaded(args).value
    try:
        return admin.call(config.data_dir, operation, arguments, config=config)
    except admin.ArgumentError as problem:
        raise UsageError(str(problem)) from None
