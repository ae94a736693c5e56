"""`fieldwatch`: the client of a collector, for people and scripts."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fieldwatch_proto.cli.command import Program

COMMANDS = ("login", "devices", "flows", "events", "fleet")


def main(argv: Sequence[str] | None = None) -> int:
    program = Program("fieldwatch", "Asks a Fieldwatch collector what is on the networks, and what it does.")
    program.register("fieldwatch_proto.cli", COMMANDS)
    return program.main(argv)


if __name__ == "__main__":
    sys.exit(main())
