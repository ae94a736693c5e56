"""Flow records: pages and filters, checked against plain SQL."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fieldwatch_collector.read_model import ReadModel
from fieldwatch_proto.schema import time_text
from support.asking import HOUR_NS, NOW_NS, walk
from support.filled_store import device_id


@pytest.mark.parametrize("ordering", ["", "last_seen", "-bytes", "bytes", "-packets", "first_seen", "-retransmits"])
def test_pages_hold_every_flow_once_whatever_the_order(model: ReadModel, ordering: str) -> None:
    """As for devices."""
    whole = model.list_flows(ordering=ordering, limit=1_000)["results"]

    assert walk(model.list_flows, 97, ordering=ordering) == whole
    assert len(whole) == 600


@pytest.mark.parametrize(
    ("arguments", "condition"),
    [
        ({"site": "hq"}, "site = 'hq'"),
        ({"device": device_id(0)}, f"'{device_id(0)}' IN (src_device, dst_device)"),
        ({"ip": "10.0.0.1"}, "x'0a000001' IN (src, dst)"),
        ({"port": 53}, "53 IN (src_port, dst_port)"),
        ({"protocol": "udp"}, "protocol = 17"),
        ({"protocol": "17"}, "protocol = 17"),
        ({"application": "dns"}, "application = 'dns'"),
        ({"since": "1h"}, f"last_ns >= {NOW_NS - HOUR_NS}"),
        ({"until": "1h"}, f"first_ns < {NOW_NS - HOUR_NS}"),
        (
            {"since": "2h", "until": time_text(NOW_NS - HOUR_NS), "protocol": "tcp"},
            f"last_ns >= {NOW_NS - 2 * HOUR_NS} AND first_ns < {NOW_NS - HOUR_NS} AND protocol = 6",
        ),
    ],
)
def test_flows_are_selected_by_each_filter(
    model: ReadModel, rows: Callable[..., list[Any]], arguments: dict[str, Any], condition: str
) -> None:
    """The same number and bytes as plain SQL finds; none of the filters finds nothing."""
    expected = rows(f"SELECT count(*) AS n, sum(bytes) AS b FROM flow WHERE {condition}")[0]
    found = model.list_flows(limit=1_000, **arguments)["results"]

    assert (len(found), sum(flow["bytes"] for flow in found)) == (expected["n"], expected["b"])
    assert found


def test_a_flow_reads_as_people_write_it(model: ReadModel, rows: Callable[..., list[Any]]) -> None:
    """Keywords, letters and times instead of numbers."""
    row = rows("SELECT * FROM flow WHERE application = 'smb' ORDER BY last_ns DESC LIMIT 1")[0]
    flow = model.list_flows(application="smb", limit=1)["results"][0]

    assert (flow["protocol"], flow["dst_port"], flow["tcp_flags"], flow["state"]) == ("tcp", 445, "SAPF", "closed")
    assert (flow["first_seen"], flow["last_seen"]) == (time_text(row["first_ns"]), time_text(row["last_ns"]))
    names = {one["id"]: one["name"] for one in rows("SELECT id, name FROM device")}
    assert (flow["src_name"], flow["dst_name"]) == (names[row["src_device"]], names.get(row["dst_device"], ""))


def test_a_round_trip_that_is_not_known_is_none(model: ReadModel, rows: Callable[..., list[Any]]) -> None:
    """0 in the table stands for it; retransmissions are counts, and 0 is one."""
    ends = ("retransmits", "reply_retransmits", "server_rtt_us", "client_rtt_us")
    row = rows("SELECT * FROM flow WHERE application = 'ssh' ORDER BY last_ns DESC LIMIT 1")[0]
    ssh = model.list_flows(application="ssh", limit=1)["results"][0]
    dns = model.list_flows(application="dns", limit=1)["results"][0]

    assert row["server_rtt_us"] > 0
    assert [row["retransmits"], row["reply_retransmits"], row["server_rtt_us"], None] == [ssh[end] for end in ends]
    assert [0, 0, None, None] == [dns[end] for end in ends]


def test_flows_are_ordered_by_the_retransmissions_of_both_sides(
    model: ReadModel, rows: Callable[..., list[Any]]
) -> None:
    """The worst first, as plain SQL has it."""
    expected = [row["n"] for row in rows("SELECT retransmits + reply_retransmits AS n FROM flow ORDER BY n DESC")]
    found = model.list_flows(ordering="-retransmits", limit=1_000)["results"]

    assert expected == [flow["retransmits"] + flow["reply_retransmits"] for flow in found]
    assert expected[0] > expected[-1] == 0
