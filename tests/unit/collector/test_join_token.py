"""The join token's text form."""

from __future__ import annotations

import hashlib

import pytest
from fieldwatch_proto.join import JoinToken, JoinTokenError, signed_message

TOKEN = JoinToken("4f0c2a", bytes(range(32)), b"0\x82certificate" * 20)


def test_text_and_back() -> None:
    """One line without spaces; white space that a copy added around it does no harm."""
    text = TOKEN.text()

    assert text.startswith("fwj1.4f0c2a.")
    assert text.split() == [text]
    assert JoinToken.parse(f"  {text}\n") == TOKEN


def test_repr_hides_the_seed() -> None:
    assert repr(TOKEN) == "JoinToken(4f0c2a)"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("hello", "no join token"),
        ("fwj9.x.y", "another version"),
        ("fwj1.x", "no join token"),
        ("fwj1.x." + "A" * 9000, "at most"),
        ("fwj1.4f0c2a.!!!", "copy the whole line"),
        ("fwj1.4f0c2a.ümlaut", "copy the whole line"),
        (TOKEN.text()[:-1], "copy the whole line"),
        (TOKEN.text().replace("4f0c2a", "4f0c2b"), "copy the whole line"),
    ],
)
def test_what_is_no_token_is_told_apart(text: str, message: str) -> None:
    with pytest.raises(JoinTokenError, match=message):
        JoinToken.parse(text)


def test_every_cut_is_noticed() -> None:
    text = TOKEN.text()

    for length in range(len(text)):
        with pytest.raises(JoinTokenError):
            JoinToken.parse(text[:length])


def test_signed_message_binds_ca_token_and_request() -> None:
    expected = b"fieldwatch-enrol-1" + hashlib.sha256(b"ca").digest() + b"id" + hashlib.sha256(b"csr").digest()

    assert expected == signed_message(b"ca", "id", b"csr")
