"""AES-128 and GCM: the vectors of the standards, what is forged, and agreement with another implementation."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fieldwatch_ext.aes128 import encrypt_block, open_gcm
from hypothesis import given
from hypothesis import strategies as st

KEY = bytes.fromhex("feffe9928665731c6d6a8f9467308308")
NONCE = bytes.fromhex("cafebabefacedbaddecaf888")
PLAIN = bytes.fromhex(
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255"
)
SEALED = bytes.fromhex(
    "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
    "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985"
)
TAG = bytes.fromhex("4d5c2af327cd64a62cf35abd2ba6fab4")
ASSOCIATED = bytes.fromhex("feedfacedeadbeeffeedfacedeadbeefabaddad2")
TAG_WITH_ASSOCIATED = bytes.fromhex("5bc94fbc3221a5db94fae95ae7121a47")


@pytest.mark.parametrize(
    ("key", "block", "expected"),
    [
        ("2b7e151628aed2a6abf7158809cf4f3c", "3243f6a8885a308d313198a2e0370734", "3925841d02dc09fbdc118597196a0b32"),
        ("000102030405060708090a0b0c0d0e0f", "00112233445566778899aabbccddeeff", "69c4e0d86a7b0430d8cdb78070b4c55a"),
    ],
)
def test_a_block_is_encrypted_as_in_fips_197(key: str, block: str, expected: str) -> None:
    """Appendices B and C.1."""
    assert expected == encrypt_block(bytes.fromhex(key), bytes.fromhex(block)).hex()


@pytest.mark.parametrize(
    ("key", "nonce", "associated", "sealed", "expected"),
    [
        (bytes(16), bytes(12), b"", bytes.fromhex("58e2fccefa7e3061367f1d57a4e7455a"), b""),
        (
            bytes(16),
            bytes(12),
            b"",
            bytes.fromhex("0388dace60b6a392f328c2b971b2fe78ab6e47d42cec13bdf53a67b21257bddf"),
            bytes(16),
        ),
        (KEY, NONCE, b"", SEALED + TAG, PLAIN),
        (KEY, NONCE, ASSOCIATED, SEALED[:60] + TAG_WITH_ASSOCIATED, PLAIN[:60]),
    ],
)
def test_what_is_sealed_opens_as_in_the_definition_of_gcm(
    key: bytes, nonce: bytes, associated: bytes, sealed: bytes, expected: bytes
) -> None:
    """Test cases 1 to 4 of the GCM specification that NIST SP 800-38D refers to."""
    assert expected == open_gcm(key, nonce, associated, sealed)


def test_whatever_octet_is_changed_nothing_opens() -> None:
    sealed = SEALED[:60] + TAG_WITH_ASSOCIATED
    for at in range(len(sealed)):
        assert open_gcm(KEY, NONCE, ASSOCIATED, sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]) is None
    for at in range(len(ASSOCIATED)):
        changed = ASSOCIATED[:at] + bytes([ASSOCIATED[at] ^ 0x80]) + ASSOCIATED[at + 1 :]
        assert open_gcm(KEY, NONCE, changed, sealed) is None


def test_no_prefix_opens() -> None:
    sealed = SEALED + TAG
    for end in range(len(sealed)):
        assert open_gcm(KEY, NONCE, b"", sealed[:end]) is None


@pytest.mark.parametrize(("key", "nonce"), [(bytes(15), NONCE), (bytes(32), NONCE), (KEY, bytes(11)), (KEY, bytes(16))])
def test_other_keys_and_nonces_are_wrong_usage(key: bytes, nonce: bytes) -> None:
    with pytest.raises(ValueError, match="a key of 16 octets and a nonce of 12"):
        open_gcm(key, nonce, b"", SEALED + TAG)


@pytest.mark.parametrize(("key", "block"), [(bytes(15), bytes(16)), (KEY, bytes(15)), (KEY, bytes(17))])
def test_other_blocks_are_wrong_usage(key: bytes, block: bytes) -> None:
    with pytest.raises(ValueError, match="a key of 16 octets and a block of 16"):
        encrypt_block(key, block)


@given(st.binary(min_size=16, max_size=16), st.binary(min_size=16, max_size=16))
def test_blocks_agree_with_another_implementation(key: bytes, block: bytes) -> None:
    expected = Cipher(algorithms.AES128(key), modes.ECB()).encryptor().update(block)

    assert expected == encrypt_block(key, block)


@given(
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=12, max_size=12),
    st.binary(max_size=70),
    st.binary(max_size=1400),
)
def test_opening_undoes_the_sealing_of_another_implementation(
    key: bytes, nonce: bytes, associated: bytes, plain: bytes
) -> None:
    assert plain == open_gcm(key, nonce, associated, AESGCM(key).encrypt(nonce, plain, associated))
