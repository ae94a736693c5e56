"""`fieldwatch-collector`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fieldwatch_proto.cli.command import Program

MODULES = ("serve", "token", "agents", "approval", "user", "api_token", "audit", "ca", "store", "config", "doctor")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code."""
    from fieldwatch_collector.admin import AdminError
    from fieldwatch_collector.store import StoreError

    program = Program(
        "fieldwatch-collector",
        "The Fieldwatch collector: receives what agents see, keeps it, and shows it.",
        failures=(AdminError, StoreError),
    )
    program.register("fieldwatch_collector.cli", MODULES)
    return program.main(argv)


if __name__ == "__main__":
    sys.exit(main())
