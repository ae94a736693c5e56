"""Whose a file of the data folder is: what root makes in the folder of the agent's own user belongs to that user.

`sudo fieldwatch-agent enrol`, or one run as root to try something, would else leave a key, a lock or a ledger behind
that the service cannot open.
"""

from __future__ import annotations

import os
from pathlib import Path


def give(fd: int, folder: Path) -> None:
    """Give an open file, made a moment ago, to the owner of `folder`. Only root can, and only root needs to."""
    if os.geteuid() == 0:
        owner = folder.stat()
        os.fchown(fd, owner.st_uid, owner.st_gid)
