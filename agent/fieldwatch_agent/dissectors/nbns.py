"""NetBIOS name service (RFC 1002 section 4.2): names that hosts register, refresh, answer for, or list as theirs."""

from __future__ import annotations

from collections.abc import Iterator

from fieldwatch_ext.engine import Slow
from fieldwatch_ext.netbios import NameMessage, NameRecord, NetbiosName, read_names
from fieldwatch_proto.schema import mac_text

from fieldwatch_agent.dissectors.notes import MalformedError, fact, holder, sender
from fieldwatch_agent.facts import Binding, Fact

QUERY, REGISTRATION, REFRESH, REFRESH_ALT, MULTIHOMED = 0, 5, 8, 9, 15
CLAIMS = {REGISTRATION: "registration", REFRESH: "refresh", REFRESH_ALT: "refresh", MULTIHOMED: "registration"}
ANSWERS = {QUERY: "query response", REGISTRATION: "registration response"}
HOST_SUFFIXES = (0x00, 0x20)  # workstation, file server: unique names of these types are the computer's
GROUP_SUFFIXES = (0x1B, 0x1C, 0x1D, 0x1E)  # domain master, domain controllers, master browser, elections
BROWSER_MARK = "__MSBROWSE__"  # the same on every network: says nothing


def name_fact(
    slow: Slow, subject: str, name: NetbiosName, group: bool, evidence: str, confidence: int
) -> Iterator[Fact]:
    """`netbios_name` or `netbios_group`, the suffix in the evidence; nothing for names that are neither."""
    if BROWSER_MARK in name.name or name.name.startswith("*"):
        return
    if group or name.suffix in GROUP_SUFFIXES:
        yield fact(slow, subject, "netbios_group", name.name, f"{evidence} <{name.suffix:02x}>", confidence)
    elif name.suffix in HOST_SUFFIXES:
        yield fact(slow, subject, "netbios_name", name.name, f"{evidence} <{name.suffix:02x}>", confidence)


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """Names of the addresses that records carry, and of a host that lists its name table."""
    message = read_names(slow.payload)
    if message is None:
        raise MalformedError
    if message.response:
        if message.rcode == 0:
            yield from _answers(slow, message)
    elif message.opcode in CLAIMS:
        evidence = f"NBNS {CLAIMS[message.opcode]}"
        for record in message.records:
            if record.section == "additional":
                yield from _record(slow, record, evidence, 80)


def _answers(slow: Slow, message: NameMessage) -> Iterator[Fact]:
    for record in message.records:
        if record.section == "node_status":
            # The unit id is the MAC by the host's own word: where the frame came from it, nothing routed in between.
            here = record.unit_id and record.unit_id == slow.src_mac
            subject = mac_text(slow.src_mac) if here else sender(slow)
            yield from name_fact(slow, subject, record.name, record.group, "NBNS node status", 90)
        elif record.section == "answer" and message.opcode in ANSWERS:
            yield from _record(slow, record, f"NBNS {ANSWERS[message.opcode]}", 80)


def _record(slow: Slow, record: NameRecord, evidence: str, confidence: int) -> Iterator[Fact]:
    for address in record.addresses:
        yield from name_fact(slow, holder(slow, address), record.name, record.group, evidence, confidence)
