"""Devices: lists, pages, searches, and one device with what is believed about it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from fieldwatch_collector.read_model import ReadModel, devices
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_proto.schema import time_text
from fieldwatch_proto.v1 import query_pb2
from support.asking import NOW_NS, SECOND_NS, walk
from support.filled_store import device_id


def test_a_device_has_exactly_the_fields_of_the_contract(model: ReadModel) -> None:
    """REST serves what gRPC can carry: the same names in every message, and values of their types."""
    listed = model.list_devices()
    detail = model.get_device(device_id(7))
    assert detail is not None
    answers = [
        (query_pb2.DeviceList, listed, "count"),
        (query_pb2.DeviceDetail, detail, "claims"),
        (query_pb2.FlowList, model.list_flows(), "next"),
        (query_pb2.TopList, model.top_flows(), "total_bytes"),
        (query_pb2.AgentList, model.list_agents(), "results"),
        (query_pb2.SiteList, model.list_sites(), "results"),
    ]
    for message, answer, _ in answers:
        assert set(answer) == {field.name for field in message.DESCRIPTOR.fields}
        message(**answer)
    for name, message in [("device", query_pb2.Device), ("interfaces", query_pb2.Interface)]:
        part = detail[name] if name == "device" else detail[name][0]
        assert set(part) == {field.name for field in message.DESCRIPTOR.fields}
    assert set(detail["recent_flows"][0]) == {field.name for field in query_pb2.Flow.DESCRIPTOR.fields}
    assert set(detail["claims"][0]) == {field.name for field in query_pb2.Claim.DESCRIPTOR.fields}
    assert set(detail["addresses"][0]) == {field.name for field in query_pb2.Address.DESCRIPTOR.fields}
    event = model.list_events()["results"][0]
    assert set(event) == {field.name for field in query_pb2.Event.DESCRIPTOR.fields}
    assert set(model.list_agents()["results"][0]) == {field.name for field in query_pb2.Agent.DESCRIPTOR.fields}


@pytest.mark.parametrize(
    "ordering",
    ["", "name", "-name", "first_seen", "-last_seen", "flows", "-flows", "vendor", "-vendor", "site", "-site", "bytes"],
)
def test_pages_hold_every_device_once_whatever_the_order(model: ReadModel, ordering: str) -> None:
    """Pages of seven put together are the one large page, ties included."""
    whole = model.list_devices(ordering=ordering, limit=1_000)
    paged = walk(model.list_devices, 7, ordering=ordering)

    assert paged == whole["results"]
    assert len({device["id"] for device in paged}) == whole["count"] == 40


def test_names_are_ordered_as_people_do_and_the_nameless_come_last(model: ReadModel) -> None:
    """Case does not count; devices without a name are at the end both ways."""
    rising = [device["name"] for device in model.list_devices(ordering="name")["results"]]
    falling = [device["name"] for device in model.list_devices(ordering="-name")["results"]]
    named = [name for name in rising if name]

    assert named == sorted(named, key=str.lower)
    assert rising[len(named) :] == [""] * (40 - len(named))
    assert falling == [*reversed(named), *rising[len(named) :]]


def test_a_page_stays_where_it_was_when_devices_come_and_go(store: SqliteStore, model: ReadModel) -> None:
    """New rows before the cursor, and the cursor's own row gone: the next page neither repeats nor skips."""
    first = model.list_devices(ordering="first_seen", limit=10)
    rest = walk(model.list_devices, 10, ordering="first_seen")[10:]
    gone = first["results"][-1]["id"]

    def change(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM device WHERE id = ?", (gone,))
        for place in range(5):
            connection.execute(
                "INSERT INTO device SELECT ?, site, ?, name, name_source, vendor, macs, ips, vlans, sources, 1,"
                " last_ns, frames, flows, bytes FROM device LIMIT 1",
                (f"new-{place}", f"key-{place}"),
            )

    store.transact_sync(change)
    second = model.list_devices(ordering="first_seen", limit=1_000, cursor=first["next"])

    assert second["results"] == rest


@pytest.mark.parametrize(
    ("q", "names"),
    [
        ("nas-5", {"nas-5"}),
        ("NAS-5", {"nas-5"}),
        ("10.10.0.5", {"nas-5"}),
        ("00-11-32-00-00-04", {"nas-5"}),
        ("00:11:32:00:00:04", {"nas-5"}),
        ("synology", {"nas-5", "nas-13", "nas-21", "nas-29", "nas-37"}),
        ("fe80::8", {"pi-8"}),
        ("%", set()),
        ("_", set()),
        ('"', set()),
        ("' OR 1=1 --", set()),
        ("\\", set()),
    ],
)
def test_search_finds_names_addresses_macs_and_vendors(model: ReadModel, q: str, names: set[str]) -> None:
    """A part is enough; signs that mean something to SQL or JSON mean themselves."""
    answer = model.list_devices(q=q)

    assert {device["name"] for device in answer["results"]} == names
    assert answer["count"] == len(names)


def test_search_finds_every_name_of_a_device(store: SqliteStore, model: ReadModel) -> None:
    """The best name is shown, but a device is found by any that it was called."""
    store.transact_sync(
        lambda connection: (
            connection.execute(
                "INSERT INTO claim(site, subject, key, value, source, confidence, first_ns, last_ns, times,"
                " evidence, agent, device)"
                " VALUES('hq', 'x', 'netbios_name', 'OLDSERVER', 'nbns', 50, 1, 2, 1, '', '', ?)",
                (device_id(4),),
            ).rowcount
        )
    )

    assert [device["name"] for device in model.list_devices(q="oldserv")["results"]] == ["nas-5"]


def test_site_and_since_select_devices(model: ReadModel, rows: Callable[..., list[Any]]) -> None:
    """A site exactly; times as an age or as RFC 3339."""
    hq = {row["id"] for row in rows("SELECT id FROM device WHERE site = 'hq'")}
    recent = {row["id"] for row in rows("SELECT id FROM device WHERE last_ns >= ?", NOW_NS - 300 * SECOND_NS)}

    assert {device["id"] for device in model.list_devices(site="hq")["results"]} == hq
    assert {device["id"] for device in model.list_devices(since="5m")["results"]} == recent
    since = time_text(NOW_NS - 300 * SECOND_NS)
    assert {device["id"] for device in model.list_devices(since=since)["results"]} == recent


def test_a_device_shows_what_is_believed_and_why(model: ReadModel, rows: Callable[..., list[Any]]) -> None:
    """Interfaces, addresses by source, claims with evidence, and the newest flows with the names of both ends."""
    detail = model.get_device(device_id(7))
    assert detail is not None
    row = rows("SELECT * FROM device WHERE id = ?", device_id(7))[0]
    newest = rows(
        "SELECT last_ns FROM flow WHERE ? IN (src_device, dst_device) ORDER BY last_ns DESC LIMIT 20", device_id(7)
    )

    assert detail["device"]["name"] == "pi-8"
    assert detail["interfaces"] == [
        {
            "mac": "dc:a6:32:00:00:07",
            "vendor": "Raspberry Pi Trading Ltd",
            "locally_administered": False,
            "vlans": [10],
            "first_seen": time_text(row["first_ns"]),
            "last_seen": time_text(row["last_ns"]),
            "frames": row["frames"],
        }
    ]
    assert [(found["ip"], found["source"]) for found in detail["addresses"]] == [
        ("10.10.0.8", "arp"),
        ("fe80::8", "ndp"),
    ]
    assert [(claim["key"], claim["value"], claim["evidence"]) for claim in detail["claims"]] == [
        ("hostname", "pi-8", "mdns on eth0")
    ]
    assert [flow["last_seen"] for flow in detail["recent_flows"]] == [time_text(one["last_ns"]) for one in newest]
    assert all("pi-8" in (flow["src_name"], flow["dst_name"]) for flow in detail["recent_flows"])
    assert model.get_device("nope") is None


def test_a_device_without_a_mac_shows_the_router_that_it_was_seen_through(store: SqliteStore, model: ReadModel) -> None:
    """An address behind a router has no interface, but its sightings."""
    router = bytes.fromhex("001b54000000")

    def change(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO device(id, site, key, name, name_source, vendor, macs, ips, vlans, sources, first_ns, last_ns,"
            " frames) VALUES('far', 'hq', 'ip:10.99.0.1', '', '', '', '[]', '[\"10.99.0.1\"]', '[]', '[\"ip\"]',"
            " 5, 9, 3)"
        )
        connection.execute(
            "INSERT INTO sighting(site, vlans, mac, ip, source, first_ns, last_ns, frames, agent, interface)"
            " VALUES('hq', 0, ?, x'0a630001', 2, 5, 9, 3, 'a', 'eth0')",
            (router,),
        )

    store.transact_sync(change)
    detail = model.get_device("far")

    assert detail is not None
    assert detail["interfaces"] == []
    assert detail["addresses"] == [
        {
            "ip": "10.99.0.1",
            "mac": "00:1b:54:00:00:00",
            "source": "ip",
            "first_seen": time_text(5),
            "last_seen": time_text(9),
            "frames": 3,
        }
    ]


def test_a_key_with_many_values_hides_no_other(store: SqliteStore, model: ReadModel) -> None:
    """More claims than are given: the best of each key, keys together, the most credible first."""

    def add(connection: sqlite3.Connection) -> None:
        claims = [("multicast_group", f"239.{n >> 8}.{n & 255}.1", n % 100) for n in range(2 * devices.MAX_CLAIMS)]
        claims += [("user_agent", name, confidence) for name, confidence in (("old", 40), ("new", 70))]
        connection.executemany(
            "INSERT INTO claim(site, subject, key, value, source, confidence, first_ns, last_ns, times, evidence,"
            " agent, device) VALUES('hq', 'x', ?, ?, 'igmp', ?, 1, 2, 1, '', '', ?)",
            [(*claim, device_id(7)) for claim in claims],
        )

    store.transact_sync(add)
    detail = model.get_device(device_id(7))
    assert detail is not None
    claims = detail["claims"]
    groups = [claim["confidence"] for claim in claims if claim["key"] == "multicast_group"]

    assert len(claims) == devices.MAX_CLAIMS
    assert [claim["key"] for claim in claims] == sorted(claim["key"] for claim in claims)
    assert [claim["value"] for claim in claims if claim["key"] == "hostname"] == ["pi-8"]
    assert [claim["value"] for claim in claims if claim["key"] == "user_agent"] == ["new", "old"]
    assert groups == sorted(groups, reverse=True)
    assert (groups[0], len(groups)) == (99, devices.MAX_CLAIMS - 3)
