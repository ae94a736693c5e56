"""What every dissector needs: whom a message is about, the facts it makes, and how it says that it broke off."""

from __future__ import annotations

from functools import partial

from fieldwatch_ext.engine import Slow
from fieldwatch_ext.facts import make_fact
from fieldwatch_proto.identity import is_local, is_unicast_mac
from fieldwatch_proto.schema import ip_text, mac_text

from fieldwatch_agent.dissectors.text import MAX_VALUE_OCTETS, clean
from fieldwatch_agent.facts import Fact


class MalformedError(Exception):
    """The message contradicts itself or ends too early. Facts yielded before it was raised stand."""


def is_host_ip(ip: bytes) -> bool:
    """An address that one host can hold: not unspecified, loopback, multicast or broadcast."""
    if len(ip) == 4:
        return 0 < ip[0] < 224 and ip[0] != 127
    return len(ip) == 16 and ip[0] != 0xFF and any(ip[:15])


def _is_link_scope(ip: bytes) -> bool:
    """A destination that no router forwards (RFC 5771 section 4, RFC 4291 section 2.7, RFC 919)."""
    if len(ip) == 4:
        return ip[0] >= 224 and (ip[:3] == b"\xe0\x00\x00" or ip == b"\xff\xff\xff\xff")
    return len(ip) == 16 and ip[0] == 0xFF and ip[1] & 0x0F <= 2


def sender(slow: Slow) -> str:
    """Subject for what the sender says of itself: its MAC where that is surely its own, else its IP; "" = nobody.

    A source MAC is a router's as soon as the packet may have been forwarded. It was not where the destination is of
    link scope, or where a local address spoke to a group (site-local groups and directed broadcasts).
    """
    src_ip, dst_mac = slow.src_ip, slow.dst_mac
    on_link = not src_ip or _is_link_scope(slow.dst_ip) or (dst_mac and dst_mac[0] & 1 and is_local(src_ip))
    if on_link and is_unicast_mac(slow.src_mac):
        return mac_text(slow.src_mac)
    return ip_text(src_ip) if is_host_ip(src_ip) else ""


def holder(slow: Slow, ip: bytes) -> str:
    """Subject for what the message says of the host with address `ip`; "" where no host can have it."""
    if ip == slow.src_ip:
        return sender(slow)
    return ip_text(ip) if is_host_ip(ip) else ""


fact = partial(make_fact, Fact, clean, MAX_VALUE_OCTETS)
"""`fact(slow, subject, key, value, evidence, confidence)`: a fact of this message; value and evidence are cleaned.

Empty ones are dropped by `dissect`.
"""
