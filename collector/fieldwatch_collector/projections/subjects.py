"""What a fact is about: the text of a MAC or of an address."""

from __future__ import annotations

import ipaddress

from fieldwatch_proto.identity import is_unicast_mac

_HEX = frozenset("0123456789abcdefABCDEF")


def canonical_subject(text: str) -> str:
    """The MAC or address that a fact is about, in its one form; empty where it is neither."""
    if is_mac_text(text):
        mac = text.lower()
        return mac if is_unicast_mac(bytes.fromhex(mac.replace(":", ""))) else ""
    try:
        return str(ipaddress.ip_address(text)) if len(text) <= 45 and "%" not in text else ""
    except ValueError:
        return ""


def is_mac_text(text: str) -> bool:
    parts = text.split(":")
    return len(text) == 17 and len(parts) == 6 and all(len(p) == 2 and set(p) <= _HEX for p in parts)
