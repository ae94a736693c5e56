"""/metrics: the Prometheus text format (0.0.4). Names and versions stand in *_info alone, so that series last."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request
from fieldwatch_proto.schema import AGENT_METRICS
from fieldwatch_proto.version import VERSION
from starlette.responses import PlainTextResponse

from fieldwatch_collector.api.security import require, services_of
from fieldwatch_collector.read_model import decisions
from fieldwatch_collector.read_model.asking import when

router = APIRouter(tags=["health"])

YEAR_S = 365 * 86_400  # of `card_life_years`
MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Sample = tuple[Mapping[str, str], float]

# field of an agent -> (metric, type, help)
_AGENT_NUMBERS = {
    "frames_seen": ("agent_frames_seen_total", "counter", "Frames that the agent took from its interfaces."),
    "frames_dropped": ("agent_frames_dropped_total", "counter", "Frames that the kernel dropped before the agent."),
    "frames_rejected": ("agent_frames_rejected_total", "counter", "Frames that the agent could not decode."),
    "spool_records": ("agent_buffer_records", "gauge", "Records that wait on the agent's disk."),
    "spool_bytes": ("agent_buffer_bytes", "gauge", "Octets that wait on the agent's disk."),
    "records_stored": ("agent_records_stored_total", "counter", "Records of the agent that this collector holds."),
    "records_lost": ("agent_records_lost_total", "counter", "Records that the agent declared lost."),
    "frames_lost": ("agent_frames_lost_total", "counter", "Frames that the agent declared lost."),
    "rss_bytes": ("agent_resident_memory_bytes", "gauge", "Resident memory of the agent."),
}

# decision -> (metric, help); all are counters
_DECISIONS = {
    decisions.ENROLLED: ("agent_enrolments_total", "Devices that were given the identity of an agent."),
    decisions.RECOVERED: ("agent_recoveries_total", "Agents that came back by their key, past their certificate."),
    decisions.REVOKED: ("agent_revocations_total", "Agents that were revoked."),
    decisions.STRANGER_REFUSED: ("enrolments_refused_total", "Enrolments and recoveries that were refused."),
    decisions.AGENT_REFUSED: ("agent_calls_refused_total", "Calls with a certificate that is not in force."),
}


@router.get("/metrics", dependencies=[Depends(require("read"))], response_class=PlainTextResponse)
def metrics(request: Request) -> PlainTextResponse:
    """The fleet and the store in the Prometheus text format; needs an API token."""
    services = services_of(request)
    agents = services.read_model.list_agents()["results"]
    sites = services.read_model.list_sites()["results"]
    health = services.store.health()
    families = [
        _family("build_info", "gauge", "The version of this collector.", [({"version": VERSION}, 1)]),
        _family("devices", "gauge", "Devices in the inventory.", [({"site": s["name"]}, s["devices"]) for s in sites]),
        *_agent_families(agents),
        *_told_families(services.read_model.list_metrics()),
        *_decision_families(services.read_model.decisions()),
        _family("store_queued_bytes", "gauge", "Octets that wait for a commit.", [({}, health.queued_bytes)]),
        _family(
            "store_pending_batches", "gauge", "Batches committed and not yet projected.", [({}, health.pending_batches)]
        ),
        _family("stream_clients", "gauge", "Subscriptions to the event stream.", [({}, services.hub.subscribers)]),
    ]
    return PlainTextResponse("".join(families), media_type=MEDIA_TYPE)


def _agent_families(agents: Iterable[Mapping[str, Any]]) -> list[str]:
    labelled = [({"agent": agent["id"], "site": agent["site"]}, agent) for agent in agents]
    info = [({**labels, "name": agent["name"], "version": agent["version"]}, 1.0) for labels, agent in labelled]
    lives = [(labels, agent["card_life_years"] * YEAR_S) for labels, agent in labelled if agent["card_life_years"]]
    contacts = [(labels, when(agent["last_contact"], 0) / 1e9) for labels, agent in labelled if agent["last_contact"]]
    healthy = [(labels, agent["health"] == "ok") for labels, agent in labelled if agent["health"]]
    expiries = [
        (labels, when(agent["certificate_expires"], 0) / 1e9)
        for labels, agent in labelled
        if agent["certificate_expires"]
    ]
    families = [
        _family("agent_info", "gauge", "Name and version of each agent.", info),
        _family(
            "agent_online",
            "gauge",
            "Whether the agent's heartbeat is fresh.",
            [(labels, agent["state"] == "online") for labels, agent in labelled],
        ),
        _family(
            "agent_healthy",
            "gauge",
            "Whether every part of the agent was well at its last contact; the list of agents has the reason.",
            healthy,
        ),
        _family("agent_last_contact_timestamp_seconds", "gauge", "When the agent was last heard.", contacts),
        _family("agent_certificate_expiry_timestamp_seconds", "gauge", "When its certificate ends.", expiries),
        _family(
            "agent_card_life_seconds",
            "gauge",
            "How long the agent's disk lasts at the rate of writing of the last hours; absent where it is not known.",
            lives,
        ),
    ]
    for field, (name, kind, text) in _AGENT_NUMBERS.items():
        families.append(_family(name, kind, text, [(labels, agent[field]) for labels, agent in labelled]))
    return families


def _told_families(metrics: Iterable[Mapping[str, Any]]) -> list[str]:
    """What agents report of themselves, as their interfaces have grown."""
    samples: dict[str, list[Sample]] = {name: [] for name in AGENT_METRICS}
    for told in metrics:
        labels = {"agent": told["agent"], "site": told["site"], **told["labels"]}
        samples[told["name"]].append((labels, told["total"]))
    return [_family(name, "counter", text, samples[name]) for name, text in AGENT_METRICS.items()]


def _decision_families(counts: Mapping[str, int]) -> list[str]:
    return [_family(name, "counter", text, [({}, counts[one])]) for one, (name, text) in _DECISIONS.items()]


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    lines = [f"# HELP fieldwatch_{name} {text}", f"# TYPE fieldwatch_{name} {kind}"]
    for labels, value in samples:
        marks = ",".join(f'{label}="{_escape(content)}"' for label, content in labels.items())
        number = int(value) if float(value).is_integer() else f"{value:.9f}"
        lines.append(f"fieldwatch_{name}{{{marks}}} {number}" if marks else f"fieldwatch_{name} {number}")
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
