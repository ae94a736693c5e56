"""`fieldwatch login`: checks a token at a collector and keeps it for this user."""

from __future__ import annotations

import argparse
import sys

from fieldwatch_proto.cli.command import Failure, Program, UsageError


def register(program: Program) -> None:
    program.add(
        "login",
        login,
        "store a collector's address and an API token for this user",
        example="""fieldwatch login collector.example:7444 --token-file token.txt
            fieldwatch-collector api-token create me | fieldwatch login 127.0.0.1:7444 --token-file -""",
        description="Checks the token at the collector, then stores both in ~/.config/fieldwatch (mode 0600).",
        arguments=_arguments,
    )


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("collector", metavar="HOST:7444", help="the collector's public gRPC address")
    parser.add_argument(
        "--token-file", required=True, metavar="FILE", help="file that holds the API token; - = standard input"
    )


def login(args: argparse.Namespace) -> None:
    from fieldwatch_proto.api_token import ApiToken, ApiTokenError
    from fieldwatch_proto.cli.credentials import read_text, store_credentials
    from fieldwatch_proto.client import Client, ClientError

    try:
        token = ApiToken.parse(read_text(args.token_file))
    except ApiTokenError as problem:
        where = {"-": "standard input"}.get(args.token_file, args.token_file)
        raise UsageError(f"{where}: {problem}") from None
    try:
        with Client.connect(args.collector, token) as client:
            sites = client.sites()
    except ClientError as problem:
        raise Failure(str(problem)) from None
    path = store_credentials(client.address, token)
    names = ", ".join(site.name for site in sites) or "none yet"
    print(f"logged in at {client.address} (sites: {names}); kept in {path}", file=sys.stderr)
