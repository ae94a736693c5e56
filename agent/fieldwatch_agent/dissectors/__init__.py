"""Dissectors: messages in which devices name themselves, turned into facts and bindings.

One file per protocol, each a generator from the kernel's `Slow` frame to `Fact` and `Binding`. They read payloads that
strangers chose: a message that breaks off yields what could be read and is counted, nothing is logged, and what one
message may yield is bounded. May import `fieldwatch_ext`, `fieldwatch_proto` and `fieldwatch_agent.facts`; keeps no
state beside the counters and the hellos that `quic` has begun to read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module

import dpkt
from fieldwatch_ext.engine import Slow
from fieldwatch_ext.facts import keep_distinct

from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_agent.facts import Binding, Fact

MAX_FACTS = 64  # from one message; a talkative Bonjour host says about 30
MAX_REPEATS = 4 * MAX_FACTS  # what is looked at to find them: a message may say one thing over and over

Dissector = Callable[[Slow], Iterator[Fact | Binding]]

DISSECTORS = (
    *("dhcp", "dhcpv6", "mdns", "llmnr", "nbns", "nbds", "ssdp", "lldp", "cdp"),
    *("dns", "wsd", "radius", "igmp", "quic", "tcp_syn", "tls", "http", "smb"),
)
"""The protocols; each is the name of its file."""


@cache
def _dissector(protocol: str) -> Dissector:
    """Imported with the first message of its protocol: together they take a megabyte, and few networks speak all."""
    found: Dissector = import_module(f"{__name__}.{protocol}").dissect
    return found


def _zeros() -> dict[str, int]:
    return dict.fromkeys(DISSECTORS, 0)


@dataclass(slots=True)
class Counters:
    """Messages by protocol since the process started; the keys are those of `DISSECTORS`, never a stranger's."""

    messages: dict[str, int] = field(default_factory=_zeros)
    malformed: dict[str, int] = field(default_factory=_zeros)  # broke off; what came before was kept
    capped: dict[str, int] = field(default_factory=_zeros)  # had more to say than `MAX_FACTS`, or repeated itself


COUNTERS = Counters()


def dissect(slow: Slow) -> list[Fact | Binding]:
    """Everything the message says, without repetition, at most `MAX_FACTS`. Never raises on content."""
    protocol = slow.protocol
    if protocol not in COUNTERS.messages:
        return []
    COUNTERS.messages[protocol] += 1
    found: dict[tuple[object, ...], Fact | Binding] = {}
    try:
        if not keep_distinct(found, _dissector(protocol)(slow), Fact, MAX_FACTS, MAX_REPEATS):
            COUNTERS.capped[protocol] += 1
    except (MalformedError, dpkt.Error):
        COUNTERS.malformed[protocol] += 1
    return list(found.values())
