"""Multicast DNS and DNS service discovery (RFC 6762, RFC 6763): host names, services, models, names people gave.

- Responses count by their answers and additional records. Of queries only the authority section of a probe counts
  (RFC 6762 section 8.2: names that the sender wants for itself); the known answers in a query are somebody else's.
- A host name belongs to the sender where one of its addresses in the message is the sender's; where all are others
  (a sleep proxy, a reflector), to the holders of those.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from fieldwatch_ext.dns import Name, Record, lower, reverse_address
from fieldwatch_ext.engine import Slow

from fieldwatch_agent.dissectors.dns_message import (
    ADDITIONAL,
    ANSWER,
    AUTHORITY,
    TYPE_A,
    TYPE_AAAA,
    TYPE_PTR,
    TYPE_SRV,
    TYPE_TXT,
    read_message,
)
from fieldwatch_agent.dissectors.notes import MalformedError, fact, holder, sender
from fieldwatch_agent.dissectors.text import clean, host_text
from fieldwatch_agent.facts import Binding, Fact

ADDRESSES = (TYPE_A, TYPE_AAAA)
LOCAL = b"local"
PROTOCOLS = (b"_tcp", b"_udp")
SERVICE_LIST = (b"_services", b"_dns-sd", b"_udp", LOCAL)
DEVICE_INFO = "_device-info._tcp"

# TXT keys by which services say what the device is: AirPlay, RAOP, HomeKit, Google Cast, IPP printers, Sonos, Hue.
TXT_FACTS = {
    b"model": "model",
    b"md": "model",
    b"am": "model",
    b"ty": "model",
    b"modelid": "model",
    b"usb_mdl": "model",
    b"manufacturer": "manufacturer",
    b"usb_mfg": "manufacturer",
    b"mfg": "manufacturer",
    b"fn": "friendly_name",
}


def dissect(slow: Slow) -> Iterator[Fact | Binding]:
    """Facts about the sender, and about the holders of other addresses that it speaks for."""
    message = read_message(slow.payload)
    if message.opcode or message.rcode:
        return  # to be ignored (RFC 6762 sections 18.3, 18.11)
    sections = (ANSWER, ADDITIONAL) if message.response else (AUTHORITY,)
    records = [record for record in message.records if record.section in sections]
    owners = _Owners(slow, records)
    for record in records:
        kind = record.type
        if kind in ADDRESSES:
            yield _host(slow, record, owners)
        elif kind == TYPE_PTR:
            yield from _pointer(slow, record, owners)
        elif kind == TYPE_SRV:
            yield from _service(slow, record, owners)
        elif kind == TYPE_TXT:
            yield from _text(slow, record, owners)
    if not message.complete:
        raise MalformedError


def host_name(name: Name) -> str:
    """The name without its `.local`; other domains stay."""
    return host_text(name[:-1] if name and name[-1].lower() == LOCAL else name)


def service_type(name: Name) -> str:
    """ "_type._proto" of a service's name or type; empty for anything else."""
    return _type_text(name[-3], name[-2]) if len(name) >= 3 else ""


@lru_cache(maxsize=256)
def _type_text(kind: bytes, protocol: bytes) -> str:
    """Of two labels; the services on a network are few, and announced again and again."""
    return clean(kind.lower() + b"." + protocol.lower()) if kind[:1] == b"_" and protocol.lower() in PROTOCOLS else ""


def instance_of(name: Name) -> bytes:
    """What stands before the type in a service's name."""
    return b".".join(name[:-3])


class _Owners:
    """Whom the names of one message stand for."""

    def __init__(self, slow: Slow, records: list[Record]) -> None:
        self._slow = slow
        self._sender = sender(slow)
        self._addresses: dict[Name, set[bytes]] = {}
        self._targets: dict[Name, Name] = {}
        for record in records:
            if record.address:
                self._addresses.setdefault(lower(record.name), set()).add(record.address)
            elif record.type == TYPE_SRV:
                self._targets[lower(record.name)] = lower(record.target)

    def of_host(self, name: Name) -> list[str]:
        """Subjects of a host name."""
        addresses = self._addresses.get(lower(name))
        if not addresses or self._slow.src_ip in addresses:
            return [self._sender]
        return [holder(self._slow, address) for address in sorted(addresses)]

    def of_address(self, name: Name, address: bytes) -> str:
        """Subject of one address that the name has."""
        if self._slow.src_ip in self._addresses.get(lower(name), ()):
            return self._sender
        return holder(self._slow, address)

    def of_service(self, name: Name) -> list[str]:
        """Subjects of a service instance: those of the host that it runs on."""
        target = self._targets.get(lower(name))
        return [self._sender] if target is None else self.of_host(target)

    def known(self, name: Name) -> bool:
        """An address of the name stands in the message."""
        return lower(name) in self._addresses


def _evidence(slow: Slow, record: Record, kind: str) -> tuple[str, int]:
    """What stands in the evidence, and how much of the usual confidence is off."""
    if record.section == AUTHORITY:
        return f"mDNS probe {kind}", 25
    if record.ttl == 0:
        return f"mDNS goodbye {kind}", 25
    return f"mDNS {kind}", 0


def _host(slow: Slow, record: Record, owners: _Owners) -> Fact:
    evidence, less = _evidence(slow, record, "A" if record.type == TYPE_A else "AAAA")
    subject = owners.of_address(record.name, record.address)
    return fact(slow, subject, "hostname", host_name(record.name), evidence, 85 - less)


def _pointer(slow: Slow, record: Record, owners: _Owners) -> Iterator[Fact]:
    address = reverse_address(record.name)
    if address:
        evidence, less = _evidence(slow, record, "reverse PTR")
        subject = owners.of_address(record.target, address)
        yield fact(slow, subject, "hostname", host_name(record.target), evidence, 80 - less)
        return
    if record.ttl == 0:
        return  # the service has gone
    if lower(record.name) == SERVICE_LIST:
        yield fact(slow, sender(slow), "service", service_type(record.target), "mDNS service list", 80)
        return
    evidence, less = _evidence(slow, record, "PTR")
    service = service_type(record.target) or service_type(record.name)
    for subject in owners.of_service(record.target):
        yield fact(slow, subject, "service", service, evidence, 80 - less)


def _service(slow: Slow, record: Record, owners: _Owners) -> Iterator[Fact]:
    if record.ttl == 0:
        return
    evidence, less = _evidence(slow, record, "SRV")
    service = service_type(record.name)
    given_name = _given_name(instance_of(record.name)) if service else b""
    # Without an address in the message the target may be any host; mostly it is the sender.
    sure = 80 if owners.known(record.target) else 50
    for subject in owners.of_host(record.target):
        yield fact(slow, subject, "hostname", host_name(record.target), f"{evidence} {service}", sure - less)
        yield fact(slow, subject, "service", service, evidence, 80 - less)
        yield fact(slow, subject, "friendly_name", given_name, f"{evidence} {service}", 70 - less)


def _text(slow: Slow, record: Record, owners: _Owners) -> Iterator[Fact]:
    if record.ttl == 0:
        return
    evidence, less = _evidence(slow, record, "TXT")
    service = service_type(record.name)
    if not service:
        return
    for subject in owners.of_service(record.name):
        if service == DEVICE_INFO:
            yield fact(slow, subject, "friendly_name", instance_of(record.name), f"{evidence} {service}", 75 - less)
        for string in record.strings:
            key, _, value = string.partition(b"=")
            known = TXT_FACTS.get(key.lower())
            if known is not None:
                yield fact(slow, subject, known, value, f"{evidence} {service} {clean(key)}", 75 - less)


def _given_name(instance: bytes) -> bytes:
    """The part for people: AirPlay audio puts its MAC and an at sign before the name."""
    return instance.partition(b"@")[2] or instance
