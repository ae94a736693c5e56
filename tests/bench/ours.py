"""One pass of the kernel over a capture, in a process of its own, for `peers.py`: ``python -m bench.ours FILE``."""

import sys
from pathlib import Path

from fieldwatch_ext.engine import STAGE_FLOWS

from bench.mix import run

if __name__ == "__main__":
    run(Path(sys.argv[1]), STAGE_FLOWS, dissects=False)
