"""AES-128 and the opening side of its GCM, for packets whose keys everybody can derive: not in constant time."""

def encrypt_block(key: bytes, block: bytes) -> bytes:
    """The block of 16 octets under the key of 16 (FIPS 197). Raises ValueError for other lengths."""

def open_gcm(key: bytes, nonce: bytes, associated: bytes, sealed: bytes) -> bytes | None:
    """The plaintext of `sealed`, whose last 16 octets are its tag (NIST SP 800-38D); None where the tag is another.

    Raises ValueError where the key has not 16 octets or the nonce not 12.
    """
