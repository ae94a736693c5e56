"""`log_level`: another level for a while, after which the configured one returns by itself."""

from __future__ import annotations

from fieldwatch_proto.logs import LEVELS

from fieldwatch_agent.control.agent import Agent
from fieldwatch_agent.control.registry import Argument, Outcome, command
from fieldwatch_agent.control.run import Run


@command(
    "log_level",
    "another log level for a while",
    arguments=(
        Argument("level", str, "least level that is written", choices=LEVELS),
        Argument("minutes", int, "after which the configured level returns", 15, low=1, high=1_440),
    ),
)
def log_level(run: Run, agent: Agent, *, level: str, minutes: int) -> Outcome:
    agent.log.override(level, 60.0 * minutes)
    return Outcome(f"the log level is {level} for {minutes} min", {"level": level, "minutes": minutes})
