"""What one agent declares, however absurd, must not close the lists in which all the others stand."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from fieldwatch_collector.ingest.checks import MAX_COUNT
from fieldwatch_collector.services import open_services
from support.filled_store import agent_id, fill

ABSURD = 1_100  # of the largest gaps: their sum has more than 63 bits
LARGEST_SUM = (1 << 63) - 1


def test_losses_beyond_63_bits_are_told_as_the_largest_number(tmp_path: Path) -> None:
    """The fleet, one agent and the status of the collector; an honest agent's sum stays exact."""

    def lose(connection: sqlite3.Connection) -> None:
        gaps = [(agent_id(0), seq, MAX_COUNT, f'{{"1": {MAX_COUNT}}}') for seq in range(1, ABSURD + 1)]
        connection.execute("DELETE FROM gap")
        connection.executemany(
            "INSERT INTO gap(agent, epoch, from_seq, to_seq, records, frames, reason, count_known, ts_ns, detail,"
            " received_ns) VALUES(?1, 1, ?2, ?2, ?4, ?3, 1, 1, 0, '', 0)",
            [*gaps, (agent_id(1), 1, 7, '{"1": 3, "2": 4}'), (agent_id(1), 2, 5, '{"1": 1}')],
        )

    with open_services(tmp_path) as services:
        services.store.transact_sync(
            lambda connection: fill(connection, time.time_ns(), devices=1, flows=0, sites=("hq", "lab"))
        )
        services.store.transact_sync(lose)
        agents = {agent["id"]: agent for agent in services.read_model.list_agents()["results"]}
        status = services.read_model.status()

    assert (agents[agent_id(0)]["frames_lost"], agents[agent_id(0)]["records_lost"]) == (LARGEST_SUM, LARGEST_SUM)
    assert (agents[agent_id(1)]["frames_lost"], agents[agent_id(1)]["records_lost"]) == (12, 8)
    assert (status["frames_lost"], status["records_lost"]) == (LARGEST_SUM, LARGEST_SUM)


def test_octets_beyond_63_bits_are_told_as_the_largest_number(tmp_path: Path) -> None:
    """Of flows: the top list, and the series."""

    def swell(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE flow SET bytes = ?1, packets = ?1", (1 << 62,))

    with open_services(tmp_path) as services:
        services.store.transact_sync(lambda connection: fill(connection, time.time_ns(), devices=4, flows=50))
        services.store.transact_sync(swell)
        top = services.read_model.top_flows(by="protocol")
        series = services.read_model.flow_series(by="protocol")

    assert top["total_bytes"] == LARGEST_SUM
    assert sum(series["series"][0]["values"]) >= 1 << 62
