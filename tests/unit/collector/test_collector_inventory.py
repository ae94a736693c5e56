"""The inventory projection: kept up to date batch by batch, it always says what the one rule says of everything."""

from __future__ import annotations

import ipaddress
import json
from typing import Any

import pytest
from fieldwatch_collector.projections import inventory as inventory_module
from fieldwatch_collector.projections import memory
from fieldwatch_collector.projections.subjects import canonical_subject
from fieldwatch_proto.identity import NO_MAC
from fieldwatch_proto.schema import Kind, SightingSource, ip_text, ip_value, mac_text, vlan_stack
from hypothesis import given, settings
from hypothesis import strategies as st
from support.collector import fact, flow, mac, sighting
from support.inventory import Tables, expected, shown

IPS = [bytes([10, 0, 0, n]) for n in range(1, 7)] + [bytes([8, 8, 8, 8]), bytes.fromhex("fe80" + "00" * 13 + "01")]
UNIQUE = [bytes.fromhex("fd00" + "00" * 13 + end) for end in ("01", "02")]
MANY = IPS + UNIQUE + [bytes([10, 0, 1, n]) for n in range(1, 10)]  # more than one host uses without routing
MACS = [mac(n) for n in range(1, 6)] + [NO_MAC]
PUBLIC = [b"", bytes(4), bytes(16)]  # what FORWARD says of a source that is not local; old agents: nothing


def shown_ip(source: SightingSource, ip: bytes, public: bytes | None) -> bytes:
    if source is SightingSource.ETH:
        return b""
    return public if source is SightingSource.FORWARD and public is not None else ip


sightings = st.builds(
    lambda where, ip, public, source, first, length, vlan, frames: {
        **sighting(0, shown_ip(source, ip, public), source),
        "mac": where,
        "first_ns": first,
        "last_ns": first + length,
        "vlans": vlan_stack([vlan] if vlan else []),
        "frames": frames,
    },
    st.sampled_from(MACS),
    st.sampled_from(MANY),
    st.sampled_from([*PUBLIC, None, None, None]),
    st.sampled_from([*SightingSource, *[SightingSource.IP] * 4, *[SightingSource.FORWARD] * 2]),
    st.integers(1, 1_000),
    st.integers(0, 1_000),
    st.sampled_from([0, 7]),
    st.integers(1, 9),
)
facts = st.builds(
    lambda subject, key_source, value, seen_ns: fact(subject, *key_source[:1], value, key_source[1], seen_ns=seen_ns),
    st.sampled_from([mac_text(m) for m in MACS[:5]] + [ip_text(ip) for ip in IPS]),
    st.sampled_from([("hostname", "dhcp"), ("hostname", "mdns"), ("netbios_name", "nbns"), ("server", "ssdp")]),
    st.sampled_from(["alpha", "beta", "gamma"]),
    st.integers(1, 2_000),
)
batches = st.lists(
    st.one_of(
        st.tuples(st.just(Kind.SIGHTING), st.lists(sightings, min_size=1, max_size=14)),
        st.tuples(st.just(Kind.FACT), st.lists(facts, min_size=1, max_size=4)),
    ),
    min_size=1,
    max_size=10,
)


@settings(max_examples=250, deadline=None)
@given(everything=batches, restart_at=st.integers(0, 9), remembered=st.sampled_from([0, 1, 3, memory.MAX_REMEMBERED]))
def test_batch_by_batch_is_the_same_as_all_at_once(
    everything: list[tuple[Kind, list[dict[str, Any]]]], restart_at: int, remembered: int
) -> None:
    """Whatever comes in whatever order, with a restart in between, and however little is kept in memory: the table is
    what `identity.resolve` gives."""
    tables = Tables()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "MAX_REMEMBERED", remembered)
        patch.setattr(memory, "SAMPLE", memory.ENOUGH)
        for number, (kind, rows) in enumerate(everything):
            if number == restart_at:
                tables.restart()
            tables.take(kind, rows)
            assert tables.inventory.remembered <= remembered

    assert expected(everything) == shown(tables)
    _addresses_are_held_by_devices_that_show_them(tables)


def _addresses_are_held_by_devices_that_show_them(tables: Tables) -> None:
    held = {(ip_text(row[0]), row[1]) for row in tables.rows("SELECT ip, device FROM device_address")}
    by_id = {row["id"]: set(json.loads(row["ips"])) for row in tables.devices().values()}

    assert {ip for ips in by_id.values() for ip in ips} == {ip for ip, _ in held}
    assert [] == [(ip, device) for ip, device in held if ip not in by_id.get(device, set())]


def test_discovered_once_then_changed() -> None:
    """A new device is told of once; a name or an address that comes later is a change with before and after."""
    tables = Tables()
    first = tables.take(Kind.SIGHTING, [sighting(1, source=SightingSource.ETH)])
    second = tables.take(Kind.SIGHTING, [sighting(1, IPS[0])])
    third = tables.take(Kind.FACT, [fact(mac_text(mac(1)), "hostname", "nas", "dhcp")])
    nothing = tables.take(Kind.SIGHTING, [sighting(1, IPS[0])])

    assert ["device.discovered"] == [event["type"] for event in first]
    assert [{"ips": {"before": [], "after": ["10.0.0.1"]}}] == [event["data"]["changes"] for event in second]
    assert [{"name": {"before": "", "after": "nas"}}] == [event["data"]["changes"] for event in third]
    assert [] == nothing
    assert [1, 2, 3] == [event["seq"] for event in first + second + third]


def test_ids_outlive_rows() -> None:
    """An address behind a router becomes its owner's; the device goes, its flows and claims move, its id is kept."""
    tables = Tables()
    router, owner = 1, 2
    behind = bytes([10, 9, 0, 1])
    tables.take(Kind.SIGHTING, [sighting(router, source=SightingSource.FORWARD), sighting(router, IPS[0])])
    tables.take(Kind.SIGHTING, [sighting(router, behind, SightingSource.IP)])
    tables.take(Kind.FACT, [fact("10.9.0.1", "hostname", "far", "dhcp")])
    tables.take(Kind.FLOW, [flow(behind, IPS[6])])
    before = tables.devices()["ip:10.9.0.1"]
    events = tables.take(Kind.SIGHTING, [sighting(owner, behind)])
    after = tables.devices()[f"mac:{mac_text(mac(owner))}"]

    assert {"ip:10.9.0.1", f"mac:{mac_text(mac(router))}", f"mac:{mac_text(mac(owner))}"} >= set(tables.devices())
    assert "ip:10.9.0.1" not in tables.devices()
    assert (1, 2_000) == (after["flows"], after["bytes"])
    assert [(after["id"],)] == tables.rows("SELECT src_device FROM flow")
    assert [(after["id"],)] == tables.rows("SELECT device FROM claim")
    assert before["id"] in {event["data"].get("merged") for event in events}
    assert [(before["id"],)] == tables.rows("SELECT id FROM device_id WHERE key = 'ip:10.9.0.1'")


def test_flows_count_for_both_ends_and_bind_late() -> None:
    """A flow whose device is found out only afterwards is that device's all the same."""
    tables = Tables()
    tables.take(Kind.SIGHTING, [sighting(1, IPS[0])])
    tables.take(Kind.FLOW, [flow(IPS[0], IPS[1]), flow(IPS[1], IPS[0]), flow(IPS[1], IPS[1])])
    tables.take(Kind.SIGHTING, [sighting(2, IPS[1])])
    devices = tables.devices()
    one, two = devices[f"mac:{mac_text(mac(1))}"], devices[f"mac:{mac_text(mac(2))}"]

    assert (2, 4_000) == (one["flows"], one["bytes"])
    assert (3, 6_000) == (two["flows"], two["bytes"])
    assert [(one["id"], two["id"]), (two["id"], one["id"]), (two["id"], two["id"])] == tables.rows(
        "SELECT src_device, dst_device FROM flow ORDER BY id"
    )


def test_an_address_that_moved_belongs_to_who_had_it_last() -> None:
    tables = Tables()
    tables.take(Kind.SIGHTING, [sighting(1, IPS[0], last_ns=2_000)])
    tables.take(Kind.SIGHTING, [sighting(2, IPS[0], last_ns=9_000)])
    newest = tables.devices()[f"mac:{mac_text(mac(2))}"]["id"]

    assert [(newest,)] == tables.rows("SELECT device FROM device_address")


def test_claims_add_up() -> None:
    """The same assertion again: times, first, last, newest evidence; the device that it is about."""
    tables = Tables()
    subject = mac_text(mac(1))
    tables.take(Kind.FACT, [fact(subject, "hostname", "nas", "dhcp", seen_ns=50, evidence="first")])
    tables.take(Kind.FACT, [fact(subject.upper(), "hostname", "nas", "dhcp", seen_ns=10, evidence="older")])
    tables.take(Kind.FACT, [fact(subject, "hostname", "nas", "dhcp", seen_ns=90, evidence="newest", confidence=250)])
    device = tables.devices()[f"mac:{subject}"]["id"]

    assert [("nas", 3, 10, 90, "newest", 100, device)] == tables.rows(
        "SELECT value, times, first_ns, last_ns, evidence, confidence, device FROM claim"
    )


def test_a_device_that_talks_too_much_is_bounded() -> None:
    """One host that announces a thousand names gets 256 claims, and the rest is counted."""
    tables = Tables()
    for start in range(0, 1_000, 250):
        names = range(start, start + 250)
        tables.take(Kind.FACT, [fact(mac_text(mac(1)), "hostname", f"n{number}", "mdns") for number in names])

    assert [(256,)] == tables.rows("SELECT count(*) FROM claim")
    assert 744 == tables.inventory.dropped


def test_names_of_the_internet_crowd_out_no_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Public addresses that nobody here holds have a bound of their own; it is counted anew at the start."""
    monkeypatch.setattr(inventory_module, "MAX_REMOTE_SUBJECTS", 3)
    tables = Tables()
    tables.take(Kind.SIGHTING, [sighting(1, bytes([203, 0, 113, 200]))])
    named = [fact(f"198.51.100.{n}", "dns_name", f"n{n}.example", source="dns") for n in range(1, 6)]
    tables.take(Kind.FACT, named)
    tables.restart()
    ours = ["203.0.113.200", "10.0.0.9", mac_text(mac(2))]
    tables.take(Kind.FACT, [fact("198.51.100.9", "dns_name", "late.example", source="dns")])
    tables.take(Kind.FACT, [fact(subject, "hostname", "ours", "dhcp") for subject in ours])

    subjects = {subject for (subject,) in tables.rows("SELECT subject FROM claim")}
    assert subjects == {"198.51.100.1", "198.51.100.2", "198.51.100.3", *ours}


@pytest.mark.parametrize(
    ("text", "subject"),
    [
        ("00:DE:AD:00:00:01", "00:de:ad:00:00:01"),
        ("01:00:5e:00:00:01", ""),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("fd::1234:5678:9ab", "fd::1234:5678:9ab"),
        ("fe80::1%eth0", ""),
        ("hello", ""),
        ("", ""),
    ],
)
def test_subjects_have_one_form(text: str, subject: str) -> None:
    assert subject == canonical_subject(text)


def test_hostile_numbers_do_not_overflow() -> None:
    """Counts beyond this world are cut, times before the epoch are the epoch."""
    tables = Tables()
    huge = (1 << 64) - 1
    tables.take(Kind.SIGHTING, [sighting(1, IPS[0], SightingSource.ETH, frames=huge, first_ns=-5, last_ns=1)] * 3)
    tables.take(Kind.FLOW, [flow(IPS[0], IPS[1], bytes=huge, packets=huge, vlans=huge, first_ns=-(1 << 63))])

    assert [(3 << 48, 0)] == tables.rows("SELECT frames, first_ns FROM sighting")
    assert [(1 << 48, 1 << 48, 0)] == tables.rows("SELECT bytes, packets, first_ns FROM flow")


def test_ip_value_is_what_the_tables_keep() -> None:
    """Addresses are stored with the octets that count."""
    tables = Tables()
    six = ipaddress.ip_address("fd00::1").packed
    tables.take(Kind.SIGHTING, [sighting(1, six, SightingSource.NDP)])

    assert [(six,)] == tables.rows("SELECT ip FROM sighting")
    assert (6, six) == ip_value(six)
