"""`config`: settings of the collector's for what the agent's own configuration leaves open, on trial first."""

from __future__ import annotations

from fieldwatch_proto.settings import ConfigError, UsageError

from fieldwatch_agent.control.agent import Agent
from fieldwatch_agent.control.registry import Argument, Outcome, command
from fieldwatch_agent.control.remote import RemoteConfiguration
from fieldwatch_agent.control.run import CommandError, Run
from fieldwatch_agent.control.settings import MAX_PUSHED_BYTES, parse, sections
from fieldwatch_agent.control.signature import SignatureError, check
from fieldwatch_agent.filters import compile_filter

TURN_S = 0.1  # between two looks whether a command that waits for its turn was cancelled


@command(
    "config",
    "settings of the collector's, on trial until a fresh record has reached it",
    arguments=(Argument("version", int, "that of the signed settings", 0, low=0, high=1 << 63),),
)
def config(run: Run, agent: Agent, *, version: int) -> Outcome:
    # One after the other: the collector sends a version once, so one that was turned away as too early would be lost.
    while not agent.configuration.turn.acquire(timeout=TURN_S):
        run.check()
    try:
        return _take(run, agent, version)
    finally:
        agent.configuration.turn.release()


def _take(run: Run, agent: Agent, version: int) -> Outcome:
    if not agent.takes_configuration:
        raise CommandError("this run replays a capture; it takes no configuration")
    remote = agent.configuration.remote
    pushed = run.config
    if version not in (0, pushed.version):
        raise CommandError(f"the settings are of version {pushed.version}, not {version}")
    if remote.in_force is not None and pushed.version == remote.in_force.version:
        remote.retell()
        return Outcome(f"version {pushed.version} is in force", _told(remote, [], []))
    if pushed.version <= remote.floor:
        raise CommandError(
            f"configuration {pushed.version} is refused: {remote.floor} was seen before, and versions rise"
        )
    problem = _unsigned(run, agent)
    if problem:
        raise CommandError(f"configuration {pushed.version} is refused: {problem}")
    try:
        settings = parse(pushed.version, pushed.settings)
        compile_filter(agent.settings.read(settings).value.capture.filter)
        live, waiting = agent.configuration.try_out(settings)
    except (ConfigError, UsageError) as wrong:
        remote.reject(pushed.version, str(wrong))
        raise CommandError(str(wrong)) from None  # it names the configuration
    except OSError as wrong:
        raise CommandError(f"the configuration could not be written down ({wrong}); see the agent's disk") from None
    text = f"version {pushed.version} is on trial; changed: {sections([*live, *waiting])}"
    if waiting:
        return Outcome(f"{text}; the agent begins anew", _told(remote, live, waiting), then=agent.restart)
    return Outcome(text, _told(remote, live, waiting))


def _unsigned(run: Run, agent: Agent) -> str:
    """What keeps the configuration from being the collector's; empty where nothing does."""
    pushed = run.config
    if len(pushed.settings) > MAX_PUSHED_BYTES:
        return f"it has {len(pushed.settings)} octets; accepted are {MAX_PUSHED_BYTES}"
    try:
        check(agent.folder, pushed, timeout_s=run.remaining_s, now_s=agent.clock.now_s())
    except SignatureError as problem:
        return str(problem)
    return ""


def _told(remote: RemoteConfiguration, live: list[str], waiting: list[str]) -> dict[str, object]:
    return {"version": remote.version, "state": remote.state_name, "applied": live, "restart": waiting}
