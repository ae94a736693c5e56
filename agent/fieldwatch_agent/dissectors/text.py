"""Octets chosen by strangers to text that is safe to keep, to print and to compare."""

from __future__ import annotations

import re
import unicodedata

from fieldwatch_ext.text import plain_text

MAX_VALUE_OCTETS = 255  # of UTF-8; a DNS name, a DHCP option and an LLDP string all fit

_BLANKS = re.compile(r"[\t\n\v\f\r ]+")
# Categories that steer a terminal or hide text: control, format (bidirectional marks), surrogate, separators.
_UNSAFE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_JOINERS = frozenset("\u200c\u200d")  # format characters that scripts and emoji need


def clean(value: bytes | str) -> str:
    """One line of at most 255 octets of UTF-8: bad UTF-8 replaced, runs of blanks made one, control characters escaped.

    Blanks and NULs at the ends are cut. The result may be empty.
    """
    plain = plain_text(value, MAX_VALUE_OCTETS)
    if plain is not None:
        return plain  # as nearly all are
    if isinstance(value, bytes):
        # Four octets a character at most, and escapes only lengthen: nothing behind this can count.
        value = value[: 4 * MAX_VALUE_OCTETS].decode("utf-8", "replace")
    else:
        value = value[: 4 * MAX_VALUE_OCTETS]
    value = _BLANKS.sub(" ", value.strip("\0 \t\r\n\v\f"))
    if not value.isprintable():
        value = "".join(map(_escape, value))
    octets = value.encode("utf-8")
    if len(octets) > MAX_VALUE_OCTETS:
        value = octets[:MAX_VALUE_OCTETS].decode("utf-8", "ignore")
    return value


def _escape(character: str) -> str:
    if character in _JOINERS or unicodedata.category(character) not in _UNSAFE:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def host_text(labels: tuple[bytes, ...]) -> str:
    """The dotted text of DNS labels; a dot or backslash inside a label stays what it is, for people to read."""
    return clean(b".".join(labels))
