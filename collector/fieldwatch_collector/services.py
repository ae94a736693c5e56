"""The parts of one collector, composed once and handed to whoever serves them.

`server` adds the running parts (event loop, listeners); commands without a server use `open_services` alone.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fieldwatch_collector.accounts import Accounts
from fieldwatch_collector.admin import AdminError
from fieldwatch_collector.commands import Commands
from fieldwatch_collector.config import CollectorConfig
from fieldwatch_collector.hub import Hub
from fieldwatch_collector.identity.authority import Authority
from fieldwatch_collector.identity.signing import ConfigSigner
from fieldwatch_collector.ingest.fleet import Fleet
from fieldwatch_collector.projections import Projector
from fieldwatch_collector.read_model import ReadModel
from fieldwatch_collector.store import StoreError
from fieldwatch_collector.store.sqlite import SqliteStore


@dataclass(frozen=True)
class Services:
    """`fleet` holds the agents' open streams; it is empty where no server runs."""

    config: CollectorConfig
    data: Path
    store: SqliteStore
    hub: Hub
    read_model: ReadModel
    accounts: Accounts
    authority: Authority
    fleet: Fleet
    commands: Commands
    projector: Projector


def make_data_folder(data: Path) -> None:
    """The data folder, closed to others. Raises AdminError."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        if data.stat().st_uid == os.geteuid():
            data.chmod(0o700)
    except OSError as problem:
        raise AdminError(f"{data}: cannot be made: {problem.strerror}; give another folder with --data") from None
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        raise AdminError(f"{data}: not writable for this user; give another folder with --data, or change its owner")


@contextlib.contextmanager
def open_services(data: Path, config: CollectorConfig | None = None) -> Iterator[Services]:
    """Everything on a data folder whose lock the caller holds; makes what is not there yet. Closes the store behind it.

    Raises AdminError, StoreError.
    """
    config = config or CollectorConfig(data=str(data))
    try:
        authority = Authority.open(data)
    except (OSError, ValueError) as problem:
        raise AdminError(f"{data / 'pki'}: the CA cannot be opened: {problem}") from None
    store = SqliteStore(config.database, config.limits.min_free_bytes, config.limits.cache_bytes)
    try:
        store.migrate()
        read_model = ReadModel(store)
        hub = Hub(history=read_model.events_after)
        projector = Projector(hub.publish, hub.publish_transient, config.network.prefixes())
        yield Services(
            config=config,
            data=data,
            store=store,
            hub=hub,
            read_model=read_model,
            accounts=Accounts(store),
            authority=authority,
            fleet=Fleet(),
            commands=Commands(store, hub, data, config.commands, ConfigSigner(authority)),
            projector=projector,
        )
    finally:
        with contextlib.suppress(StoreError):
            store.close()
