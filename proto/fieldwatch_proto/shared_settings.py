"""The tables that agent and collector configure alike: one definition, so that both mean the same by them."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

from fieldwatch_proto import logs
from fieldwatch_proto.identity import Prefix
from fieldwatch_proto.settings import setting


def _check_prefixes(prefixes: Sequence[str]) -> str | None:
    for text in prefixes:
        try:
            ipaddress.ip_network(text)
        except ValueError as problem:
            return f'{problem}; accepted are prefixes such as "203.0.113.0/24" and "2001:db8::/48"'
    return None


@dataclass(frozen=True)
class Network:
    """What counts as local; `identity.resolve` goes by it on both sides."""

    local_prefixes: tuple[str, ...] = setting(
        (), "prefixes that are local beside the private ranges", check=_check_prefixes
    )

    def prefixes(self) -> list[Prefix]:
        return [ipaddress.ip_network(text) for text in self.local_prefixes]


@dataclass(frozen=True)
class Log:
    """What the daemon says."""

    level: str = setting("info", "least level that is written", choices=logs.LEVELS)
    format: str = setting("auto", "text, json, or auto: text on a terminal, json elsewhere", choices=logs.FORMS)
