"""Agents of other versions: what they send is stored as it came, and what is known of it is projected."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_collector.admin import AdminError, run
from fieldwatch_proto.columns import open_body
from fieldwatch_proto.schema import CLOCK_COLUMNS, COLUMNS, SCHEMA_VERSION, Kind
from fieldwatch_proto.v1 import agent_pb2 as pb
from support import golden
from support.collector import Running, enrol, offline, running, talk


async def ingest(collector: Running, batches: Sequence[pb.Batch]) -> None:
    """All of it by one agent; projected when this returns."""
    identity = await enrol(collector)
    async with talk(collector, identity) as stream:
        await stream.hello((golden.EPOCH, 1, len(batches) + 1))
        await stream.send(*batches)
        await stream.acked(golden.EPOCH, len(batches))
    await collector.projected()


def test_the_golden_batches_of_this_schema_are_what_it_seals() -> None:
    """Another column is another schema id: raise SCHEMA_VERSION, and write its file (see `support.golden`)."""
    kept = golden.read(f"schema-{SCHEMA_VERSION}")

    assert [batch.kind for batch in kept] == [int(kind) for kind in Kind]
    for batch, made in zip(kept, golden.current(), strict=True):
        opened = open_body(Kind(batch.kind), batch.records, batch.raw_bytes, batch.body)
        assert {column.name for column in (*COLUMNS[Kind(batch.kind)], *CLOCK_COLUMNS)} == set(opened.columns)
        assert opened == open_body(Kind(made.kind), made.records, made.raw_bytes, made.body)
        assert batch.schema == SCHEMA_VERSION


async def test_row_25_newer_schema_is_stored_and_visible_raw(tmp_path: Path) -> None:
    """Unknown columns, one of an unknown type, an unknown kind: acked, kept to the octet, shown by `batch`; what is
    known of them is in the tables, and nothing is a dead letter."""
    batches = golden.read("schema-2-made-up")
    async with running(tmp_path / "data") as collector:
        await ingest(collector, batches)
        stored = collector.rows("SELECT seq, kind, schema, body FROM batch ORDER BY seq")
        dead = collector.rows("SELECT problem FROM dead_letter")
        tables = derived(collector)
    with offline(tmp_path / "data") as services:
        shown = [run(services, "store.batch", {"position": number + 1}) for number in range(len(batches))]
        with pytest.raises(AdminError, match="no batch at position 99"):
            run(services, "store.batch", {"position": 99})

    assert [(batch.seq, batch.kind, 2, batch.body) for batch in batches] == stored
    assert [] == dead
    assert EXPECTED == tables
    flows = shown[0]["columns"]
    assert {"type": "u32", "known": False, "values": [0, 1]} == flows["later_count"]
    assert {"type": "str", "known": False, "values": ["new", "new"]} == flows["later_text"]
    assert {"type": "u128", "known": False, "values": []} == flows["later_type"]
    assert {"type": "u32", "known": False, "values": []} == flows["later_encoding"]
    assert {"type": "u32", "known": True, "values": [3, 0]} == flows["retransmits"]
    assert {"type": "mac", "known": True, "values": ["00dead000001"] * 2} == flows["src_mac"]
    assert {"hops": {"type": "u8", "known": False, "values": [5]}} == shown[-1]["columns"]
    assert (golden.LATER_KIND, "") == (shown[-1]["kind"], shown[-1]["problem"])
    json.dumps(shown)  # all of it can be told


@pytest.mark.parametrize("name", [*golden.OLDER, *golden.FILES])
async def test_row_26_older_and_newer_agents_both_ingest(tmp_path: Path, name: str) -> None:
    """The same devices, flows, events and metrics of each; what an older agent did not measure is 0."""
    async with running(tmp_path / "data") as collector:
        await ingest(collector, golden.read(name))
        tables = derived(collector)
        dead = collector.rows("SELECT problem FROM dead_letter")

    expected = dict(EXPECTED)
    if name == "schema-1-early":
        expected["quality"] = [(0, 0), (0, 0)]
    assert expected == tables
    assert [] == dead


async def test_row_26_an_agent_of_the_next_schema_ingests(tmp_path: Path) -> None:
    """Its Hello and its batches name a schema that is not known yet, and fields that no message of ours has."""
    later = b"\xf8\x7f\x01"  # field 2047, varint 1
    batches = [pb.Batch.FromString(batch.SerializeToString() + later) for batch in golden.read("schema-2-made-up")]
    for batch in batches:
        batch.schema = SCHEMA_VERSION + 1
    stream = pb.Stream(epoch=golden.EPOCH, first_unacked=1, next_seq=len(batches) + 1)
    hello = pb.Hello(protocol=1, streams=[stream], schema=SCHEMA_VERSION + 1, version="99.0", boot_id=bytes(16))
    hello = pb.Hello.FromString(hello.SerializeToString() + later)
    async with running(tmp_path / "data") as collector:
        async with talk(collector, await enrol(collector, version="99.0")) as line:
            await line.send(hello)
            welcome = await line.read()
            await line.send(*batches)
            await line.acked(golden.EPOCH, len(batches))
        await collector.projected()
        tables = derived(collector)
        schemas = collector.rows("SELECT DISTINCT schema FROM batch")

    assert isinstance(welcome, pb.Welcome)
    assert later in hello.SerializeToString()
    assert EXPECTED == tables
    assert [(SCHEMA_VERSION + 1,)] == schemas


EXPECTED: dict[str, Any] = {
    "flow": [(6, "0a000001", 10, 1_000, 2_000, "https"), (6, "0a000002" + 24 * "0", 10, 1_000, 9_000, "https")],
    "quality": [(3, 1_500), (0, 0)],
    "device": [("nas", '["10.0.0.1"]'), ("", '["10.0.0.2"]')],
    "metric": [("frames_total", 10.0)],
    "event": [("agent.alarm", 77)],
}


def derived(collector: Running) -> dict[str, Any]:
    """What came of it, by table."""
    return {
        "flow": collector.rows(
            "SELECT protocol, lower(hex(src)), packets, bytes, last_ns, application FROM flow ORDER BY id"
        ),
        "quality": collector.rows("SELECT retransmits, server_rtt_us FROM flow ORDER BY id"),
        "device": collector.rows("SELECT name, ips FROM device ORDER BY key"),
        "metric": collector.rows("SELECT name, total FROM metric"),
        "event": collector.rows("SELECT type, ts_ns FROM event WHERE type = 'agent.alarm'"),
    }
