"""The inventory in bounded memory: a flood of made-up addresses costs rows of tables, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fieldwatch_collector.projections import memory, site
from fieldwatch_proto.schema import Kind, SightingSource, mac_text
from support.collector import fact, flow, mac, sighting
from support.inventory import Tables, expected, shown

AT_ONCE = 1_000
Batches = list[tuple[Kind, list[dict[str, Any]]]]


def spoofed(number: int) -> bytes:
    return bytes([10, *number.to_bytes(3)])


def flood(addresses: int) -> Batches:
    """A host that sends from ever other private addresses, while a site lives on: what it does concerns some of them
    again after all the others."""
    own, late, ip = bytes([192, 168, 1, 9]), spoofed(7), SightingSource.IP
    batches: Batches = [(Kind.SIGHTING, [sighting(2, own), sighting(1, bytes([192, 168, 1, 1]))])]
    for start in range(0, addresses, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, addresses))
        batches.append(
            (Kind.SIGHTING, [sighting(1, spoofed(number), ip, last_ns=5_000 + number) for number in numbers])
        )
    batches += [
        (Kind.FACT, [fact("10.0.0.3", "hostname", "three", "dhcp"), fact("192.168.1.9", "hostname", "nas", "mdns")]),
        (Kind.SIGHTING, [sighting(1, spoofed(5), ip, last_ns=90_000), sighting(3, late)]),
        (Kind.SIGHTING, [sighting(2, own, ip, last_ns=95_000), sighting(4, late, SightingSource.DHCP, last_ns=96_000)]),
    ]
    return batches


def project(tables: Tables, batches: Batches) -> int:
    """The most entries that were in memory after any batch."""
    most = 0
    for kind, rows in batches:
        tables.take(kind, rows)
        most = max(most, tables.inventory.remembered)
    return most


def test_a_flood_of_addresses_is_in_the_tables_and_not_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound holds, and the result is that of the rule; flows find their devices, long after those were let go."""
    monkeypatch.setattr(memory, "MAX_REMEMBERED", 200)
    tables, batches = Tables(), flood(4_500)
    most = project(tables, batches)
    tables.take(Kind.FLOW, [flow(spoofed(number), bytes([9, 9, 9, 9])) for number in (1, 2_000, 4_499)])
    bound = tables.rows("SELECT count(*), sum(flows) FROM device WHERE flows > 0")

    assert most == 200
    assert expected(batches) == shown(tables)
    assert [(3, 3)] == bound


@pytest.mark.slow
def test_a_hundred_thousand_addresses_stay_within_the_bound() -> None:
    """The bound as it is shipped."""
    tables, batches = Tables(), flood(110_000)
    most = project(tables, batches)

    assert most == memory.MAX_REMEMBERED
    assert expected(batches) == shown(tables)


def test_a_flood_of_macs_stays_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with an address of its own, by authority; and all of them again, in another order."""
    monkeypatch.setattr(memory, "MAX_REMEMBERED", 100)
    tables = Tables()
    rows = [sighting(number, spoofed(number)) for number in range(1, 1_501)]
    batches: Batches = [(Kind.SIGHTING, rows[:900]), (Kind.SIGHTING, rows[900:]), (Kind.SIGHTING, rows[::-1])]
    most = project(tables, batches)

    assert most == 100
    assert expected(batches) == shown(tables)


def test_names_of_many_addresses_stay_within_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Subjects are counted in the tables: the second time that they come they are no more than they were."""
    monkeypatch.setattr(memory, "MAX_REMEMBERED", 50)
    tables = Tables()
    named = [fact(f"10.1.{n >> 8}.{n & 255}", "hostname", f"n{n}", "dhcp", seen_ns=n + 1) for n in range(400)]
    batches: Batches = [(Kind.FACT, named), (Kind.FACT, named[::-1])]
    most = project(tables, batches)

    assert most == 50
    assert [(400, 800)] == tables.rows("SELECT count(*), sum(times) FROM claim")
    assert tables.inventory.model(tables.connection, "main").subjects == 400


@pytest.mark.parametrize("remembered", [0, memory.MAX_REMEMBERED])
def test_a_host_that_ceases_to_look_like_a_router(monkeypatch: pytest.MonkeyPatch, remembered: int) -> None:
    """More addresses than are kept at hand, of which it then claims all but a few by ARP: those are its own again."""
    monkeypatch.setattr(memory, "MAX_REMEMBERED", remembered)
    tables, used = Tables(), [spoofed(number) for number in range(1, 2 * memory.SAMPLE)]
    batches: Batches = [(Kind.SIGHTING, [sighting(1, ip, SightingSource.IP) for ip in used])]
    batches += [(Kind.SIGHTING, [sighting(1, ip)]) for ip in used[3:]]
    seen = []
    for number, (kind, rows) in enumerate(batches, 1):
        tables.take(kind, rows)
        assert expected(batches[:number]) == shown(tables)
        seen.append(len(tables.devices()))

    assert len(used) == seen[0]
    assert 1 == seen[-1]


@pytest.mark.parametrize("remembered", [0, memory.MAX_REMEMBERED])
def test_who_claims_too_much_gets_no_more(monkeypatch: pytest.MonkeyPatch, remembered: int) -> None:
    """A host that claims addresses at random, and an address that hosts made up at random claim: the rest is counted,
    and nobody else gets less."""
    monkeypatch.setattr(memory, "MAX_REMEMBERED", remembered)
    monkeypatch.setattr(site, "MAX_ROWS", 5)
    tables = Tables()
    tables.take(Kind.SIGHTING, [sighting(1, spoofed(number)) for number in range(20)])
    near = [bytes.fromhex("fe80") + bytes(11) + bytes([7, 7, number]) for number in range(20)]
    tables.take(Kind.SIGHTING, [sighting(2, ip, SightingSource.IP) for ip in near])
    tables.take(Kind.SIGHTING, [sighting(number, spoofed(100)) for number in range(10, 20)])
    greedy = tables.inventory.dropped
    tables.take(
        Kind.SIGHTING, [sighting(3, spoofed(19)), sighting(1, spoofed(0), last_ns=9_000), sighting(3, near[19])]
    )
    devices = {row["key"]: json.loads(row["ips"]) for row in tables.devices().values()}

    assert 15 + 15 + 5 == greedy == tables.inventory.dropped
    assert [5, 5, 2] == [len(devices[f"mac:{mac_text(mac(number))}"]) for number in (1, 2, 3)]
    assert 5 == sum(devices == ["10.0.0.100"] for devices in devices.values())


def test_what_was_undone_is_read_anew() -> None:
    """A batch that failed half-way: what it had changed in memory is forgotten with it."""
    tables = Tables()
    tables.take(Kind.SIGHTING, [sighting(1, spoofed(1))])
    before = shown(tables)
    tables.connection.execute("BEGIN")
    tables.take(Kind.SIGHTING, [sighting(1, spoofed(2)), sighting(2, spoofed(3))])
    tables.connection.execute("ROLLBACK")
    tables.inventory.forget()
    again: Batches = [(Kind.SIGHTING, [sighting(1, spoofed(1), last_ns=9_000)])]
    project(tables, again)

    assert before.keys() == shown(tables).keys()
    assert expected([(Kind.SIGHTING, [sighting(1, spoofed(1))]), *again]) == shown(tables)
    assert mac(1) in {row[0] for row in tables.rows("SELECT mac FROM sighting")}
