"""The classic BPF machine (McCanne and Jacobson 1993), run on the frame as it was on the wire."""

from collections.abc import Sequence

class Program:
    """A checked filter: (code, jt, jf, k) instructions as `BPFProgram.get_bpf()` of pcapy-ng gives them.

    Raises FilterError for a program that could loop, jump out or read scratch memory that is not there.
    """

    def __init__(self, instructions: Sequence[tuple[int, int, int, int]]) -> None: ...
    def matches(self, frame: bytes, original: int | None = ...) -> bool: ...
