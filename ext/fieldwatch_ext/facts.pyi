"""What dissectors do with every fact: make it of a message, and keep it once."""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from fieldwatch_ext.engine import Slow

_Fact = TypeVar("_Fact", bound=tuple[Any, ...])

def make_fact(
    kind: type[_Fact],
    clean: Callable[[bytes | str], str],
    most_octets: int,
    slow: Slow,
    subject: str,
    key: str,
    value: bytes | str,
    evidence: str,
    confidence: int,
    /,
) -> _Fact:
    """A `kind`, whose fields are those of `fieldwatch_agent.facts.Fact`, with time, place and source of the message.

    `clean` makes value and evidence safe to keep; it is called only where they are longer than `most_octets`, or
    `fieldwatch_ext.text.plain_text` finds something in them that needs care.
    """

def keep_distinct(
    found: dict[tuple[Any, ...], Any], items: Iterable[Any], kind: type, most: int, most_seen: int, /
) -> bool:
    """Add the items to `found`, each once; False where `most` were kept or `most_seen` looked at, and there were more.

    A `kind` is the same as another where subject, key and value are, and the one with the higher confidence is kept in
    the place of the first; one without subject or value is left out. Other items are the same where their first two
    fields are. What stands in `found` remains when `items` raises.
    """
