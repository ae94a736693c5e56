"""Link-local multicast name resolution (RFC 4795): host names in responses.

Only responses count: a query names what its sender looks for. Anyone may answer for any name, and attackers do, so the
confidence is moderate.
"""

from __future__ import annotations

from collections.abc import Iterator

from fieldwatch_ext.dns import reverse_address
from fieldwatch_ext.engine import Slow

from fieldwatch_agent.dissectors.dns_message import ANSWER, TYPE_A, TYPE_AAAA, TYPE_PTR, read_message
from fieldwatch_agent.dissectors.notes import MalformedError, fact, holder
from fieldwatch_agent.dissectors.text import host_text
from fieldwatch_agent.facts import Binding, Fact

CONFIDENCE = 60


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """Host names of the addresses in the answers."""
    message = read_message(slow.payload)
    if message.response and message.opcode == 0 and message.rcode == 0:
        names = {r.name for r in message.records if r.section == ANSWER and r.address == slow.src_ip}
        for record in message.records:
            if record.section != ANSWER:
                continue
            if record.type in (TYPE_A, TYPE_AAAA):
                # A host answers with all its addresses: where its own is among them, the others are its own too.
                subject = holder(slow, slow.src_ip if record.name in names else record.address)
                kind = "A" if record.type == TYPE_A else "AAAA"
                yield fact(slow, subject, "hostname", host_text(record.name), f"LLMNR response {kind}", CONFIDENCE)
            elif record.type == TYPE_PTR:
                subject = holder(slow, reverse_address(record.name))
                yield fact(slow, subject, "hostname", host_text(record.target), "LLMNR response PTR", CONFIDENCE)
    if not message.complete:
        raise MalformedError
