"""Cleaning of values: safe to print, bounded, and the names of honest people unharmed."""

from __future__ import annotations

import unicodedata

import pytest
from fieldwatch_agent.dissectors.text import MAX_VALUE_OCTETS, clean
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
