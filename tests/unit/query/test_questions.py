"""Bad questions, times, indexes and speed: what holds for every list."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from fieldwatch_collector.read_model import BadRequest, NotFound, ReadModel
from fieldwatch_collector.store.sqlite import SqliteStore
from support.asking import HOUR_NS, NOW_NS, SECOND_NS
from support.cost import cpu_s
from support.filled_store import device_id, fill


@pytest.mark.parametrize(
    ("ask", "arguments", "words"),
    [
        ("list_devices", {"limit": 1_001}, "limit: 1001 is outside"),
        ("list_devices", {"limit": -1}, "limit: -1"),
        ("list_devices", {"ordering": "password"}, "ordering: 'password' is none of name"),
        ("list_devices", {"ordering": "--name"}, "ordering"),
        ("list_devices", {"cursor": "!!"}, "cursor: not one that this collector gave"),
        ("list_devices", {"cursor": "e30"}, "cursor"),
        ("list_devices", {"cursor": "W1tdLDEsMl0"}, "cursor"),
        ("list_devices", {"cursor": "x" * 5_000}, "cursor"),
        ("list_devices", {"q": "x" * 501}, "q: 501 characters"),
        ("list_devices", {"q": "\ud800"}, "q: the text is not valid Unicode"),
        ("list_devices", {"since": "yesterday"}, "since: 'yesterday' is no time"),
        ("list_devices", {"since": "2026-13-01T00:00:00Z"}, "is no time"),
        ("list_devices", {"since": "9999-01-01T00:00:00Z"}, "is no time"),
        ("list_flows", {"until": "1w"}, "until: '1w' is no time"),
        ("list_flows", {"ip": "10.0.0"}, "ip: '10.0.0' is no IP address"),
        ("list_flows", {"port": 70_000}, "port: 70000"),
        ("list_flows", {"protocol": "tpc"}, "protocol: 'tpc' is no IP protocol"),
        ("list_flows", {"ordering": "src"}, "ordering"),
        ("top_flows", {"by": "mac"}, "by: 'mac' is none of device, ip"),
        ("flow_series", {"since": "1d", "step_s": 1}, "step: 1 s would make 86400 points"),
        ("flow_series", {"since": "1h", "until": "2h"}, "since: .* is after until"),
        ("list_events", {"types": ["x"] * 51}, "types: 51"),
    ],
)
def test_a_bad_question_is_told_in_one_line(model: ReadModel, ask: str, arguments: dict[str, Any], words: str) -> None:
    """What was seen and what is accepted."""
    with pytest.raises(BadRequest, match=words) as raised:
        getattr(model, ask)(**arguments)

    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "ask", ["list_devices", "list_flows", "top_flows", "flow_series", "list_events", "list_agents", "require_site"]
)
def test_a_site_that_there_is_not_is_told(model: ReadModel, ask: str) -> None:
    """A slip of the pen must not look like an empty network: the nearest name, else what there is."""
    arguments = {"since": "1h"} if ask == "flow_series" else {}
    for site, hint in (("brnch", "did you mean branch?"), ("x", "there are: branch, hq")):
        with pytest.raises(NotFound) as raised:
            getattr(model, ask)(site=site, **arguments)

        assert str(raised.value) == f"site: no site is called {site!r}; {hint}"


def test_a_site_whose_agents_have_heard_nothing_is_one(store: SqliteStore, model: ReadModel) -> None:
    """No device, and no agent in force: an empty list is the truth."""
    store.transact_sync(
        lambda connection: connection.execute(
            "INSERT INTO agent(id, name, site, enrolled_ns, serial, csr_digest, version, revoked_ns)"
            " VALUES('a', 'a', 'new', 1, '', x'', '', 2)"
        )
    )

    assert model.list_devices(site="new") == {"results": [], "next": "", "count": 0}


def test_a_device_that_there_is_not_is_told(store: SqliteStore, model: ReadModel) -> None:
    """By its name or address the id is offered; a device without flows has none."""
    device = model.list_devices(q="nas-5")["results"][0]
    for text, hint in (("nas-5", f"; did you mean {device['id']} (nas-5)?"), ("x" * 26, "")):
        with pytest.raises(NotFound) as raised:
            model.list_flows(device=text)

        assert str(raised.value) == f"device: no device has the id {text!r}{hint}"
    store.transact_sync(lambda connection: connection.execute("DELETE FROM flow"))
    assert model.list_flows(device=device["id"])["results"] == []


def test_a_cursor_belongs_to_its_ordering(model: ReadModel) -> None:
    """A page of another order would be nonsense that looks right."""
    cursor = model.list_devices(ordering="name", limit=5)["next"]
    with pytest.raises(BadRequest, match="it belongs to the ordering 'name'"):
        model.list_devices(ordering="-flows", cursor=cursor)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("90s", NOW_NS - 90 * SECOND_NS),
        ("30m", NOW_NS - 1_800 * SECOND_NS),
        ("2d", NOW_NS - 48 * HOUR_NS),
        ("1970-01-01T00:00:01Z", SECOND_NS),
        ("2027-01-15T08:00:00.000000001Z", NOW_NS + 1),
        ("2027-01-15T10:00:00.5+02:00", NOW_NS + 500_000_000),
        ("2027-01-15t08:00:00z", NOW_NS),
    ],
)
def test_times_are_ages_or_rfc_3339(text: str, ns: int) -> None:
    """Nanoseconds are kept, offsets are taken into account."""
    from fieldwatch_collector.read_model.asking import when

    assert when(text, NOW_NS) == ns


@contextmanager
def explained(store: SqliteStore) -> Iterator[list[str]]:
    """The plans of every statement that runs within."""
    plans: list[str] = []
    seen: list[str] = []
    with store.reader() as connection:
        connection.set_trace_callback(seen.append)
        store_reader, store.reader = store.reader, lambda: _same(connection)  # type: ignore[method-assign]
        try:
            yield plans
        finally:
            store.reader = store_reader  # type: ignore[method-assign]
            connection.set_trace_callback(None)
            for statement in seen:
                if statement.startswith("SELECT"):
                    plans += [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}")]


@contextmanager
def _same(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    yield connection


def test_frequent_questions_use_their_indexes(store: SqliteStore, model: ReadModel) -> None:
    """The default lists walk an index and sort nothing; a device's parts are found by key."""
    with explained(store) as lists:
        model.list_devices()
        model.list_flows(since="1h")
        model.list_events()
    with explained(store) as one:
        model.get_device(device_id(3))
    with explained(store) as fleet:
        model.list_agents()
        model.status()

    assert [plan for plan in lists if "TEMP B-TREE" in plan] == []
    lists = [plan for plan in lists if "json_each" not in plan and "USING" not in plan]
    assert [plan for plan in lists if plan.startswith("SCAN")] == ["SCAN event"]  # by its number, from the end
    one = [plan for plan in one if "json_each" not in plan and "(subquery" not in plan]  # rows found before
    assert [plan for plan in one if plan.startswith("SCAN")] == []
    assert [plan for plan in fleet if "batch" in plan] == ["SEARCH batch"]  # its last position, and no sum over the log


def test_ten_thousand_devices_are_listed_at_once(store: SqliteStore) -> None:
    """A page, a deep page, and a search, each within a blink."""
    store.transact_sync(lambda connection: fill(connection, NOW_NS, devices=10_000, flows=0))
    model = ReadModel(store, lambda: NOW_NS)
    took_s: dict[str, float] = {}
    cursor = model.list_devices(limit=1_000)["next"]
    for name, arguments in (
        ("page", {}),
        ("deep", {"cursor": cursor}),
        ("name", {"ordering": "name"}),
        ("search", {"q": "printer-77"}),
        ("address", {"q": "10.20.0."}),
    ):
        took_s[name] = cpu_s(partial(model.list_devices, **arguments))

    assert {name: f"{seconds:.3f}" for name, seconds in took_s.items() if seconds > 0.15} == {}


def test_the_columns_of_hostile_agents_are_shown_not_trusted(store: SqliteStore, model: ReadModel) -> None:
    """Numbers that a newer agent may send (source, state) and odd names are shown as they are."""

    def write(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE sighting SET source = 99 WHERE source = 3")
        connection.execute("UPDATE flow SET state = 77, protocol = 253")
        connection.execute("UPDATE device SET name = ? WHERE id = ?", ("\x1b[31m\u202e", device_id(0)))

    store.transact_sync(write)
    detail = model.get_device(device_id(0))

    assert detail is not None
    assert {address["source"] for address in detail["addresses"]} == {"99"}
    flow = model.list_flows(limit=1)["results"][0]
    assert (flow["state"], flow["protocol"]) == ("77", "253")
    assert json.loads(json.dumps(detail))["device"]["name"] == "\x1b[31m\u202e"
