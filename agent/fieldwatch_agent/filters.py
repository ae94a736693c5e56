"""BPF filters: compiled by libpcap in a short-lived child process, run by the kernel module.

pcapy-ng costs memory that the daemon would never give back, so it is imported only here, in the child:
``python -m fieldwatch_agent.filters LINKTYPE EXPRESSION`` prints the instructions as JSON, or libpcap's complaint on
standard error (exit code 2).
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from typing import TYPE_CHECKING

from fieldwatch_proto.settings import UsageError

if TYPE_CHECKING:
    from fieldwatch_ext.bpf import Program

LINKTYPE_ETHERNET = 1
SNAPLEN = 262_144  # of libpcap's tools; a filter accepts a frame by giving this
COMPILE_TIMEOUT_S = 20
MAX_EXPRESSION_CHARS = 65_536

# Where a capture file's number (LINKTYPE_) differs from the one that libpcap uses on Linux (DLT_).
_DLT = {100: 11, 101: 12}


@cache
def compile_filter(expression: str, linktype: int = LINKTYPE_ETHERNET) -> Program | None:
    """The filter for frames of a linktype; None for an empty expression. Raises UsageError with libpcap's words."""
    from fieldwatch_ext.bpf import Program  # not for the child, which only compiles

    if not expression.strip():
        return None
    if len(expression) > MAX_EXPRESSION_CHARS or "\0" in expression:
        raise UsageError(f"the filter is no BPF expression of at most {MAX_EXPRESSION_CHARS} characters")
    command = [sys.executable, "-m", "fieldwatch_agent.filters", str(linktype), expression]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=COMPILE_TIMEOUT_S, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise UsageError(f"filter {expression!r}: not compiled within {COMPILE_TIMEOUT_S} s; make it simpler") from None
    if child.returncode != 0:
        complaint = child.stderr.strip().splitlines()
        raise UsageError(f"filter {expression!r}: {complaint[-1] if complaint else 'libpcap gave no reason'}")
    return Program([tuple(instruction) for instruction in json.loads(child.stdout)])


def main(linktype: int, expression: str) -> int:
    """The child: instructions to standard output."""
    import pcapy

    try:
        program = pcapy.compile(_DLT.get(linktype, linktype), SNAPLEN, expression, 1, 0)
    except pcapy.PcapError as problem:
        print(problem, file=sys.stderr)
        return 2
    json.dump([list(instruction) for instruction in program.get_bpf()], sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2]))
