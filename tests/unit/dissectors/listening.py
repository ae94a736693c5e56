"""What one dissector says of one frame, without the face that the agent calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from fieldwatch_agent.dissectors.notes import MalformedError
from fieldwatch_agent.facts import Binding, Fact
from fieldwatch_ext.engine import Slow
from messages import IP, MAC, PEER_MAC, TS_NS

Dissector = Callable[[Slow], Iterator[Fact | Binding]]

PEER_IP = bytes([192, 168, 1, 20])
PEER_IP_TEXT = "192.168.1.20"


class Heard(NamedTuple):
    facts: list[tuple[str, str, str]]  # (subject, key, value), in order, the empty ones that the agent drops left out
    whole: bool  # False: it broke off


def to_peer(protocol: str, payload: bytes, **changes: Any) -> Slow:
    """A frame from a local host to another; `changes` replace single fields."""
    return Slow(7, TS_NS, protocol, MAC, PEER_MAC, 0x1064, IP, PEER_IP, 50_000, 80, payload)._replace(**changes)


def listen(dissector: Dissector, frame: Slow) -> Heard:
    facts: list[tuple[str, str, str]] = []
    try:
        facts.extend(item[:3] for item in dissector(frame) if isinstance(item, Fact) and item.subject and item.value)
    except MalformedError:
        return Heard(facts, False)
    return Heard(facts, True)


def prefixes_say_a_part(dissector: Dissector, frame: Slow) -> bool:
    """Every prefix of the payload says a part of (key, value) of the whole, which says something, and nothing else."""
    said = [
        {fact[1:] for fact in listen(dissector, frame._replace(payload=frame.payload[:end])).facts}
        for end in range(len(frame.payload) + 1)
    ]
    return bool(said[-1]) and all(part <= said[-1] for part in said)
