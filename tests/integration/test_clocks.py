"""Clocks that are wrong: what a collector makes of their times, by what an agent's Hello told of its boot."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from fieldwatch_collector import clocks
from fieldwatch_collector.admin import run
from fieldwatch_collector.read_model.flows import flow_of
from fieldwatch_proto.columns import Sealed, seal
from fieldwatch_proto.records import Records, records_of
from fieldwatch_proto.schema import ClockQuality, Kind, time_text
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.collector import Identity, Running, batch, enrol, fact, flow, running, sighting, talk

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
YEARS = 10 * 365 * 24 * HOUR
EPOCH = 0xC10C
BOOT = bytes(range(0xF0, 0x100))
OTHER_BOOT = bytes(16)
UPTIME = 1_000 * SECOND  # of the agent's machine, at its Hello
SEEN_SINCE_BOOT = 900 * SECOND  # when the records came to be
UNSYNCED, NTP, UNKNOWN = ClockQuality.UNSYNCED, ClockQuality.NTP, ClockQuality.UNKNOWN


def stamped(kind: Kind, row: dict[str, Any], anchor_ns: int, quality: ClockQuality, boot: bytes = BOOT) -> Sealed:
    """One record of a clock with this anchor, as an agent seals it."""
    records = records_of(kind, [row])
    columns = {
        "clock_anchor_ns": anchor_ns.to_bytes(8, "little", signed=True),
        "clock_boot": boot[:8],
        "clock_quality": bytes([quality]),
    }
    return seal(Records(kind, 1, {**records.columns, **columns}))


def flow_at(moment_ns: int) -> dict[str, Any]:
    return flow(b"\x0a\0\0\1", b"\x0a\0\0\2", first_ns=moment_ns - SECOND, last_ns=moment_ns)


async def push(
    collector: Running, identity: Identity, first: int, *batches: Sealed, boot: bytes = BOOT, schema: int = 2
) -> int:
    """One session of an agent whose machine has run for `UPTIME`; the true anchor of its boot."""
    async with talk(collector, identity) as stream:
        streams = [pb.Stream(epoch=EPOCH, first_unacked=first, next_seq=first + len(batches))]
        hello = pb.Hello(protocol=1, streams=streams, schema=schema, boot_id=boot, monotonic_ns=UPTIME)
        await stream.call.wait_for_connection()  # what a handshake takes is not on the way of the Hello
        said_ns = time.time_ns()
        await stream.send(hello)
        await stream.read()
        await stream.send(*(batch(EPOCH, first + n, sealed, schema=schema) for n, sealed in enumerate(batches)))
        if batches:
            await stream.acked(EPOCH, first + len(batches) - 1)
    await collector.projected()
    return said_ns - UPTIME


def shown_flows(collector: Running) -> list[tuple[int, str]]:
    with collector.services.store.reader() as connection:
        return [(row["last_ns"], flow_of(row)["clock"]) for row in connection.execute("SELECT * FROM flow ORDER BY id")]


@pytest.mark.parametrize(
    ("wrong_by", "quality", "shown"),
    [
        (-YEARS, UNSYNCED, "corrected"),
        (YEARS, UNSYNCED, "corrected"),
        (-HOUR, UNSYNCED, "corrected"),
        (5 * SECOND, UNSYNCED, "corrected"),
        (5 * SECOND, UNKNOWN, "corrected"),
        (0, UNSYNCED, ""),
        (0, NTP, ""),
        (5 * SECOND, NTP, ""),  # a time service may know better than we do
        (-HOUR, NTP, "corrected"),
    ],
)
async def test_times_of_a_wrong_clock_are_set_right(
    tmp_path: Path, wrong_by: int, quality: ClockQuality, shown: str
) -> None:
    """Within a second of the truth or trusted as they are; a rebuild comes to the same."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        anchor = await push(collector, identity, 1) + wrong_by
        await push(collector, identity, 1, stamped(Kind.FLOW, flow_at(anchor + SEEN_SINCE_BOOT), anchor, quality))
        before = shown_flows(collector)
        run(collector.services, "store.rebuild", {})
        after = shown_flows(collector)

    ((last_ns, clock),) = before
    right_ns = anchor - wrong_by + SEEN_SINCE_BOOT
    trusted_by = abs(wrong_by) if not shown else 0
    assert clock == shown
    assert abs(last_ns - right_ns) <= trusted_by + SECOND
    assert after == before


async def test_every_kind_is_set_right(tmp_path: Path) -> None:
    """The tables of sightings, claims, events and metrics hold times by our clock; an event, told once, says so."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        right = await push(collector, identity, 1)
        wrong = right - YEARS
        seen = wrong + SEEN_SINCE_BOOT
        event = {"ts_ns": seen, "type": "alarm", "severity": "info", "subject": "eth0", "data": '{"clock":"mine"}'}
        metric = {"ts_ns": seen, "name": "frames_total", "labels": "{}", "value": 1.0}
        rows = {
            Kind.SIGHTING: sighting(1, b"\x0a\0\0\1", first_ns=seen, last_ns=seen),
            Kind.FACT: fact("00:de:ad:00:00:01", "hostname", "nas", "dhcp", seen_ns=seen),
            Kind.EVENT: event,
            Kind.METRIC: metric,
        }
        await push(collector, identity, 1, *(stamped(kind, row, wrong, UNSYNCED) for kind, row in rows.items()))
        times = collector.rows(
            "SELECT first_ns, last_ns FROM sighting UNION ALL SELECT first_ns, last_ns FROM claim"
            " UNION ALL SELECT ts_ns, ts_ns FROM metric"
            " UNION ALL SELECT ts_ns, ts_ns FROM event WHERE type = 'agent.alarm'"
        )
        told = collector.rows("SELECT json_extract(data, '$.clock') FROM event WHERE type = 'agent.alarm'")

    assert len(times) == 4
    assert all(abs(moment - right - SEEN_SINCE_BOOT) <= SECOND for row in times for moment in row)
    assert told == [("corrected",)]


async def test_a_boot_that_was_never_heard_of_is_marked(tmp_path: Path) -> None:
    """Its times stay and say so, but nothing comes from the future; what a time service vouched for is believed."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        past, future = stamped_at(-YEARS, UNSYNCED), stamped_at(YEARS, UNSYNCED)
        await push(collector, identity, 1, past, future, stamped_at(0, NTP), boot=OTHER_BOOT)
        received = time.time_ns()
        found = shown_flows(collector)

    assert [clock for _, clock in found] == ["unsynced", "unsynced", ""]
    assert found[0][0] == past.t_max
    assert 0 <= received - found[1][0] < 60 * SECOND
    assert found[2][0] > received - 60 * SECOND


def stamped_at(wrong_by: int, quality: ClockQuality) -> Sealed:
    now_ns = time.time_ns() + wrong_by
    return stamped(Kind.FLOW, flow_at(now_ns), now_ns - UPTIME, quality)


@pytest.mark.parametrize(
    ("wrong_by", "quality", "age_s", "moved", "doubt"),
    [
        (-YEARS, UNSYNCED, 60, True, "corrected"),
        (YEARS, UNSYNCED, 60, True, "corrected"),
        (0, UNSYNCED, 60, False, None),
        (5 * SECOND, NTP, 60, False, None),
        (-HOUR, NTP, 60, True, "corrected"),
        (-YEARS, UNSYNCED, 3 * UPTIME // SECOND, False, "unsynced"),  # of before the boot: by a clock of then
        (0, NTP, 3 * UPTIME // SECOND, False, None),
    ],
)
async def test_a_gap_is_dated_by_the_wall_clock_of_the_hello(
    tmp_path: Path, wrong_by: int, quality: ClockQuality, age_s: int, moved: bool, doubt: str | None
) -> None:
    """It has no columns of a clock; its row and its event hold the time by ours, and the event says what was done."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        collector.services.store.transact_sync(
            lambda connection: connection.execute(
                "UPDATE agent SET status = json_object('clock_quality', ?)", (int(quality),)
            )
        )
        now_ns = time.time_ns()
        told_ns = now_ns + wrong_by - age_s * SECOND
        async with talk(collector, identity) as stream:
            streams = [pb.Stream(epoch=EPOCH, first_unacked=1, next_seq=2)]
            await stream.send(
                pb.Hello(
                    protocol=1,
                    streams=streams,
                    schema=2,
                    boot_id=BOOT,
                    monotonic_ns=UPTIME,
                    wall_ns=now_ns + wrong_by,
                )
            )
            await stream.read()
            await stream.send(pb.Gap(epoch=EPOCH, from_seq=1, to_seq=1, frames=7, count_known=True, ts_ns=told_ns))
            await stream.acked(EPOCH, 1)
        ((kept_ns, received_ns),) = collector.rows("SELECT ts_ns, received_ns FROM gap")
        ((declared, clock),) = collector.rows(
            "SELECT json_extract(data, '$.declared'), json_extract(data, '$.clock') FROM event WHERE type = 'agent.gap'"
        )

    right_ns = told_ns - (wrong_by if moved else 0)
    assert abs(kept_ns - right_ns) < 60 * SECOND if moved else kept_ns == right_ns
    assert kept_ns <= received_ns
    assert (declared, clock) == (time_text(kept_ns), doubt)


async def test_agents_that_tell_no_clock_are_taken_at_their_word(tmp_path: Path) -> None:
    """An older agent gives another clock in its Hello, and no columns: neither is used."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        await push(collector, identity, 1, seal(records_of(Kind.FLOW, [flow_at(HOUR)])), schema=1)
        kept = collector.rows("SELECT * FROM agent_clock")
        found = shown_flows(collector)

    assert kept == []
    assert found == [(HOUR, "")]


async def test_no_time_breaks_a_batch(tmp_path: Path) -> None:
    """The ends of 64 bits, moved beyond them: times of a stranger bury nothing."""
    async with running(tmp_path / "data") as collector:
        identity = await enrol(collector)
        low, high = -(1 << 63), (1 << 63) - 1
        row = flow(b"\x0a\0\0\1", b"\x0a\0\0\2", first_ns=low, last_ns=high)
        await push(collector, identity, 1, *(stamped(Kind.FLOW, row, anchor, UNSYNCED) for anchor in (low, high)))
        found = collector.rows("SELECT first_ns, last_ns FROM flow ORDER BY id")
        dead = collector.rows("SELECT problem FROM dead_letter")

    assert dead == []
    (_, latest), (earliest, _) = found
    assert (earliest, latest) == (0, high)


def test_what_a_hello_must_hold() -> None:
    """Boot and uptime, of an agent that gives the clock that nobody sets."""
    hello = pb.Hello(schema=2, boot_id=BOOT, monotonic_ns=7)

    assert clocks.measured(hello, 107) == (clocks.signed(int.from_bytes(BOOT[:8], "little")), 100, 107)
    for broken in ({"schema": 1}, {"boot_id": b"short"}, {"monotonic_ns": 0}, {"monotonic_ns": (1 << 64) - 1}):
        assert clocks.measured(pb.Hello(**{"schema": 2, "boot_id": BOOT, "monotonic_ns": 7, **broken}), 107) is None


async def test_measurements_are_few_and_the_least_delayed_counts(tmp_path: Path) -> None:
    """A Hello that was long on its way says nothing new; a drift of hours does; and a boot a minute stays bounded."""
    async with running(tmp_path / "data") as collector:
        store = collector.services.store

        def told(boot: int, anchor_ns: int, at_ns: int) -> bool:
            taken = clocks.Measurement(boot, anchor_ns, at_ns)
            with store.reader() as connection:
                news = clocks.is_news(connection, "a", taken)
            if news:
                store.transact_sync(lambda connection: clocks.remember(connection, "a", taken))
            return news

        def measure() -> list[bool]:
            return [
                told(1, 0, 0),
                told(1, 400_000_000, 2 * HOUR),  # the same
                told(1, 5 * SECOND, HOUR // 2),  # delayed
                told(1, -2 * SECOND, HOUR // 2),  # the one before was delayed
                told(1, 3 * SECOND, 4 * HOUR),  # drift
                told(1, HOUR, 4 * HOUR + 1),  # our own clock was set
                told(2, 0, 0),
            ]

        news = await asyncio.to_thread(measure)
        await asyncio.to_thread(
            store.transact_sync,
            lambda connection: [
                clocks.remember(connection, "b", clocks.Measurement(n, 0, n))
                for n in range(clocks.MAX_MEASUREMENTS + 50)
            ],
        )
        kept = collector.rows("SELECT count(*), min(measured_ns) FROM agent_clock WHERE agent = 'b'")

    assert news == [True, False, False, True, True, True, True]
    assert kept == [(clocks.MAX_MEASUREMENTS, 50)]
