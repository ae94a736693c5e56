"""`reload`: reads the agent's configuration again, as far as it can change while the agent runs."""

from __future__ import annotations

from fieldwatch_proto.settings import ConfigError

from fieldwatch_agent.control.agent import Agent
from fieldwatch_agent.control.registry import Outcome, command
from fieldwatch_agent.control.run import CommandError, Run
from fieldwatch_agent.control.settings import sections


@command("reload", "reads the configuration again", exclusive=True)
def reload(run: Run, agent: Agent) -> Outcome:
    try:
        live, waiting = agent.configuration.reload()
    except ConfigError as problem:
        raise CommandError(f"nothing was changed: {problem}") from None
    text = f"applied: {sections(live)}"
    if waiting:
        text += f"; a restart of the agent is needed for: {sections(waiting)}"
    return Outcome(text, {"applied": live, "restart": waiting})
