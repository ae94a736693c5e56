"""JSON of strangers: what is kept can be written again, by every way out."""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from fieldwatch_collector.foreign_json import MAX_DEPTH, json_object
from fieldwatch_collector.services import Services, open_services
from fieldwatch_collector.store import BatchItem
from fieldwatch_proto.api_token import ApiToken
from fieldwatch_proto.columns import seal
from fieldwatch_proto.records import records_of
from fieldwatch_proto.schema import AGENT_METRICS, Kind
from support.filled_store import agent_id, fill
from support.http_server import running
from support.stack import wait_for


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('{"a": [1, -2.5, null, "\\ud83d\\ude00"]}', {"a": [1, -2.5, None, "\N{GRINNING FACE}"]}),
        (b'{"a": 1}', {"a": 1}),
        ('{"a": NaN}', None),
        ('{"a": 1e999}', None),
        ('{"a": "\\ud800"}', None),
        ('{"\\udfff": 1}', None),
        (b'{"a": "\xff"}', None),
        (nested(MAX_DEPTH), json.loads(nested(MAX_DEPTH))),
        (nested(MAX_DEPTH + 1), None),
        ("[" * 4_000, None),
        ("[]", None),
        ("", None),
    ],
)
def test_an_object_or_nothing(text: str | bytes, found: dict[str, Any] | None) -> None:
    assert found == json_object(text)


def put_events(services: Services, data: tuple[str, ...]) -> None:
    """One batch with an event for each text, through the store and the projections."""
    services.store.transact_sync(lambda connection: fill(connection, time.time_ns(), devices=1, flows=0, sites=("hq",)))
    rows = [{"ts_ns": 1, "type": "odd", "severity": "info", "subject": "s", "data": text} for text in data]
    batch = seal(records_of(Kind.EVENT, rows))
    item = BatchItem(1, 1, int(Kind.EVENT), 1, 1, batch.records, batch.raw_bytes, 0, 9, batch.digest, batch.body)
    services.store.attach(services.projector)
    asyncio.run(services.store.put(agent_id(0), [item]))
    wait_for(lambda: services.projector.position >= 1, "the events are in the journal")


def test_an_agents_events_never_close_the_list_of_events(tmp_path: Path) -> None:
    """What cannot be written as JSON is kept as the text that it was."""
    odd = ('{"a": "\\ud800"}', '{"a": NaN}', nested(400))
    with open_services(tmp_path) as services, running(services) as url:
        bearer = ApiToken.parse(services.accounts.create_api_token("v", "viewer", services.authority.ca_der)).bearer
        put_events(services, odd)
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {bearer}"}, timeout=20) as client:
            answer = client.get("/api/v1/events", params={"types": "agent.odd"})

    assert 200 == answer.status_code
    assert [{"text": text} for text in reversed(odd)] == [
        {"text": one["data"]["text"]} for one in answer.json()["results"]
    ]


def test_an_agents_labels_never_close_the_page_of_metrics(tmp_path: Path) -> None:
    """A label that no text can hold is passed over; those of the others are there."""

    def measure(connection: sqlite3.Connection) -> None:
        fill(connection, time.time_ns(), devices=1, flows=0, sites=("hq",))
        name = next(iter(AGENT_METRICS))
        connection.executemany(
            "INSERT INTO metric(agent, name, labels, total, ts_ns) VALUES(?, ?, ?, 7, 1)",
            [(agent_id(0), name, '{"interface": "\\ud800"}'), (agent_id(0), name, '{"interface": "sound0"}')],
        )

    with open_services(tmp_path) as services, running(services) as url:
        bearer = ApiToken.parse(services.accounts.create_api_token("v", "viewer", services.authority.ca_der)).bearer
        services.store.transact_sync(measure)
        answer = httpx.get(f"{url}/metrics", headers={"Authorization": f"Bearer {bearer}"}, timeout=20)

    assert 200 == answer.status_code
    assert 'interface="sound0"' in answer.text
