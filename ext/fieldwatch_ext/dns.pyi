"""DNS messages, also as mDNS and LLMNR carry them (RFC 1035 section 4, RFC 6762 section 18), read as far as they go.

- A record whose data is bad is skipped, and the cursor goes on behind it by its stated length.
- Names are tuples of labels, so that a dot inside a label is not taken for a separator.
- Work is bounded: pointers only go backwards, at most `MAX_POINTERS` a name and `MAX_RECORDS` records a message.
"""

from typing import NamedTuple

MAX_POINTERS: int
MAX_RECORDS: int

Name = tuple[bytes, ...]

class Record(NamedTuple):
    """One record of class IN. `target` of PTR, SRV and CNAME, `address` of A and AAAA, `strings` of TXT."""

    section: str  # answer, authority, additional
    name: Name
    type: int
    ttl: int
    target: Name
    address: bytes
    strings: tuple[bytes, ...]

class Message(NamedTuple):
    response: bool
    opcode: int
    rcode: int
    questions: list[Name]
    records: list[Record]
    complete: bool  # False where the message broke off or a record was bad

def lower(name: Name) -> Name:
    """The name as it is compared (RFC 1035 section 2.3.3)."""

def reverse_address(name: Name) -> bytes:
    """The address of a reverse name (RFC 1035 section 3.5, RFC 3596 section 2.5); empty where it is none."""

def read_name(payload: bytes, offset: int) -> tuple[Name, int] | None:
    """The labels of the name at `offset`, and the offset behind it; None where it is none."""

def read_message(payload: bytes) -> Message | None:
    """None where there is not even a header."""
