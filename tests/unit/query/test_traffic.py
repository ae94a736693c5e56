"""Top talkers and series: the sums that plain Python makes of the same flows."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from fieldwatch_collector.read_model import ReadModel, flows
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_proto.schema import time_text
from support.asking import HOUR_NS, NOW_NS, SECOND_NS


def oracle(rows: Callable[..., list[Any]], keys: Callable[[Any], set[str]]) -> dict[str, int]:
    """Bytes per key, added up in Python."""
    sums: dict[str, int] = {}
    for row in rows("SELECT * FROM flow"):
        for key in keys(row):
            sums[key] = sums.get(key, 0) + row["bytes"] + row["reply_bytes"]
    return sums


@pytest.mark.parametrize(
    ("by", "keys"),
    [
        ("device", lambda row: {row["src_device"], row["dst_device"]} - {""}),
        ("application", lambda row: {row["application"]}),
        ("protocol", lambda row: {{6: "tcp", 17: "udp"}[row["protocol"]]}),
        ("port", lambda row: {f"{ {6: 'tcp', 17: 'udp'}[row['protocol']] }/{row['dst_port']}".replace(" ", "")}),
        ("ip", lambda row: {flows.ip_text(row["src"]), flows.ip_text(row["dst"])}),
        (
            "pair",
            lambda row: {" ".join(map(flows.ip_text, sorted((row["src"], row["dst"]))))},
        ),
    ],
)
def test_top_adds_up_what_plain_python_does(
    model: ReadModel, rows: Callable[..., list[Any]], by: str, keys: Callable[[Any], set[str]]
) -> None:
    """Every key with its bytes, the largest first; a flow counts once for each of its ends, and once in the total."""
    expected = oracle(rows, keys)
    answer = model.top_flows(by=by, limit=1_000)
    total = rows("SELECT sum(bytes + reply_bytes) AS total FROM flow")[0]["total"]

    assert {row["key"]: row["bytes"] for row in answer["results"]} == expected
    assert [row["bytes"] for row in answer["results"]] == sorted(expected.values(), reverse=True)
    assert answer["total_bytes"] == total
    assert len(model.top_flows(by=by)["results"]) == min(10, len(expected))


def test_top_devices_are_labelled_by_name_or_address(model: ReadModel) -> None:
    """A person sees no id where anything better is known."""
    labels = {row["key"]: row["label"] for row in model.top_flows(limit=1_000)["results"]}
    known = {device["id"]: device for device in model.list_devices(limit=1_000)["results"]}

    assert labels == {key: known[key]["name"] or known[key]["ips"][0] for key in labels}


def test_top_counts_only_the_time_that_was_asked_for(model: ReadModel, rows: Callable[..., list[Any]]) -> None:
    """since and until as in the list of flows."""
    within = rows("SELECT sum(bytes + reply_bytes) AS total FROM flow WHERE last_ns >= ?", NOW_NS - HOUR_NS)[0]["total"]

    assert model.top_flows(since="1h")["total_bytes"] == within


@pytest.mark.parametrize("by", ["application", "protocol", "port", "pair"])
def test_a_series_loses_no_byte(model: ReadModel, rows: Callable[..., list[Any]], by: str) -> None:
    """All buckets of all series together are the bytes of all flows, whose first octet is within."""
    since = rows("SELECT min(first_ns) AS first_ns FROM flow")[0]["first_ns"]
    where = "protocol IN (6, 17)" if by == "port" else "true"
    total = rows(f"SELECT sum(bytes + reply_bytes) AS total FROM flow WHERE {where}")[0]["total"]
    answer = model.flow_series(by=by, since=time_text(since), until=time_text(NOW_NS + SECOND_NS), limit=3)

    assert sum(sum(series["values"]) for series in answer["series"]) == total
    assert len({len(series["values"]) for series in answer["series"]}) == 1
    assert len(answer["series"]) <= 4


def test_a_flow_is_spread_over_the_buckets_in_which_it_lived(store: SqliteStore) -> None:
    """1,000 octets over 4 buckets; what lies outside the time asked for is left out; the rest has its own series."""

    def write(connection: sqlite3.Connection) -> None:
        for application, born, died, octets in (("dns", 5, 44, 1_000), ("https", 10, 10, 77), ("ssh", 0, 0, 5)):
            connection.execute(
                "INSERT INTO flow(site, agent, first_ns, last_ns, protocol, src, dst, src_port, dst_port, vlans,"
                " src_mac, dst_mac, packets, bytes, reply_packets, reply_bytes, tcp_flags, state, end_reason, tunnels,"
                " application, interface, src_device, dst_device) VALUES('hq', 'a', ?, ?, 17, x'01020304', x'01020305',"
                " 1, 2, 0, x'', x'', 1, ?, 0, 0, 0, 0, 1, '', ?, '', '', '')",
                (NOW_NS + born * SECOND_NS, NOW_NS + died * SECOND_NS, octets, application),
            )

    store.transact_sync(write)
    model = ReadModel(store, lambda: NOW_NS)
    answer = model.flow_series(
        since=time_text(NOW_NS + 10 * SECOND_NS), until=time_text(NOW_NS + 40 * SECOND_NS), step_s=10, limit=1
    )

    assert answer == {
        "step_s": 10,
        "start": time_text(NOW_NS + 10 * SECOND_NS),
        "series": [
            {"key": "dns", "label": "dns", "values": [200, 200, 200]},
            {"key": "other", "label": "other", "values": [77, 0, 0]},
        ],
    }


def test_a_flow_that_ends_before_it_began_counts_once(store: SqliteStore) -> None:
    """Its agent's clock was set back: the question is answered, with the flow in the bucket of its start."""
    born_ns = NOW_NS - HOUR_NS
    store.transact_sync(
        lambda connection: (
            connection.execute(
                "INSERT INTO flow VALUES(1, 'hq', 'a', ?, ?, 6, x'0a000001', x'0a000002', 5, 80, 0, x'', x'', 1, 70, 1,"
                " 30, 0, 0, 0, '', 'http', 'eth0', '', '', 0, 0, 0, 0, 0)",
                (born_ns, born_ns - 600 * SECOND_NS),
            ).rowcount
        )
    )
    series = ReadModel(store, lambda: NOW_NS).flow_series(since="2h", step_s=60)["series"]

    assert [(one["key"], sum(one["values"])) for one in series if any(one["values"])] == [("http", 100)]


def test_a_series_without_times_shows_the_time_of_the_flows(model: ReadModel) -> None:
    """A replayed capture of years ago is shown in its own time, in at most 240 steps or so."""
    answer = model.flow_series()

    assert answer["series"]
    assert 100 <= len(answer["series"][0]["values"]) <= 242
    assert any(answer["series"][0]["values"])
