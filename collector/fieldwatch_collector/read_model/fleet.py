"""Sites, what agents measure of themselves, and the state of the collector as a whole."""

from __future__ import annotations

import difflib
import json
import sqlite3
from collections import Counter
from typing import Any

from fieldwatch_proto.schema import AGENT_METRICS, METRIC_LABELS, time_text
from fieldwatch_proto.version import VERSION

from fieldwatch_collector.foreign_json import json_object
from fieldwatch_collector.read_model.agents import agent_state
from fieldwatch_collector.read_model.asking import NotFound, sum_of, text_of

SITES_NAMED = 10


def list_metrics(connection: sqlite3.Connection) -> list[dict[str, Any]]:
    """What agents report of themselves, by name: known names with known labels, for series are chosen by agents."""
    rows = connection.execute(
        "SELECT metric.agent, agent.site, metric.name, metric.labels, metric.total"
        " FROM json_each(?) AS known JOIN metric ON metric.name = known.value JOIN agent ON agent.id = metric.agent"
        " ORDER BY metric.name, metric.agent, metric.labels",
        (json.dumps(list(AGENT_METRICS)),),
    )
    found = []
    for row in rows:
        labels = _labels(row["labels"])
        if labels is not None:
            found.append({**{name: row[name] for name in ("agent", "site", "name", "total")}, "labels": labels})
    return found


def _labels(text: str) -> dict[str, str] | None:
    """Labels as the schema has them; None where they are not."""
    labels = json_object(text)
    if labels is None or not METRIC_LABELS.issuperset(labels):
        return None
    return labels if all(isinstance(value, str) for value in labels.values()) else None


def list_sites(connection: sqlite3.Connection) -> dict[str, Any]:
    """SiteList by name: every site that has an agent or a device."""
    rows = connection.execute(
        "SELECT name, sum(agents) AS agents, sum(devices) AS devices FROM ("
        " SELECT site AS name, count(*) AS agents, 0 AS devices FROM agent WHERE revoked_ns IS NULL GROUP BY site"
        " UNION ALL SELECT site, 0, count(*) FROM device GROUP BY site) GROUP BY name ORDER BY name"
    )
    return {"results": [{"name": row["name"], "agents": row["agents"], "devices": row["devices"]} for row in rows]}


def require_site(connection: sqlite3.Connection, site: str) -> None:
    """Raises NotFound where `site` never had an agent or a device: a slip must not look like an empty network."""
    held = "SELECT 1 FROM agent WHERE site = ? UNION ALL SELECT 1 FROM device WHERE site = ? LIMIT 1"
    if connection.execute(held, (text_of("site", site),) * 2).fetchone():
        return
    names = [row["name"] for row in list_sites(connection)["results"]]
    near = difflib.get_close_matches(site, names, n=1, cutoff=0.5)
    shown = ", ".join(names[:SITES_NAMED]) + (", ..." if len(names) > SITES_NAMED else "")
    hint = f"did you mean {near[0]}?" if near else f"there are: {shown}" if names else "there is none yet"
    raise NotFound(f"site: no site is called {site!r:.60}; {hint}")


def status(connection: sqlite3.Connection, now_ns: int) -> dict[str, Any]:
    """One look at everything: what is held, who reports, how far the projections are, what was lost."""
    states = Counter(
        agent_state(row["last_contact_ns"], row["revoked_ns"], now_ns, row["said"] or "")
        for row in connection.execute(
            "SELECT last_contact_ns, revoked_ns, json_extract(status, '$.state') AS said FROM agent"
        )
    )
    newest = connection.execute("SELECT coalesce(max(position), 0) FROM batch").fetchone()[0]
    lost = connection.execute(
        f"SELECT {sum_of('frames')} AS frames,"  # noqa: S608 - names of ours
        f" (SELECT {sum_of('value')} FROM gap, json_each(gap.records)) AS records FROM gap"
    ).fetchone()
    return {
        "version": VERSION,
        "time": time_text(now_ns),
        "devices": _count(connection, "SELECT count(*) FROM device"),
        "flows": _count(connection, "SELECT count(*) FROM flow"),
        "events": _count(connection, "SELECT count(*) FROM event"),
        "sites": len(list_sites(connection)["results"]),
        "agents": {state: states[state] for state in ("online", "offline", "never", "revoked")},
        "projections": [
            {"name": row["name"], "position": row["position"], "behind": newest - row["position"]}
            for row in connection.execute("SELECT name, position FROM projection ORDER BY name")
        ],
        "dead_letters": _count(connection, "SELECT count(*) FROM dead_letter"),
        "records_lost": lost["records"],
        "frames_lost": lost["frames"],
    }


def _count(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])
