"""`fieldwatch-collector ca`: the certificate authority of this collector, and its replacement."""

from __future__ import annotations

import argparse
from typing import Any

from fieldwatch_proto.cli.command import Program

from fieldwatch_collector.cli.common import add_list, add_place, call


def register(program: Program) -> None:
    program.group("ca", "the collector's certificate authority")
    program.add(
        "ca status",
        show,
        "which CAs there are, and how many agents have not heard of the newest",
        example="fieldwatch-collector ca status",
        arguments=add_list,
    )
    program.add(
        "ca rotate",
        rotate,
        "replace the CA, in two steps",
        description="Replace the CA. --begin: a new one signs from now on, and agents learn of it as they renew, within"
        " four days; agents that sleep, and tokens made before, still find their way in. --finish: agents trust"
        " the new one alone from their next renewal on. The key of the old CA is gone with --begin.",
        example="""fieldwatch-collector ca rotate --begin
            fieldwatch-collector ca rotate --finish""",
        arguments=_rotate_arguments,
    )


def _rotate_arguments(parser: argparse.ArgumentParser) -> None:
    add_place(parser)
    steps = parser.add_mutually_exclusive_group(required=True)
    steps.add_argument("--begin", dest="step", action="store_const", const="begin", help="let a new CA sign")
    steps.add_argument(
        "--finish", dest="step", action="store_const", const="finish", help="let agents forget the CA before"
    )


def show(args: argparse.Namespace) -> None:
    from fieldwatch_proto.cli.tables import Column, moment_text, write

    found = call(args, "ca.status")
    columns = [
        Column("fingerprint", "SHA-256"),
        Column("state"),
        Column("replaced", show=moment_text),
        Column("expires", show=lambda text: "never" if str(text) >= "9999" else str(text)[:10]),
    ]
    write(found["cas"], columns, args.output)
    if args.output == "table":
        print(_behind_text(found))


def rotate(args: argparse.Namespace) -> None:
    found = call(args, "ca.rotate", step=args.step)
    if args.step == "begin":
        print(f"the CA {found['cas'][0]['fingerprint']} signs from now on; {_behind_text(found)}")
        print("when they have, or when you need not wait: fieldwatch-collector ca rotate --finish")
    else:
        print(f"agents trust {found['cas'][0]['fingerprint']} alone from their next renewal on; {_behind_text(found)}")


def _behind_text(found: dict[str, Any]) -> str:
    from fieldwatch_proto.cli.tables import amount_text

    if len(found["cas"]) == 1:
        return f"{amount_text(found['agents'], 'agent')}; the CA was never replaced"
    return f"agents that have heard of it: {found['agents'] - found['behind']} of {found['agents']}"
