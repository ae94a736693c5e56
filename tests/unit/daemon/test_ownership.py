"""What root makes in a folder of the agent's user can be used by that user."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fieldwatch_agent.enrolment.identity import Credentials, Identity, store_identity
from fieldwatch_agent.ledger import Ledger
from fieldwatch_agent.spool import ballast
from fieldwatch_agent.spool.file import Lock, open_file

NOBODY = 65_534


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_files_made_by_root_belong_to_the_owner_of_the_folder(tmp_path: Path) -> None:
    """Lock, spool with its WAL, ballast, ledger and identity, as a run and an enrolment with sudo leave them."""
    folder = tmp_path / "agent"
    folder.mkdir(mode=0o700)
    os.chown(folder, NOBODY, NOBODY)
    Lock(folder).release()
    connection = open_file(folder)
    connection.execute("INSERT INTO meta VALUES ('key', 1)")
    ballast.make(folder)
    Ledger(folder, run=1).close()
    store_identity(folder, Identity("id", "home", "host", 7443, 7444, 0, 1), Credentials(b"key", b"cert", b"ca"))

    made = [path for path in folder.rglob("*") if not path.is_symlink()]
    owners = {path.name: (path.stat().st_uid, path.stat().st_gid) for path in made}
    connection.close()

    assert {"spool.lock", "spool.db", "spool.db-wal", "ballast", "ledger", "identity.1", "agent.key"} <= owners.keys()
    assert {(NOBODY, NOBODY)} == set(owners.values())
