"""Answers of unicast DNS (RFC 1035): by which names the hosts on this network know others, and each other.

- A fact names what was asked for: where aliases lead from the question to an address, the address is known by the name
  in the question (RFC 1034 section 3.6.2); the alias' target names a server farm.
- A resolver speaks of others, so everything is hearsay. Only the answer section counts: glue names name servers.
- Names are made lower case: resolvers mix the case of what they ask, another way each time, against forged answers.
"""

from __future__ import annotations

from collections.abc import Iterator

from fieldwatch_ext.dns import Message, Name, lower, reverse_address
from fieldwatch_ext.engine import Slow

from fieldwatch_agent.dissectors.dns_message import (
    ANSWER,
    TYPE_A,
    TYPE_AAAA,
    TYPE_CNAME,
    TYPE_PTR,
    read_message,
)
from fieldwatch_agent.dissectors.notes import MalformedError, fact, holder
from fieldwatch_agent.dissectors.text import host_text
from fieldwatch_agent.facts import Binding, Fact

CONFIDENCE = 40
NAMING = (TYPE_A, TYPE_AAAA, TYPE_PTR)
MAX_NAMED = 8  # addresses of one message: most names have one or two, a server farm's a handful


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """Names of the addresses in the answers: of A and AAAA records the name asked for, of PTR what it points to."""
    message = read_message(slow.payload)
    if message.response and message.opcode == 0 and message.rcode == 0:
        yield from _names(slow, message)
    if not message.complete:
        raise MalformedError


def _names(slow: Slow, message: Message) -> Iterator[Fact]:
    answers = [r for r in message.records if r.type in NAMING and r.section == ANSWER]
    if not answers:
        return
    asked, known_as = _aliases(message)
    named = 0
    for record in answers:
        owner = lower(record.name)
        name = asked if owner in known_as else owner
        if record.type == TYPE_PTR:
            # Behind an alias as well: small networks have their reverse names in a zone of their own (RFC 2317).
            address, name, kind = reverse_address(name), lower(record.target), "PTR"
        else:
            address, kind = record.address, "A" if record.type == TYPE_A else "AAAA"
        subject = holder(slow, address) if address else ""
        if subject:
            yield fact(slow, subject, "dns_name", host_text(name), f"DNS answer {kind}", CONFIDENCE)
            named += 1
            if named == MAX_NAMED:
                return


def _aliases(message: Message) -> tuple[Name, set[Name]]:
    """The name in the first question, and all names that aliases lead to from it, itself included."""
    targets = {lower(r.name): lower(r.target) for r in message.records if r.section == ANSWER and r.type == TYPE_CNAME}
    asked = lower(message.questions[0]) if message.questions else ()
    found: set[Name] = set()
    name: Name | None = asked
    while name and name not in found:
        found.add(name)
        name = targets.get(name)
    return asked, found
