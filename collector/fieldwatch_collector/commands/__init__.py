"""What people have agents do, and which settings they push to them.

The table `command` is the queue: a command waits there for its agent, is sent on the agent's open Control.Session
(again after a reconnect), and ends by what the agent reports, at its deadline, or because it was cancelled. Nobody has
to stay connected for it. Remote settings are merged per agent and travel as the command "config".

    registry        the commands there are: arguments, bounds, the role that may run them
    table           rows of `command`; every function works inside a transaction of its caller
    files           what commands make: bounded, kept for some days, deleted oldest first
    remote_config   settings by selector, merged into one rising version per agent
    feeds           what is to be sent on an open session
    settings        what people set: tags and remote settings
    reports         what an agent says of its commands
    upkeep          what is done unasked: ends, deletions
    commands        `Commands`: the one door for REST, gRPC and the admin socket; roles and audit are checked there

May import the store, the accounts, the audit log, `identity` and `read_model`.
"""

from fieldwatch_collector.commands.commands import Asker, Commands, NotAllowed

__all__ = ["Asker", "Commands", "NotAllowed"]
