"""The projector over a real store: every batch counts exactly once, whatever stops when; a rebuild gives the same."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_collector.projections import Projector, projector
from fieldwatch_collector.store import BatchItem
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_proto.columns import digest, seal
from fieldwatch_proto.records import Records, records_of
from fieldwatch_proto.schema import Kind, SightingSource, mac_text
from support.collector import fact, flow, mac, sighting
from support.stack import wait_for

AGENT = "00000000-0000-4000-8000-000000000001"
IPS = [bytes([10, 0, 0, number]) for number in range(1, 9)]
MEASURES = ("retransmits", "reply_retransmits", "server_rtt_us", "client_rtt_us")


def metric(name: str, value: float, ts_ns: int = 5, labels: str = "{}") -> dict[str, Any]:
    return {"ts_ns": ts_ns, "name": name, "labels": labels, "value": value}


def event(type_: str, data: str = '{"n":1}') -> dict[str, Any]:
    return {"ts_ns": 77, "type": type_, "severity": "warning", "subject": "eth0", "data": data}


WORLD: list[tuple[Kind, list[dict[str, Any]]]] = [
    (Kind.SIGHTING, [sighting(n, IPS[n]) for n in range(4)]),
    (Kind.FLOW, [flow(IPS[0], IPS[1]), flow(IPS[1], IPS[7], reply_retransmits=3, server_rtt_us=20_000)]),
    (Kind.FACT, [fact(mac_text(mac(0)), "hostname", "nas", "dhcp"), fact("10.0.0.2", "hostname", "tv", "mdns")]),
    (Kind.METRIC, [metric("frames_total", 10), metric("temperature", 40.5), metric("bad", float("nan"))]),
    (Kind.SIGHTING, [sighting(5, IPS[7]), sighting(0, IPS[0], SightingSource.ETH, frames=9)]),
    (Kind.METRIC, [metric("frames_total", 5), metric("temperature", 39.0, ts_ns=1), metric("temperature", 41.0, 9)]),
    (Kind.EVENT, [event("capture.lost"), event("agent.alarm", "no json")]),
    (Kind.FLOW, [flow(IPS[7], IPS[0])]),
]


class Site:
    """A store with a projector on it, and what it published."""

    def __init__(self, path: Path) -> None:
        self.published: list[dict[str, Any]] = []
        self.updates: list[dict[str, Any]] = []
        self.store = SqliteStore(path)
        self.store.migrate()
        self.projector = Projector(self.published.extend, self.updates.append)
        self.store.transact_sync(
            lambda connection: (
                connection.execute(
                    "INSERT OR IGNORE INTO agent(id, name, site, enrolled_ns, serial, csr_digest)"
                    " VALUES(?, 'pi', 'main', 0, '', x'')",
                    (AGENT,),
                ).rowcount
            )
        )

    def put(self, first_seq: int, batches: Sequence[tuple[Kind, list[dict[str, Any]]]]) -> None:
        self.put_records(first_seq, [records_of(kind, rows) for kind, rows in batches])

    def put_records(self, first_seq: int, batches: Sequence[Records]) -> None:
        import asyncio

        items = []
        for seq, records in enumerate(batches, first_seq):
            sealed, kind = seal(records), int(records.kind)
            items.append(
                BatchItem(1, seq, kind, 1, 1, sealed.records, sealed.raw_bytes, 0, 9, sealed.digest, sealed.body)
            )
        asyncio.run(self.store.put(AGENT, items))

    def catch_up(self) -> None:
        newest = self.ask("SELECT coalesce(max(position), 0) FROM batch")[0][0]
        wait_for(lambda: self.projector.position >= newest, "the projections catch up")

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        with self.store.reader() as connection:
            return [tuple(row) for row in connection.execute(sql)]

    def derived(self) -> dict[str, list[tuple[Any, ...]]]:
        """Everything that comes of the log."""
        orders = {"sighting": "mac, ip, source", "claim": "subject, key", "device": "key", "device_address": "ip"}
        orders |= {"flow": "id", "metric": "name", "dead_letter": "position"}
        return {
            table: self.ask(f"SELECT * FROM {table} ORDER BY {order}")  # the time of noticing is not of the log
            if table != "dead_letter"
            else self.ask("SELECT position, problem FROM dead_letter ORDER BY position")
            for table, order in orders.items()
        }


def test_everything_comes_out_once_and_is_published(tmp_path: Path) -> None:
    """Devices, flows, metrics and events of a small world; what was written was told, after the commit."""
    site = Site(tmp_path / "db")
    site.store.attach(site.projector)
    site.put(1, WORLD)
    site.catch_up()
    names = dict(site.ask("SELECT key, name FROM device"))
    metrics = site.ask("SELECT name, total FROM metric ORDER BY name")
    told = site.ask("SELECT seq, type FROM event ORDER BY seq")
    flows = site.ask("SELECT count(*), sum(src_device != ''), sum(dst_device != '') FROM flow")
    site.store.close()

    assert {"nas", "tv", ""} == set(names.values())
    assert len(names) == 5
    assert [("frames_total", 15.0), ("temperature", 41.0)] == metrics
    assert [(3, 3, 3)] == flows
    assert told == [(event["seq"], event["type"]) for event in site.published]
    assert ["agent.capture.lost", "agent.alarm"] == [type_ for _, type_ in told if type_.startswith("agent.")]
    assert {"device.updated"} == {message["type"] for message in site.updates}
    assert set(names) == {f"mac:{message['data']['macs'][0]}" for message in site.updates}


def test_flows_of_an_agent_that_does_not_measure_hold_zeros(tmp_path: Path) -> None:
    """A column that an older agent does not know; one that is there keeps its values, up to the largest."""
    most = (1 << 32) - 1
    newer = records_of(
        Kind.FLOW,
        [flow(IPS[0], IPS[1], retransmits=1, reply_retransmits=2, server_rtt_us=3, client_rtt_us=most)],
    )
    older = Records(
        newer.kind,
        newer.count,
        {name: column for name, column in newer.columns.items() if name not in MEASURES},
    )
    site = Site(tmp_path / "db")
    site.store.attach(site.projector)
    site.put_records(1, [newer, older])
    site.catch_up()
    found = site.ask(f"SELECT {', '.join(MEASURES)} FROM flow ORDER BY id")
    site.store.close()

    assert [(1, 2, 3, most), (0, 0, 0, 0)] == found


def test_a_restart_goes_on_where_the_last_commit_was(tmp_path: Path) -> None:
    """Half the log, a new process, the other half: the same tables as in one go."""
    one = Site(tmp_path / "one")
    one.store.attach(one.projector)
    one.put(1, WORLD)
    one.catch_up()
    in_one_go = one.derived()
    one.store.close()

    for cut in range(1, len(WORLD)):
        first = Site(tmp_path / f"cut{cut}")
        first.store.attach(first.projector)
        first.put(1, WORLD[:cut])
        first.catch_up()
        first.store.close()
        second = Site(tmp_path / f"cut{cut}")
        second.put(cut + 1, WORLD[cut:])
        second.store.attach(second.projector)
        second.catch_up()
        in_two = second.derived()
        second.store.close()

        assert _without_ids(in_one_go) == _without_ids(in_two)


def _without_ids(derived: dict[str, list[tuple[Any, ...]]]) -> str:
    """Device ids are random: two stores agree but for them. Each id is replaced by its device's key."""
    text = json.dumps(derived, default=lambda octets: octets.hex())
    for row in derived["device"]:
        text = text.replace(row[0], row[2])
    return text


def test_a_rebuild_gives_the_same_rows_and_tells_nobody_again(tmp_path: Path) -> None:
    """Ids included; the journal stays as it was; what comes after the rebuild is told."""
    site = Site(tmp_path / "db")
    site.store.attach(site.projector)
    site.put(1, WORLD)
    site.catch_up()
    before, journal = site.derived(), site.ask("SELECT * FROM event")
    site.store.transact_sync(site.projector.reset)
    site.store.wake()
    site.catch_up()
    after, journal_after = site.derived(), site.ask("SELECT * FROM event")
    site.put(len(WORLD) + 1, [(Kind.SIGHTING, [sighting(7, IPS[6])])])
    site.catch_up()
    newest = site.ask("SELECT type FROM event ORDER BY seq DESC LIMIT 1")
    site.store.close()

    assert before == after
    assert journal == journal_after
    assert [("device.discovered",)] == newest


def test_what_cannot_be_projected_is_buried_and_the_rest_goes_on(tmp_path: Path) -> None:
    """Undecodable bodies, wrong types and unknown codecs: a row each in dead_letter; an unknown kind is left alone."""
    site = Site(tmp_path / "db")
    good = seal(records_of(Kind.SIGHTING, [sighting(1, IPS[1])]))
    metrics = seal(records_of(Kind.METRIC, [metric("a", 1.0)]))

    def item(seq: int, **change: Any) -> BatchItem:
        values = {"kind": 2, "codec": 1, "records": good.records, "raw_bytes": good.raw_bytes, "body": good.body}
        values |= change
        return BatchItem(1, seq, schema=1, t_min=0, t_max=9, digest=digest(values["body"]), **values)

    import asyncio

    asyncio.run(
        site.store.put(
            AGENT,
            [
                item(1, body=b"no zstd"),
                item(2, codec=3),
                item(3, raw_bytes=good.raw_bytes + 1),
                item(4, body=metrics.body, raw_bytes=metrics.raw_bytes),  # a metric's body, said to be sightings
                item(5, kind=99),
                item(6),
            ],
        )
    )
    site.store.attach(site.projector)
    site.catch_up()
    buried = [row[0] for row in site.ask("SELECT position FROM dead_letter ORDER BY position")]
    devices = site.ask("SELECT ips FROM device")
    site.store.close()

    assert [1, 2, 3] == buried[:3]
    assert {5, 6}.isdisjoint(buried)
    assert [('["10.0.0.2"]',)] == devices


def test_a_failure_of_the_machine_undoes_the_slice_and_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No room for the tables: nothing is buried, nothing is half done, and it goes on by itself when there is room."""
    monkeypatch.setattr(projector, "SLICE_SECONDS", 600.0)  # one slice takes the whole of this log on any machine
    site = Site(tmp_path / "db")
    site.put(1, [*WORLD, (Kind.FLOW, [flow(IPS[0], IPS[1])] * 500)])
    site.store.transact_sync(_limit_pages(0))
    site.store.attach(site.projector)
    wait_for(lambda: site.store.health().counters["background_failures"] > 0, "a failure is seen")
    stuck = (site.projector.position, site.ask("SELECT count(*) FROM device"))
    site.store.transact_sync(_limit_pages(1 << 30))
    site.catch_up()
    buried, devices = site.ask("SELECT count(*) FROM dead_letter"), site.ask("SELECT count(*) FROM device")
    site.store.close()

    assert stuck == (0, [(0,)])
    assert ([(0,)], [(5,)]) == (buried, devices)


def _limit_pages(spare: int) -> Any:
    def work(connection: Any) -> None:
        used = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {used + spare}").fetchall()

    return work
