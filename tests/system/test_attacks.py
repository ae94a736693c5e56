"""What floods can do to one agent: memory stays bounded, what is lost is counted, and a frame costs a few times more.

The bounds on CPU are far from what is measured, so that a busy machine does not matter: they are broken by a cost that
grows with the number of strangers, not by one that is a little higher. `python -m system.attacks NAME` shows more.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from system.attacks import ATTACKS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TESTS = Path(__file__).parents[1]
MOST_GROWTH_KIB = 64 << 10  # tables of the default size, filled, and the portion of frames in hand
MOST_LATE_GROWTH_KIB = 8 << 10  # once the tables are full
MOST_TIMES_HARMLESS = 10
BURST, A_SECOND = 50_000, 4_000  # messages for dissectors, from all hosts together
HOST_BURST, A_SECOND_OF_HOST = 1_000, 50

attacks = pytest.mark.parametrize("name", ATTACKS)


@cache
def passes(name: str) -> dict[str, Any]:
    """What the attack came to, in a process of its own: peaks of memory are a process's."""
    command = [sys.executable, "-m", "system.attacks", name]
    done = subprocess.run(command, capture_output=True, cwd=TESTS, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@attacks
def test_memory_is_bounded(name: str) -> None:
    """It grows by the tables, and no more once these are full."""
    found = passes(name)

    assert found["kernel"]["growth_kib"] + found["whole"]["growth_kib"] <= MOST_GROWTH_KIB
    assert max(found[which]["late_growth_kib"] for which in ("kernel", "whole")) <= MOST_LATE_GROWTH_KIB


@attacks
def test_every_frame_is_in_the_accounts(name: str) -> None:
    """Every frame has a verdict; those in flows are in exactly one record, evicted or not; nothing was dropped."""
    for found in passes(name).values():
        counters = found["counters"]

        assert counters["frames"] == found["frames"] == ATTACKS[name].count
        assert counters["frames"] == sum(
            counters[verdict] for verdict in ("decoded", "truncated", "malformed", "unsupported")
        )
        assert found["in_records"] == counters["in_flows"] == counters["frames"] - counters["outside_flows"]
        assert counters["slow_dropped"] == 0


@attacks
def test_a_frame_costs_a_few_times_a_harmless_one(name: str) -> None:
    """CPU of kernel and columns, over that of as many harmless frames in the same process."""
    found = passes(name)

    assert found["kernel"]["cpu_ns_a_frame"] <= MOST_TIMES_HARMLESS * found["harmless"]["cpu_ns_a_frame"]


@pytest.mark.parametrize("name", ["half_open", "compression_loops", "hellos", "quic_initials", "syn_options"])
def test_dissectors_see_no_more_than_their_allowance(name: str) -> None:
    """What many hosts may ask of Python is a burst and a rate; the rest is counted."""
    counters = passes(name)["whole"]["counters"]
    seconds = ATTACKS[name].count * ATTACKS[name].every_ns / 1e9

    assert counters["slow_frames"] + counters["slow_limited"] + counters["slow_repeated"] == ATTACKS[name].count
    assert BURST <= counters["slow_frames"] <= BURST + A_SECOND * seconds


def test_one_host_has_its_own_allowance() -> None:
    """A hundred thousand names in a hundred seconds: six thousand are looked at."""
    counters = passes("names")["whole"]["counters"]
    seconds = ATTACKS["names"].count * ATTACKS["names"].every_ns / 1e9

    assert counters["slow_frames"] + counters["slow_limited"] + counters["slow_repeated"] == ATTACKS["names"].count
    assert HOST_BURST <= counters["slow_frames"] <= HOST_BURST + A_SECOND_OF_HOST * seconds


def test_what_is_lost_is_counted() -> None:
    """Flows and sightings that the tables could not hold, and fragments without their first."""
    full = {name: passes(name)["kernel"]["counters"] for name in ("macs", "half_open", "hellos")}
    fragments = passes("fragments")["kernel"]["counters"]

    assert {name: c["flows_evicted"] + 65_536 for name, c in full.items()} == {n: ATTACKS[n].count for n in full}
    assert full["macs"]["sightings_evicted"] + 65_536 > ATTACKS["macs"].count
    assert fragments["fragments_lost"] == fragments["outside_flows"] == ATTACKS["fragments"].count // 2
