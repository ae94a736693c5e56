"""A real agent's spool and shipper in the test's own process, enrolled at a real collector; batches of real records."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fieldwatch_agent.enrolment.identity import load_identity
from fieldwatch_agent.shipper.shipper import KEEPALIVE_S, KEEPALIVE_TIMEOUT_S, Shipper, open_channel
from fieldwatch_agent.spool.items import Put
from fieldwatch_agent.spool.limits import Limits
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_proto.columns import Sealed
from fieldwatch_proto.schema import Kind

from support.collector import fact, flow, sealed
from support.spooling import WIDE
from support.stack import Agent, Collector

FLOW_FRAMES = 15  # of a row of `support.collector.flow`
COMMIT_PUTS = 512


@functools.lru_cache(maxsize=512)
def _flows(number: int, records: int) -> Sealed:
    rows = [
        flow(
            bytes([10, number >> 8 & 0xFF, number & 0xFF, row & 0xFF]),
            bytes([192, 0, 2, row & 0xFF]),
            src_port=1024 + row,
            first_ns=number * 1_000,
            last_ns=number * 1_000 + row,
        )
        for row in range(records)
    ]
    return sealed(Kind.FLOW, rows)


def flows(number: int, records: int = 20) -> Put:
    """A batch of flow records that no other number has."""
    return Put(_flows(number, records), FLOW_FRAMES * records)


def facts(number: int) -> Put:
    """A batch of one fact, of its own device."""
    subject = f"00:de:ad:{number >> 16 & 0xFF:02x}:{number >> 8 & 0xFF:02x}:{number & 0xFF:02x}"
    return Put(sealed(Kind.FACT, [fact(subject, "hostname", f"host{number}", "dhcp")]), 0)


def fill(folder: Path, puts: Iterable[Put], limits: Limits = WIDE) -> int:
    """Put batches into the spool of an agent that does not run, many a transaction; the records that were put."""
    store = Store(folder, limits)
    records = 0
    some: list[Put] = []
    for put in puts:
        some.append(put)
        records += put.sealed.records
        if len(some) == COMMIT_PUTS:
            store.commit(some)
            some = []
    store.commit(some)
    store.close(clean=True)
    return records


class Ship:
    """The spool's thread and the shipper of one agent; it goes on until the `with` block of `ship` ends."""

    def __init__(self, spool: SpoolThread, shipper: Shipper, agent_id: str) -> None:
        self.spool, self.shipper, self.agent_id = spool, shipper, agent_id

    def seal(self, put: Put) -> None:
        """A batch comes while it ships; on disk when this returns."""
        self.spool.put(put)
        assert self.spool.flush()

    @property
    def is_empty(self) -> bool:
        status = self.spool.call(Store.status)
        return status.batches + status.gaps == 0

    @property
    def is_connected(self) -> bool:
        return self.shipper.state == "connected"


@contextmanager
def ship(
    folder: Path,
    address: str,
    agent_id: str = "",
    *,
    keepalive: tuple[float, float] | None = None,
    retry_max_s: float = 0.2,
) -> Iterator[Ship]:
    """Ship what the folder's spool holds. `keepalive`: time between two pings, and for the answer."""
    keepalive_s, keepalive_timeout_s = keepalive or (KEEPALIVE_S, KEEPALIVE_TIMEOUT_S)
    spool = SpoolThread(folder, WIDE)
    spool.start()
    shipper = Shipper(
        spool,
        address,
        lambda patience_s: open_channel(folder, address, keepalive_timeout_s, keepalive_s),
        b"boot",
        retry_min_s=0.01,
        retry_max_s=retry_max_s,
    )
    spool.on_change = shipper.wake
    shipper.start()
    try:
        yield Ship(spool, shipper, agent_id)
    finally:
        shipper.stop()
        spool.close(clean=True)


def enrolled(collector: Collector, folder: Path) -> Agent:
    """An agent of that collector, which does not run yet."""
    agent = Agent(folder)
    agent.enrol(collector)
    return agent


def agent_id_of(agent: Agent) -> str:
    """The id that its certificate names."""
    identity = load_identity(agent.data)
    assert identity is not None
    return identity.agent_id


def stored_records(collector: Collector, agent_id: str, kind: Kind) -> int:
    """Records of a kind that are in the collector's log."""
    rows = collector.ask("SELECT coalesce(sum(records), 0) FROM batch WHERE agent=? AND kind=?", agent_id, int(kind))
    return int(rows[0][0])


def marks(collector: Collector, agent_id: str) -> list[tuple[int, str]]:
    """(high-water mark, ranges above it) of each of the agent's epochs."""
    return [
        (int(high), str(sparse))
        for high, sparse in collector.ask("SELECT high_water, sparse FROM stream WHERE agent=?", agent_id)
    ]
