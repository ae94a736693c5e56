"""The wall clock that is set: what an agent makes of it, with both clocks in the test's hands."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

import pytest
from fieldwatch_agent import clock as clock_module
from fieldwatch_agent.clock import MAX_ERAS, Clock, boottime_ns, realtime_ns
from fieldwatch_agent.sealer import Sealer
from fieldwatch_agent.spool.items import Loss, Put
from fieldwatch_proto.columns import open_body
from fieldwatch_proto.records import Records, records_of
from fieldwatch_proto.schema import ClockQuality, Kind
from support.collector import flow

SECOND = 1_000_000_000
HOUR = 3_600 * SECOND
YEARS = 10 * 365 * 24 * HOUR
NOW = 1_800_000_000 * SECOND  # 2027
BOOT = bytes(range(16))


@dataclass
class Machine:
    """Time passes by `pass_time`, somebody sets the clock by `set`."""

    real: int = NOW
    boot: int = 100 * SECOND
    quality: ClockQuality = ClockQuality.UNSYNCED

    def clock(self) -> Clock:
        return Clock(BOOT, realtime=lambda: self.real, boottime=lambda: self.boot, ask_quality=lambda: self.quality)

    def pass_time(self, seconds: float) -> None:
        self.real += int(seconds * SECOND)
        self.boot += int(seconds * SECOND)


def flows(*times: tuple[int, int]) -> Records:
    rows = [flow(b"\x0a\0\0\1", b"\x0a\0\0\2", first_ns=first, last_ns=last) for first, last in times]
    return records_of(Kind.FLOW, rows)


def times_of(records: Records) -> list[tuple[int, int]]:
    return list(zip(records.values("first_ns"), records.values("last_ns"), strict=True))


def test_a_batch_says_by_which_clock_its_times_are() -> None:
    """Anchor, boot and quality in every row, through the seal and back; the records are as they were."""
    machine = Machine(quality=ClockQuality.NTP)
    before = flows((NOW - 5, NOW - 3), (NOW - 2, NOW - 1))
    puts: list[Put] = []
    losses: list[Loss] = []
    sealer = Sealer(
        lambda put: not puts.append(put), losses.append, seal_bytes=1000, seal_age_s=60, stamp=machine.clock().stamp
    )
    sealer.add(before)
    sealer.flush()
    sealed = puts[0].sealed

    opened = open_body(Kind.FLOW, 2, sealed.raw_bytes, sealed.body)

    assert opened.values("clock_anchor_ns") == [NOW - 100 * SECOND] * 2
    assert opened.values("clock_boot") == [0x0706050403020100] * 2
    assert opened.values("clock_quality") == [ClockQuality.NTP] * 2
    assert opened.rows() == before.rows()
    assert (sealed.t_min, sealed.t_max) == (NOW - 5, NOW - 1)


@pytest.mark.parametrize("step", [YEARS, -YEARS, HOUR, -HOUR, 30 * SECOND, -30 * SECOND])
def test_times_of_before_a_step_are_of_the_clock_as_it_is_at_the_seal(step: int) -> None:
    """Flows that ended before it, that lasted over it, and that began after it: all in one order, by one clock."""
    machine = Machine()
    clock = machine.clock()
    machine.pass_time(40)
    began = machine.real
    machine.pass_time(10)
    ended = machine.real
    clock.look()
    machine.real += step
    clock.look()
    machine.pass_time(2)
    after = machine.real

    stamped = clock.stamp(flows((began, ended), (ended, after), (after, after)))

    assert times_of(stamped) == [(began + step, ended + step), (ended + step, after), (after, after)]
    assert stamped.values("clock_anchor_ns") == [machine.real - machine.boot] * 3
    assert clock.steps == 1


def test_a_pi_that_wakes_in_1970() -> None:
    """Set twice, first to the time of its last shutdown and then right: what it saw in 1970 is in its place."""
    machine = Machine(real=12 * SECOND, boot=12 * SECOND)
    clock = machine.clock()
    machine.pass_time(5)
    seen = machine.real
    clock.look()
    machine.real += NOW - HOUR
    clock.look()
    machine.pass_time(20)
    seen_between = machine.real
    clock.look()
    machine.real += HOUR
    machine.pass_time(1)

    stamped = clock.stamp(flows((seen, seen), (seen_between, machine.real)))

    assert times_of(stamped) == [(seen + NOW, seen + NOW), (seen_between + HOUR, machine.real)]
    assert clock.steps == 2


def test_small_corrections_are_no_steps_until_they_add_up() -> None:
    """What a time service slews or nudges is within a second; the anchor that is told follows it."""
    machine = Machine()
    clock = machine.clock()
    for _ in range(2):
        machine.real += 500_000_000
        clock.look()
    assert clock.steps == 0
    machine.real += 1

    clock.look()

    assert clock.steps == 1


def test_a_clock_that_is_set_without_end_takes_no_room() -> None:
    """Eras that are remembered are bounded, and a time of none of them stays what it was."""
    machine = Machine()
    clock = machine.clock()
    for _ in range(10 * MAX_ERAS):
        machine.pass_time(1)
        machine.real += HOUR
        clock.look()

    assert len(clock._eras) == MAX_ERAS
    assert times_of(clock.stamp(flows((NOW - YEARS, NOW + YEARS)))) == [(NOW - YEARS, NOW + YEARS)]


def test_the_collectors_clock_is_believed() -> None:
    """Heard once, it holds for this boot, however our own clock is set afterwards; before the certificate began it is
    not, whatever anybody says."""
    machine = Machine(real=12 * SECOND, boot=12 * SECOND)
    clock = machine.clock()
    assert (clock.offset_ns, clock.is_known, clock.now_s(), clock.now_s(500.0)) == (None, False, 12.0, 500.0)

    clock.hear(NOW)
    machine.pass_time(3)

    assert (clock.offset_ns, clock.is_known) == (NOW - 12 * SECOND, True)
    assert clock.now_s() == (NOW + 3 * SECOND) / 1e9
    machine.real += YEARS
    assert clock.now_s(500.0) == (NOW + 3 * SECOND) / 1e9


def test_whatever_a_collector_says_fits_into_64_bits() -> None:
    """0 says nothing; the largest number is a clock that is wrong, in a message that can be sent."""
    clock = Machine(real=12 * SECOND, boot=12 * SECOND).clock()
    clock.hear(0)
    assert clock.offset_ns is None
    clock.hear((1 << 64) - 1)
    assert clock.offset_ns is not None
    assert clock.offset_ns < 1 << 63


def test_the_anchor_of_this_machine_stands_still() -> None:
    """Two readings of the real clocks agree far within a second."""
    clock = Clock(BOOT)

    assert abs(clock.anchor_ns() - (realtime_ns() - boottime_ns())) < SECOND // 10
    assert clock.quality in (ClockQuality.NTP, ClockQuality.UNSYNCED)


@pytest.mark.parametrize("synchronised", [True, False])
def test_where_the_kernel_may_not_be_asked_the_time_service_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synchronised: bool
) -> None:
    """ProtectClock= of our unit forbids adjtimex(2); what cannot be found out is not relied on."""

    def forbidden() -> bool:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    mark = tmp_path / "synchronized"
    if synchronised:
        mark.touch()
    monkeypatch.setattr(clock_module, "is_disciplined", forbidden)
    monkeypatch.setattr(clock_module, "TIMESYNC_FILE", mark)

    assert clock_module.quality() is (ClockQuality.NTP if synchronised else ClockQuality.UNSYNCED)
