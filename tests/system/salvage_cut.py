"""What runs on the watched disk for `test_b07`: a spool whose file gets damaged, and the salvage of it.

``python -m system.salvage_cut FOLDER``. Once the damage is on disk, all that waits is promised in a line of the file
``promises`` beside the data, which stands in the log of the disk among the operations that it is about.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from fieldwatch_agent.spool.file import FILE_NAME
from fieldwatch_agent.spool.items import Loss
from fieldwatch_agent.spool.store import Store
from fieldwatch_proto.v1.agent_pb2 import GapReason
from support.spooling import WIDE, put

from system.power_cut import Promises

BATCHES, ACKED, LOST_FRAMES = 30, 4, 7
FRESH = BATCHES + 1  # what is sealed after the salvage
SCHEMA_ROOT = slice(100, 108)  # the head of the b-tree page that names all tables: fileformat2.html, 1.6


def main(folder: Path) -> None:
    promises = Promises(folder)
    store = Store(folder, WIDE)
    for number in range(1, BATCHES + 1):
        store.commit([put(number, octets=700)])
    store.commit([], [Loss(GapReason.KERNEL_DROP, LOST_FRAMES, detail="eth0")])
    store.ack(store.current.epoch, ACKED)
    store.close(clean=True)

    fd = os.open(folder / FILE_NAME, os.O_WRONLY)
    os.pwrite(fd, b"\xff" * (SCHEMA_ROOT.stop - SCHEMA_ROOT.start), SCHEMA_ROOT.start)
    os.fsync(fd)
    os.close(fd)
    promises.add(damaged=True)

    salvaged = Store(folder, WIDE)
    assert salvaged.salvaged is not None
    salvaged.commit([put(FRESH)])
    promises.add(fresh=True)
    salvaged.close(clean=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
