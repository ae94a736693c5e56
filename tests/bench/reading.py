"""One `read` in a process of its own, for `large.py`: ``python -m bench.reading OPTIONS``; its last line is VmHWM."""

import sys
from pathlib import Path

from fieldwatch_agent.cli.main import main

if __name__ == "__main__":
    code = main(["read", *sys.argv[1:]])
    status = Path("/proc/self/status").read_text().splitlines()
    print(next(line for line in status if line.startswith("VmHWM:")), file=sys.stderr)
    sys.exit(code)
