"""Events, agents, sites and the state of the collector."""

from __future__ import annotations

import json
import sqlite3
from typing import Any

import pytest
from fieldwatch_collector.read_model import ReadModel
from fieldwatch_collector.store import BatchItem
from fieldwatch_collector.store.batch_log import put_items
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_proto.schema import ClockQuality, time_text
from support.asking import NOW_NS, SECOND_NS, walk
from support.filled_store import Filling, agent_id


def test_events_come_newest_first_in_pages_by_type_and_site(model: ReadModel, filled: Filling) -> None:
    """A prefix ends in a dot; an exact type does not match a longer one."""
    every = walk(model.list_events, 7)
    sequence = [event["seq"] for event in every]

    assert sequence == sorted(sequence, reverse=True)
    assert len(every) == filled.events
    assert {event["type"] for event in model.list_events(types=["agent."])["results"]} == {"agent.connected"}
    assert model.list_events(types=["agent"])["results"] == []
    assert {event["site"] for event in model.list_events(types=["device.", "agent."], site="hq")["results"]} == {"hq"}


def test_the_history_of_the_hub_is_in_order(model: ReadModel, filled: Filling) -> None:
    """Numbers rise from the one that was given."""
    assert [event["seq"] for event in model.events_after(3, 4)] == [4, 5, 6, 7]
    assert model.events_after(filled.events, 10) == []


def test_an_agent_shows_its_heartbeat_and_what_the_collector_holds(store: SqliteStore, model: ReadModel) -> None:
    """Counters as protobuf's JSON writes them (64-bit numbers as text), records stored and lost from the log."""

    def write(connection: sqlite3.Connection) -> None:
        for seq, records in ((1, 100), (2, 50)):
            put_items(connection, agent_id(1), [BatchItem(1, seq, 1, 1, 1, records, 1, 0, 0, b"", b"")])
        connection.execute(
            "INSERT INTO gap(agent, epoch, from_seq, to_seq, records, frames, reason, count_known, ts_ns, detail,"
            " received_ns) VALUES(?, 1, 3, 4, '{\"1\": 7, \"3\": 2}', 11, 1, 1, 0, '', 0)",
            (agent_id(1),),
        )

    store.transact_sync(write)
    agents = {agent["name"]: agent for agent in model.list_agents()["results"]}

    assert [agents[name]["state"] for name in ("pi-hq", "pi-branch")] == ["online", "offline"]
    branch = agents["pi-branch"]
    assert (branch["records_stored"], branch["records_lost"], branch["frames_lost"]) == (150, 9, 11)
    assert (branch["frames_seen"], branch["frames_dropped"]) == (1_284_333, 17)
    assert branch["spool_oldest"] == time_text(NOW_NS - 300 * SECOND_NS)
    assert agents["pi-hq"]["spool_oldest"] == ""
    assert branch["interfaces"] == [{"name": "eth0", "frames": 1_284_333, "dropped": 17, "up": True}]
    assert [agent["name"] for agent in model.list_agents(site="hq")["results"]] == ["pi-hq"]


@pytest.mark.parametrize(
    ("said", "offset_ns", "clock", "moved_by", "doubt"),
    [
        (ClockQuality.NTP, 3 * SECOND_NS, "synced", 0, ""),
        (ClockQuality.NTP, 3_600 * SECOND_NS, "corrected", 3_600, "corrected"),
        (ClockQuality.UNSYNCED, SECOND_NS // 2, "unsynced", 0, ""),
        (ClockQuality.UNSYNCED, -600 * SECOND_NS, "corrected", -600, "corrected"),
        (ClockQuality.UNSYNCED, 0, "unsynced", 0, "unsynced"),  # it never heard ours
        (ClockQuality.UNKNOWN, 0, "", 0, ""),
        (99, 0, "", 0, ""),
    ],
)
def test_the_clock_of_an_agent_is_told_and_what_waits_is_dated_by_ours(
    store: SqliteStore, model: ReadModel, said: int, offset_ns: int, clock: str, moved_by: int, doubt: str
) -> None:
    """As the times of its records would be taken; a time in doubt is never later than the heartbeat that told it."""
    told_ns = NOW_NS - 7_200 * SECOND_NS
    status = {"clock_quality": said, "clock_offset_ns": str(offset_ns), "spool_oldest_ns": str(told_ns)}

    def shown(last_contact_ns: int) -> dict[str, Any]:
        store.transact_sync(
            lambda connection: connection.execute(
                "UPDATE agent SET status = ?, last_contact_ns = ? WHERE site = 'hq'",
                (json.dumps(status), last_contact_ns),
            )
        )
        return model.list_agents(site="hq")["results"][0]

    agent, heard_before = shown(NOW_NS), shown(told_ns - SECOND_NS)

    assert (agent["clock"], agent["spool_oldest_clock"], agent["clock_offset_ns"]) == (clock, doubt, offset_ns)
    assert agent["spool_oldest"] == time_text(told_ns + moved_by * SECOND_NS)
    later = moved_by >= 0 and doubt
    assert heard_before["spool_oldest"] == (time_text(told_ns - SECOND_NS) if later else agent["spool_oldest"])


def test_the_state_of_an_agent_follows_its_last_contact(store: SqliteStore, model: ReadModel) -> None:
    """never, online within 30 s, offline after or when it said goodbye, revoked whatever it says."""
    states = []
    for last, revoked, status in (
        (None, None, "{}"),
        (NOW_NS - 29 * SECOND_NS, None, "{}"),
        (NOW_NS - 29 * SECOND_NS, None, '{"state": "capturing"}'),
        (NOW_NS - 29 * SECOND_NS, None, '{"state": "stopping"}'),
        (NOW_NS - 30 * SECOND_NS, None, "{}"),
        (NOW_NS, 1, "{}"),
    ):
        store.transact_sync(
            lambda connection, last=last, revoked=revoked, status=status: (
                connection.execute(
                    "UPDATE agent SET last_contact_ns = ?, revoked_ns = ?, status = ? WHERE site = 'hq'",
                    (last, revoked, status),
                ).rowcount
            )
        )
        states.append(model.list_agents(site="hq")["results"][0]["state"])

    assert states == ["never", "online", "online", "offline", "offline", "revoked"]


def test_sites_and_status_count_what_is_there(model: ReadModel, filled: Filling) -> None:
    """One look at everything."""
    status = model.status()

    assert model.list_sites()["results"] == [
        {"name": "branch", "agents": 1, "devices": 20},
        {"name": "hq", "agents": 1, "devices": 20},
    ]
    assert {key: status[key] for key in ("devices", "flows", "events", "sites", "agents")} == {
        "devices": 40,
        "flows": 600,
        "events": filled.events,
        "sites": 2,
        "agents": {"online": 1, "offline": 1, "never": 0, "revoked": 0},
    }


def test_an_empty_collector_has_answers_too(store: SqliteStore) -> None:
    """Before the first agent everything is empty, nothing fails."""
    model = ReadModel(store, lambda: NOW_NS)

    assert model.list_devices() == {"results": [], "next": "", "count": 0}
    assert model.list_flows() == {"results": [], "next": ""}
    assert model.top_flows() == {"results": [], "total_bytes": 0}
    assert model.flow_series()["series"] == []
    assert model.list_events() == {"results": [], "next": ""}
    assert model.list_agents() == {"results": []}
    assert model.list_sites() == {"results": []}
    assert model.status()["devices"] == 0
