"""Who asks, and the one permission check that REST, WebSocket and gRPC share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["read", "operate", "admin"]
Kind = Literal["user", "api-token"]

ROLES = ("viewer", "operator", "admin")
# Each role holds what the ones before it hold.
_LEVEL = {"viewer": 1, "operator": 2, "admin": 3}
_NEEDS: dict[Action, int] = {"read": 1, "operate": 2, "admin": 3}


@dataclass(frozen=True)
class Principal:
    """A person or a program that has proven who it is."""

    name: str
    role: str
    kind: Kind


def allows(principal: Principal | None, action: Action) -> bool:
    """Whether `principal` may read, operate (change what is watched) or admin (people, tokens, agents)."""
    return principal is not None and _LEVEL.get(principal.role, 0) >= _NEEDS[action]
