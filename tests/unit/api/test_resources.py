"""Single resources: a device, top talkers, series, status, health, metrics, and the description of them all."""

from __future__ import annotations

import json
import re
import sqlite3

import httpx
from fieldwatch_collector import audit
from fieldwatch_collector.api import models
from fieldwatch_proto.v1 import query_pb2
from fieldwatch_proto.version import VERSION
from google.protobuf import json_format
from unit.api.conftest import Site


def test_a_device_has_claims_with_their_evidence(site: Site, viewer: httpx.Client) -> None:
    """DeviceDetail of query.proto, field by field."""
    answer = viewer.get(f"/api/v1/devices/{site.filling.devices[3]}")

    models.DeviceDetail.model_validate(answer.json(), strict=True)
    json_format.ParseDict(answer.json(), query_pb2.DeviceDetail())
    assert answer.json()["device"]["name"] == "DESKTOP-4"
    assert [(claim["key"], claim["value"], claim["source"]) for claim in answer.json()["claims"]] == [
        ("hostname", "DESKTOP-4", "nbns"),
        ("vendor_class", "MSFT 5.0", "dhcp"),
    ]


def test_an_unknown_device_is_not_found(viewer: httpx.Client) -> None:
    """404 as a problem document that quotes what was asked for."""
    answer = viewer.get("/api/v1/devices/none-such")

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert "none-such" in answer.json()["detail"]


def test_an_unknown_path_is_a_problem_document(viewer: httpx.Client) -> None:
    """Nothing under /api answers with a page."""
    answer = viewer.get("/api/v1/none-such")

    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_a_wrong_method_is_a_problem_document(viewer: httpx.Client) -> None:
    answer = viewer.post("/api/v1/devices", json={})

    assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")


def test_top_talkers_and_series_agree(viewer: httpx.Client) -> None:
    """The octets of all applications are the same in the list and over time."""
    top = viewer.get("/api/v1/flows/top", params={"by": "application", "since": "2d", "limit": 50}).json()
    series = viewer.get("/api/v1/flows/series", params={"by": "application", "since": "2d", "limit": 50}).json()

    models.TopList.model_validate(top, strict=True)
    models.FlowSeries.model_validate(series, strict=True)
    assert {one["key"]: one["bytes"] for one in top["results"]} == {
        one["key"]: sum(one["values"]) for one in series["series"]
    }
    assert top["total_bytes"] == sum(one["bytes"] for one in top["results"])


def test_status_says_what_is_held(viewer: httpx.Client) -> None:
    answer = viewer.get("/api/v1/status").json()

    models.Status.model_validate(answer, strict=True)
    assert (answer["version"], answer["devices"], answer["flows"], answer["sites"]) == (VERSION, 45, 300, 2)
    assert list(answer["agents"]) == ["online", "offline", "never", "revoked"]
    assert sum(answer["agents"].values()) == 2
    assert answer["public_grpc_port"] == 7444


def test_health_needs_no_login(nobody: httpx.Client) -> None:
    """For load balancers and service managers."""
    assert (nobody.get("/healthz").status_code, nobody.get("/healthz").json()) == (200, {"status": "ok"})
    assert (nobody.get("/readyz").status_code, nobody.get("/readyz").json()) == (200, {"status": "ok", "store": "ok"})


def test_metrics_are_prometheus_text(viewer: httpx.Client, site: Site) -> None:
    """Every sample has a type before it, the project's prefix and a number; names stand in *_info alone."""
    answer = viewer.get("/metrics")

    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    typed = set(re.findall(r"^# TYPE (\S+) (?:gauge|counter)$", answer.text, re.MULTILINE))
    samples = [line for line in answer.text.splitlines() if not line.startswith("#")]
    shape = re.compile(r'(fieldwatch_\w+)(\{\w+="[^"]*"(?:,\w+="[^"]*")*\})? -?\d+(?:\.\d+)?')
    matches = [shape.fullmatch(line) for line in samples]
    assert None not in matches
    assert typed >= {match[1] for match in matches if match}
    assert f'fieldwatch_build_info{{version="{VERSION}"}} 1' in samples
    assert 'fieldwatch_devices{site="lab"} 22' in samples
    agent = f'agent="{site.filling.agents[1]}",site="lab"'
    assert f"fieldwatch_agent_frames_dropped_total{{{agent}}} 17" in samples
    assert f"fieldwatch_agent_buffer_records{{{agent}}} 120" in samples
    assert f'fieldwatch_agent_interface_ring_freezes_total{{{agent},interface="eth0"}} 3' in samples
    lives = [line for line in samples if line.startswith("fieldwatch_agent_card_life_seconds{")]
    assert lives == [f"fieldwatch_agent_card_life_seconds{{{agent}}} {0.04 * 365 * 86_400:.0f}"]
    losses = f'fieldwatch_agent_interface_nic_losses_total{{{agent},counter="rx_dropped",interface="eth0"}} 41'
    assert losses in samples
    assert not [line for line in samples if "invented" in line or "frames_total" in line]
    assert [line for line in samples if "pi-lab" in line] == [
        f'fieldwatch_agent_info{{{agent},name="pi-lab",version="0.2.0"}} 1'
    ]


def test_metrics_tell_who_is_not_well(viewer: httpx.Client, site: Site) -> None:
    """An alert needs no page: health as 0 or 1, and when the certificate ends; absent of who never told any."""
    first, second = site.filling.agents[:2]
    sick = json.dumps([{"component": "agent/spool", "level": "degraded", "reason": "the disk is slow"}])

    def give(connection: sqlite3.Connection) -> None:
        told = "UPDATE agent SET status = json_set(status, '$.health', json(?)) WHERE id = ?"
        connection.execute(told, (sick, second))
        connection.execute(
            "INSERT INTO agent_certificate(serial, agent, issued_ns, expires_ns)"
            " SELECT serial, id, 0, 1700000000000000000 FROM agent WHERE id = ?",
            (second,),
        )

    def take(connection: sqlite3.Connection) -> None:  # other tests see the same site
        connection.execute("UPDATE agent SET status = json_remove(status, '$.health') WHERE id = ?", (second,))
        connection.execute("DELETE FROM agent_certificate WHERE agent = ?", (second,))

    before = viewer.get("/metrics").text
    site.services.store.transact_sync(give)
    try:
        after = viewer.get("/metrics").text
    finally:
        site.services.store.transact_sync(take)

    labels = f'{{agent="{second}",site="lab"}}'
    assert "fieldwatch_agent_healthy{" not in before
    assert f"\nfieldwatch_agent_healthy{labels} 0\n" in after
    assert f"\nfieldwatch_agent_certificate_expiry_timestamp_seconds{labels} 1700000000\n" in after
    assert f'fieldwatch_agent_healthy{{agent="{first}"' not in after


def test_who_was_let_in_and_who_was_not_is_counted(viewer: httpx.Client, site: Site) -> None:
    """From the audit log, with refusals that share a row; a second look counts what is new."""

    def note(*rows: tuple[str, str, dict[str, object]]) -> None:
        site.services.store.transact_sync(
            lambda connection: [
                audit.append(connection, actor=actor, action=action, data=data) for actor, action, data in rows
            ]
        )

    def counted() -> list[int]:
        found = dict(
            line.split() for line in viewer.get("/metrics").text.splitlines() if line[0] != "#" and "{" not in line
        )
        return [
            int(found[f"fieldwatch_{name}_total"])
            for name in (
                "agent_enrolments",
                "agent_recoveries",
                "agent_revocations",
                "enrolments_refused",
                "agent_calls_refused",
            )
        ]

    before = counted()
    note(
        ("address:192.0.2.1", "agent.enrol", {}),
        ("address:192.0.2.1", "agent.replace", {}),
        ("agent:1", "agent.recover", {}),
        ("user:chief", "agent.revoke", {}),
        ("user:chief", "agent.rename", {}),
        ("address:192.0.2.1", "agent.refuse", {"times": 3, "others": 2}),
        ("agent:1", "agent.refuse", {"times": 1}),
    )
    once = counted()
    note(("address:192.0.2.2", "agent.refuse", {"times": 7}), ("agent:2", "agent.recover", {}))
    twice = counted()

    assert [now - then for now, then in zip(once, before, strict=True)] == [2, 1, 1, 5, 1]
    assert [now - then for now, then in zip(twice, once, strict=True)] == [0, 1, 0, 7, 0]


def test_the_description_is_readable_without_login(nobody: httpx.Client) -> None:
    """OpenAPI 3.1 with every resource; the answers' fields are those of query.proto."""
    description = nobody.get("/api/v1/openapi.json").json()

    assert description["openapi"].startswith("3.1")
    assert {
        "/api/v1/devices",
        "/api/v1/devices/{device_id}",
        "/api/v1/flows",
        "/api/v1/flows/top",
        "/api/v1/flows/series",
        "/api/v1/events",
        "/api/v1/agents",
        "/api/v1/sites",
        "/api/v1/status",
        "/api/v1/session",
        "/api/v1/setup",
    } <= set(description["paths"])
    ways = description["components"]["securitySchemes"]
    assert {(way["type"], way.get("scheme", way.get("in"))) for way in ways.values()} == {
        ("http", "bearer"),
        ("apiKey", "cookie"),
    }
    assert description["paths"]["/api/v1/devices"]["get"]["security"] == [{name: []} for name in ways]
    assert "security" not in description["paths"]["/healthz"]["get"]
    device = description["components"]["schemas"]["Device"]["properties"]
    assert list(device) == [field.name for field in query_pb2.Device.DESCRIPTOR.fields]
    flow = description["components"]["schemas"]["Flow"]["properties"]
    assert [kind["type"] for kind in flow["server_rtt_us"]["anyOf"]] == ["integer", "null"]
    assert flow["retransmits"]["type"] == "integer"
    listed = description["paths"]["/api/v1/devices"]["get"]["responses"]
    assert set(listed["200"]["content"]) == {"application/json", "text/csv", "application/x-ndjson"}
    assert set(listed["4XX"]["content"]) == {"application/problem+json"}
