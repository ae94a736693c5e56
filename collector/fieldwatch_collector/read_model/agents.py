"""Agents: who is here, how well, with which settings. Counters and health are those of the newest heartbeat."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from typing import Any

from fieldwatch_proto.schema import ClockQuality, time_text
from fieldwatch_proto.version import VERSION

from fieldwatch_collector.clocks import Correction, claimed, judged
from fieldwatch_collector.read_model import selectors
from fieldwatch_collector.read_model.asking import sum_of, text_of
from fieldwatch_collector.read_model.selectors import find_agent

ONLINE_NS = 30_000_000_000  # three heartbeats
_CLOCKS = {ClockQuality.UNSYNCED: "unsynced", ClockQuality.NTP: "synced"}
LEVELS = ("", "ok", "degraded", "failed")  # from good to bad

_SELECT = (
    "SELECT agent.*,"  # noqa: S608 - names of ours
    f" (SELECT {sum_of('records')} FROM stream WHERE stream.agent = agent.id) AS records_stored,"
    f" (SELECT {sum_of('frames')} FROM gap WHERE gap.agent = agent.id) AS frames_lost,"
    f" (SELECT {sum_of('value')} FROM gap, json_each(gap.records) WHERE gap.agent = agent.id) AS records_lost,"
    " (SELECT expires_ns FROM agent_certificate WHERE serial = agent.serial) AS certificate_ns,"
    " (SELECT count(*) FROM command WHERE command.agent = agent.id AND ended_ns IS NULL) AS open_commands,"
    " coalesce(config.version, 0) AS config_version, coalesce(config.confirmed_hash, '') AS confirmed_hash,"
    " coalesce(config.made_ns, 0) AS config_made_ns, coalesce(config.effective, '{}') AS effective,"
    # How the newest command that carried the settings ended, where the agent did not take them.
    " (SELECT text FROM command WHERE command.agent = agent.id AND name = 'config' AND state IN ('refused', 'failed')"
    "  AND json_extract(arguments, '$.version') = config.version ORDER BY id DESC LIMIT 1) AS config_refusal"
    " FROM agent LEFT JOIN agent_config AS config ON config.agent = agent.id"
)


def list_agents(connection: sqlite3.Connection, now_ns: int, *, site: str = "", select: str = "") -> dict[str, Any]:
    """AgentList by name. `select`: see `selectors`; empty = every agent."""
    wanted = selectors.parse(connection, select) if select else selectors.Selector()
    rows = connection.execute(
        f"{_SELECT} WHERE ? IN ('', site) ORDER BY agent.name, agent.id", (text_of("site", site),)
    )
    found = (row for row in rows if wanted.matches(row["id"], row["site"], selectors.tags_of(row)))
    return {"results": [_agent_of(row, now_ns) for row in found]}


def get_agent(connection: sqlite3.Connection, now_ns: int, agent: str) -> dict[str, Any]:
    """AgentDetail without the settings that are set for it: they are the commands' to tell."""
    row = connection.execute(f"{_SELECT} WHERE agent.id = ?", (find_agent(connection, agent),)).fetchone()
    status = json.loads(row["status"])
    return {
        "agent": _agent_of(row, now_ns),
        "health": status.get("health", []),
        "config": {
            **config_state(row, status.get("config", {})),
            "made": time_text(row["config_made_ns"]) if row["config_made_ns"] else "",
            "settings": [],
            "effective": json.loads(row["effective"]),
        },
    }


def _agent_of(row: sqlite3.Row, now_ns: int) -> dict[str, Any]:
    status = json.loads(row["status"])
    clock, waiting_since, waiting_clock = _clock(status, row["last_contact_ns"] or 0)
    version = row["version"] or status.get("version", "")
    level, reason = worst(status.get("health", ()))
    config = config_state(row, status.get("config", {}))
    return {
        "id": row["id"],
        "name": row["name"],
        "site": row["site"],
        "state": agent_state(row["last_contact_ns"], row["revoked_ns"], now_ns, status.get("state", "")),
        "version": version,
        "enrolled": time_text(row["enrolled_ns"]),
        "last_contact": time_text(row["last_contact_ns"]) if row["last_contact_ns"] else "",
        "frames_seen": _number(status, "frames_seen"),
        "frames_dropped": _number(status, "frames_dropped"),
        "frames_rejected": _number(status, "frames_rejected"),
        "spool_records": _number(status, "spool_records"),
        "spool_bytes": _number(status, "spool_bytes"),
        "spool_oldest": waiting_since,
        "records_stored": row["records_stored"],
        "records_lost": row["records_lost"],
        "frames_lost": row["frames_lost"],
        "rss_bytes": _number(status, "rss_bytes"),
        "uptime_s": _number(status, "uptime_s"),
        "interfaces": [
            {
                "name": interface.get("name", ""),
                "frames": _number(interface, "frames"),
                "dropped": _number(interface, "dropped"),
                "up": bool(interface.get("up", False)),
            }
            for interface in status.get("interfaces", ())
        ],
        "tags": json.loads(row["tags"]),
        "version_skew": version_skew(version),
        "health": level,
        "health_reason": reason,
        "clock_offset_ns": _number(status, "clock_offset_ns"),
        "written_bytes_day": _number(status, "written_bytes_day"),
        "write_budget_bytes_day": _number(status, "write_budget_bytes_day"),
        "card_life_years": _years(status),
        "allowed_commands": status.get("allowed_commands", []),
        "config_version": config["version"],
        "config_state": config["state"],
        "config_problem": config["problem"],
        "config_drifted": config["drifted"],
        "certificate_expires": time_text(row["certificate_ns"]) if row["certificate_ns"] else "",
        "open_commands": row["open_commands"],
        "hostname": status.get("hostname", ""),
        "cpu_share": _share(status),
        "clock": clock,
        "spool_oldest_clock": waiting_clock,
    }


def _clock(status: Mapping[str, Any], heard_ns: int) -> tuple[str, str, str]:
    """Of a heartbeat that came at `heard_ns`: the agent's clock as it was then, the time of the oldest record that
    waits, by our clock, and how good that time is (`ClockQuality.text`).

    The spool tells no clock for each record: those that were sealed before the agent's clock was set are not moved.
    """
    said, shift_ns = claimed(_number(status, "clock_quality")), _number(status, "clock_offset_ns")
    taken = judged(said, shift_ns) if shift_ns else Correction(0, said)  # 0 = the agent has never heard our clock
    clock = "corrected" if taken.quality is ClockQuality.CORRECTED else _CLOCKS.get(said, "")
    oldest_ns = _number(status, "spool_oldest_ns")
    if not oldest_ns:
        return clock, "", ""
    if taken.quality.text:  # in doubt; but it was there when it was told
        oldest_ns = min(max(oldest_ns + taken.shift_ns, 0), heard_ns)
    return clock, time_text(oldest_ns), taken.quality.text


def agent_state(last_contact_ns: int | None, revoked_ns: int | None, now_ns: int, said: str = "") -> str:
    """revoked, never, online or offline; `said`: the state in its newest heartbeat, the last one is "stopping"."""
    if revoked_ns is not None:
        return "revoked"
    if last_contact_ns is None:
        return "never"
    return "online" if now_ns - last_contact_ns < ONLINE_NS and said != "stopping" else "offline"


def worst(health: Any) -> tuple[str, str]:
    """(level, reason) of a tree of components: the worst level, and of those the deepest that gives a reason."""
    level, reason, depth = "", "", -1
    for one in health:
        at = one["component"].count("/")
        worse = LEVELS.index(one["level"]) - LEVELS.index(level)
        if worse > 0:
            level, reason, depth = one["level"], "", -1
        if worse >= 0 and one["reason"] and at > depth and level != "ok":
            reason, depth = f"{one['component'].removeprefix('agent/')}: {one['reason']}", at
    return level, reason


def version_skew(version: str, ours: str = VERSION) -> str:
    """Whether an agent is older or newer than this collector, by the numbers of their versions; empty = alike."""
    theirs = _numbers(version)
    if not theirs or theirs == _numbers(ours):
        return ""
    return "older" if theirs < _numbers(ours) else "newer"


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split("+")[0].split(".")
    return tuple(int(part) for part in parts if part.isascii() and part.isdigit() and len(part) < 9)


def config_state(row: sqlite3.Row, status: Mapping[str, Any]) -> dict[str, Any]:
    """How the newest version of the remote settings fares: ``{version, tried, state, problem, drifted}``.

    drifted: the settings in force have changed on the device since this version was confirmed.
    """
    version, tried = row["config_version"], int(status.get("version", 0))
    state, problem = ("waiting", "") if version else ("", "")
    if tried == version > 0:
        state, problem = str(status.get("state", "")), str(status.get("problem", ""))
    elif row["config_refusal"] is not None:
        state, problem = "rejected", row["config_refusal"]
    in_force, confirmed = status.get("effective_hash", ""), row["confirmed_hash"]
    drifted = state == "confirmed" and bool(in_force and confirmed) and in_force != confirmed
    return {"version": version, "tried": tried, "state": state, "problem": problem, "drifted": drifted}


def _number(status: Mapping[str, Any], name: str) -> int:
    return int(status.get(name, 0))  # protobuf's JSON writes 64-bit numbers as text


def _share(status: Mapping[str, Any]) -> float:
    """Of one core, over the whole run."""
    uptime_s = _number(status, "uptime_s")
    return round(_number(status, "cpu_ms") / 1_000 / uptime_s, 4) if uptime_s else 0.0


def _years(status: Mapping[str, Any]) -> float:
    """To three digits: a week is not "not known". Protobuf's JSON writes numbers that are none ("NaN", "Infinity") as
    text: those are not known.
    """
    years = status.get("card_life_years", 0.0)
    return float(f"{years:.3g}") if isinstance(years, int | float) and 0 < years < 1e6 else 0.0
