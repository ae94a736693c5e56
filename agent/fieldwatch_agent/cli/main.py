"""`fieldwatch-agent`: the program that runs at the edge."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fieldwatch_agent.cli import daemon

COMMANDS = ("read", "run", "enrol", "status", "spool", "bench", "vendors", "doctor", "config")


def main(argv: Sequence[str] | None = None) -> int:
    if (handed := daemon.handed_over()) is not None:
        return daemon.main(handed)
    from fieldwatch_ext.errors import CaptureError
    from fieldwatch_proto.cli.command import Program

    program = Program(
        "fieldwatch-agent",
        "Listens to networks, keeps what it learns until it is safe, and ships it to a collector.",
        failures=(CaptureError,),
    )
    program.register("fieldwatch_agent.cli", COMMANDS)
    return program.main(argv)


if __name__ == "__main__":
    sys.exit(main())
