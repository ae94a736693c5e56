"""`fieldwatch-collector serve`."""

from __future__ import annotations

import argparse
import os

from fieldwatch_proto.cli.command import Failure, Program

from fieldwatch_collector.cli.common import add_place, loaded


def register(program: Program) -> None:
    program.add(
        "serve",
        serve,
        "run the server; everything that it needs is made on first start",
        description=(
            "Runs the server; everything that it needs is made on first start. On a terminal it prints a link that "
            "makes the first administrator; as a service it does not: fieldwatch-collector user add NAME --role admin"
        ),
        example="""
        fieldwatch-collector serve --data ./data
        fieldwatch-collector serve --grpc 0.0.0.0:7443 --public-grpc 0.0.0.0:7444 --http [::]:7480
        """,
        arguments=_arguments,
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    parser.add_argument("--grpc", metavar="HOST:PORT", help="where agents connect (default: 127.0.0.1:7443)")
    parser.add_argument(
        "--public-grpc", metavar="HOST:PORT", help="where enrolment and clients connect (default: 127.0.0.1:7444)"
    )
    parser.add_argument(
        "--http", metavar="HOST:PORT", help="page and REST (default: 127.0.0.1:7480); HTTPS unless on loopback"
    )
    parser.add_argument("--store", metavar="URL", help="database (default: sqlite:DATA/collector.db)")


def serve(args: argparse.Namespace) -> None:
    config = loaded(
        args,
        **{
            "listen.grpc": args.grpc,
            "listen.public_grpc": args.public_grpc,
            "listen.http": args.http,
            "store": args.store,
        },
    ).value
    # gRPC's own log would write a line for every handshake that a stranger spoils; it is read when grpc is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from fieldwatch_proto import logs

    from fieldwatch_collector import server

    logs.configure(config.log.level, config.log.format)
    try:
        # The set-up link is a secret: it is shown to people, and never where logs are collected. The log has the rest.
        server.serve(config, server.show_line if _writes_text() else None)
    except server.ServeError as problem:
        raise Failure(str(problem)) from None


def _writes_text() -> bool:
    """Whether the log is for people."""
    import logging

    from fieldwatch_proto.logs import TextForm

    return any(isinstance(handler.formatter, TextForm) for handler in logging.getLogger().handlers)
