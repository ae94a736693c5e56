"""What `status` and `spool status` say of the disk: what was written to it, and how long it lasts at that rate."""

from __future__ import annotations

from typing import Any

from fieldwatch_proto.quantities import seconds_exact


def written_lines(found: dict[str, Any]) -> list[tuple[str, str]]:
    """Of what `Wear.describe` tells: (name, text)."""
    if not found["write_measured"]:
        return [("written", "not measured: the folder is in memory, on no disk")]
    written = f"{found['written_bytes'] / 1e6:.1f} MB since the start"
    if found["written_bytes_day"]:
        written += f", {found['written_bytes_day'] / 1e6:.0f} MB a day at the rate of the last hours"
    if found["write_budget_bytes_day"]:
        written += f", of at most {found['write_budget_bytes_day'] / 1e6:.0f} MB a day"
    lines = [("written", written)]
    if found["card_life_years"]:
        capacity = f"{found['card_capacity_bytes'] / 1e9:.0f} GB x {found['card_cycles']} cycles"
        lines.append(("card life", f"{found['card_life_years']:g} years, for a disk of {capacity}"))
    lines.append(("unsealed", f"records of the last {seconds_exact(found['seal_age_s'])} at most"))
    return lines
