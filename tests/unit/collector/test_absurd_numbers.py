"""What one agent declares, however absurd, must not close the lists in which all the others stand."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

from fieldwatch_collector.ingest.checks import MAX_COUNT
from fieldwatch_collector.projections.batch import MAX_TOTAL
from fieldwatch_collector.services import open_services
from fieldwatch_proto.schema import Kind
from support.collector import flow, sighting
from support.filled_store import agent_id, fill
from unit.collector.test_collector_projector import IPS, Site

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


def test_an_agents_absurd_counts_spoil_no_batch_of_another(tmp_path: Path) -> None:
    """Sums of a device, of its sightings and of its flows end at a bound: what is honest is projected after all."""
    absurd = {"bytes": 1 << 63, "reply_bytes": 1 << 63}
    site = Site(tmp_path / "db")
    site.store.attach(site.projector)
    site.put(
        1,
        [
            (Kind.SIGHTING, [sighting(0, IPS[0]), sighting(1, IPS[1])]),
            (Kind.FLOW, [flow(IPS[0], IPS[1], **absurd)] * 16_000),
            (Kind.FLOW, [flow(IPS[0], IPS[1], **absurd)] * 16_000),
            (Kind.SIGHTING, [sighting(0, IPS[0], frames=1 << 63)] * 20_000),
            (Kind.FLOW, [flow(IPS[0], IPS[1])]),
            (Kind.SIGHTING, [sighting(0, IPS[0])]),
        ],
    )
    site.catch_up()
    dead = site.ask("SELECT position, problem FROM dead_letter")
    devices = site.ask("SELECT bytes, flows FROM device")
    frames = site.ask("SELECT max(frames), typeof(max(frames)) FROM sighting")
    site.store.close()
    again = Site(tmp_path / "db")
    again.store.attach(again.projector)
    again.put(7, [(Kind.SIGHTING, [sighting(0, IPS[0])])])
    again.catch_up()
    dead += again.ask("SELECT position, problem FROM dead_letter")
    again.store.close()

    assert dead == []
    assert devices == [(MAX_TOTAL, 32_001)] * 2
    assert frames == [(MAX_TOTAL, "integer")]
