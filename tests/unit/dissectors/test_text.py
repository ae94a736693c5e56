"""Cleaning of values: safe to print, bounded, and the names of honest people unharmed."""

from __future__ import annotations

import unicodedata

import pytest
from fieldwatch_agent.dissectors.text import MAX_VALUE_OCTETS, clean
from fieldwatch_ext.text import plain_text
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"desk-7", "desk-7"),
        (b" desk-7\0\0 ", "desk-7"),
        ("Luca’s iMac".encode(), "Luca’s iMac"),
        ("小佛專機".encode(), "小佛專機"),
        ("Zoé\u00a0s phone", "Zoé\u00a0s phone"),  # no-break space
        ("👩\u200d💻", "👩\u200d💻"),  # a joiner that the emoji needs
        (b"IOS 15.2\r\n\tCompiled", "IOS 15.2 Compiled"),
        (b"Zur\xfc", "Zur\ufffd"),
        (b"\x1b]0;owned\x07", "\\x1b]0;owned\\x07"),
        ("abc\u202egpj.exe", "abc\\u202egpj.exe"),  # right-to-left override
        ("a\u2028b", "a\\u2028b"),
        ("a\U000e0041b", "a\\U000e0041b"),  # invisible tag
        (b"a\0b", "a\\x00b"),
        (b"", ""),
        (b"\0 \n", ""),
    ],
)
def test_values(value: bytes | str, expected: str) -> None:
    assert expected == clean(value)


def test_a_long_value_is_cut_between_characters() -> None:
    assert clean("é" * 300) == "é" * (MAX_VALUE_OCTETS // 2)


@given(st.one_of(st.binary(max_size=2000), st.text(max_size=600)))
def test_any_value_becomes_one_safe_line_of_bounded_length(value: bytes | str) -> None:
    text = clean(value)

    assert len(text.encode("utf-8")) <= MAX_VALUE_OCTETS
    assert not any(unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in text)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"desk-7", "desk-7"),
        ("desk-7", "desk-7"),
        (b" a b ", "a b"),
        (b" ", ""),
        (b"", ""),
        (b"~!", "~!"),
        (b"x" * 255, "x" * 255),
        (b"x" * 256, None),
        (b"a  b", None),
        (b"  ", None),
        (b"a\tb", None),
        (b"a\x7f", None),
        (b"a\0", None),
        ("é", None),
        ("小", None),
        (b"\xe9", None),
    ],
)
def test_what_needs_no_care_is_told_at_once(value: bytes | str, expected: str | None) -> None:
    assert expected == plain_text(value, MAX_VALUE_OCTETS)


@given(st.text(alphabet="ab \x7f\x1fé~", max_size=12))
def test_plain_text_is_what_cleaning_would_make_of_it(value: str) -> None:
    plain = plain_text(value, MAX_VALUE_OCTETS)

    assert (plain is not None) == (value.isascii() and value.isprintable() and "  " not in value)
    assert plain == plain_text(value.encode(), MAX_VALUE_OCTETS)
    assert plain in (None, clean(value + "\n"))
