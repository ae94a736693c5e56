"""Octets to text, where nothing about them needs care."""

def plain_text(value: bytes | str, most_octets: int) -> str | None:
    """The value without blanks at its ends, if it is printable ASCII, short enough, and no two blanks meet; or None."""

def used_places(places: bytes) -> tuple[list[int], bytes]:
    """Of a column of u16 places in a list of texts: those in use, rising, and the rows as u32 numbers among them."""
