"""The plain-Python twin of `fieldwatch_ext.facts`."""

from __future__ import annotations

from collections.abc import Iterable

from fieldwatch_agent.dissectors.text import clean
from fieldwatch_agent.facts import Binding, Fact
from fieldwatch_ext.engine import Slow


def make_fact(slow: Slow, subject: str, key: str, value: bytes | str, evidence: str, confidence: int) -> Fact:
    return Fact(
        subject,
        key,
        clean(value),
        slow.protocol,
        clean(evidence),
        confidence,
        slow.ts_ns,
        slow.number,
        slow.vlans,
        slow.src_ip,
    )


def keep_distinct(
    found: dict[tuple[object, ...], Fact | Binding], items: Iterable[Fact | Binding], most: int, most_seen: int
) -> bool:
    key: tuple[object, ...]
    for seen, item in enumerate(items):
        if seen == most_seen:
            return False
        if isinstance(item, Fact):
            key = item[:3]
            if not (item.subject and item.value):
                continue
            known = found.get(key)
            if known is not None:
                if isinstance(known, Fact) and item.confidence > known.confidence:
                    found[key] = item
                continue
        else:
            key = (item.mac, item.ip)
            if key in found:
                continue
        if len(found) == most:
            return False
        found[key] = item
    return True
