"""The registry of commands."""

from __future__ import annotations

from fieldwatch_agent.config import REMOTE_COMMANDS
from fieldwatch_agent.control import registry


def test_every_command_of_the_configuration_is_registered() -> None:
    """[remote] allow knows the names of the registry, no more and no fewer; each has a module of its name."""
    specs = {name: registry.find(name) for name in REMOTE_COMMANDS}

    assert [name for name, spec in specs.items() if spec is None or spec.name != name] == []
    assert {spec.permission for spec in specs.values() if spec} <= set(REMOTE_COMMANDS)
    assert registry.find("format_disk") is None
