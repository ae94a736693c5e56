"""What `fieldwatch-agent read --json` promises of any file, whoever made it."""

from __future__ import annotations

import json


def broken_promise(out: str, err: str, code: int) -> str:
    """Why the output is not what the contract promises; empty when it is."""
    if code == 1:
        return (
            ""
            if len(err.splitlines()) == 1 and not out
            else f"exit 1 with {err!r:.200} and {len(out)} octets of output"
        )
    if code != 0:
        return f"exit code {code}: {err!r:.300}"
    summaries = [item for item in map(json.loads, out.splitlines()) if item["type"] == "summary"]
    if len(summaries) != 1:
        return f"{len(summaries)} summaries"
    summary = summaries[0]
    if summary["frames"] != summary["decoded"] + sum(summary["rejected"].values()):
        return f"frames do not add up: {summary}"
    if not summary["complete"] and not summary.get("problem"):
        return "not complete, without a problem"
    return f"standard error: {err!r:.200}" if err else ""
