"""What is written is the kernel's number, the rate is that of the last hours, and a budget is kept by sealing later."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fieldwatch_agent.spool.wear import (
    CYCLES,
    DAY_S,
    MAX_SEAL_AGE_S,
    WINDOW_S,
    Pace,
    Wear,
    capacity_bytes,
    filesystem_type,
    parse_budget,
    written_bytes,
)

CONFIGURED = Pace(48 << 10, 5.0)


class Disk:
    """A disk to which batches cost so much each, and a clock."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.octets = 5_000_000

    def wear(self, folder: Path, budget: int = 0) -> Wear:
        made = Wear(folder, CONFIGURED, budget, read=lambda: self.octets, clock=lambda: self.now)
        made.measured = True
        return made

    def run(self, wear: Wear, seconds: int, *, a_batch: int, a_second: int = 0) -> None:
        """Seconds in which a batch is sealed at each age, and others write as well."""
        since = 0.0
        for _ in range(seconds):
            self.now += 1
            since += 1
            self.octets += a_second
            if since >= wear.pace.seal_age_s:
                since -= wear.pace.seal_age_s
                self.octets += a_batch
            wear.look()


@pytest.mark.parametrize(
    ("text", "octets"), [("", 0), ("50 MB/day", 50_000_000), ("1 GiB / day", 1 << 30), (" 2.5 MB/day", 2_500_000)]
)
def test_budgets(text: str, octets: int) -> None:
    assert parse_budget(text) == octets


@pytest.mark.parametrize("text", ["50 MB", "50 MB/h", "lots/day", "5 kB/day", "/day"])
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(ValueError, match="accepted is"):
        parse_budget(text)


def test_the_kernel_counts_what_is_written(tmp_path: Path) -> None:
    """A mebibyte that is synced is a mebibyte, where the folder is on a disk."""
    if filesystem_type(tmp_path) in ("tmpfs", "ramfs"):
        pytest.skip("the temporary folder is in memory")
    before = written_bytes()

    with (tmp_path / "file").open("wb") as stream:
        stream.write(os.urandom(1 << 20))
        stream.flush()
        os.fsync(stream.fileno())

    assert (1 << 20) <= written_bytes() - before < 2 << 20
    assert capacity_bytes(tmp_path) >= os.statvfs(tmp_path).f_blocks * os.statvfs(tmp_path).f_frsize * 9 // 10


def test_memory_is_no_disk() -> None:
    """On a filesystem in memory nothing is counted, and that is said."""
    folder = Path("/dev/shm")
    if filesystem_type(folder) != "tmpfs":
        pytest.skip("no tmpfs here")

    wear = Wear(folder, CONFIGURED, 50_000_000)

    told = wear.describe()
    assert (told["write_measured"], told["written_bytes"], told["card_life_years"]) == (False, 0, 0.0)
    assert wear.look() is None


def test_the_rate_is_that_of_the_last_hours(tmp_path: Path) -> None:
    """Not known in the first minute; what was long ago does not count; the life is capacity x cycles / rate."""
    disk = Disk()
    wear = disk.wear(tmp_path)
    disk.run(wear, 30, a_batch=0, a_second=1_000)
    assert (wear.rate(), wear.card_life_years) == (0, 0.0)

    disk.run(wear, 3_600, a_batch=0, a_second=1_000)
    assert wear.rate() == 1_000 * DAY_S
    disk.run(wear, WINDOW_S + 120, a_batch=0, a_second=100)

    assert wear.rate() == 100 * DAY_S
    years = capacity_bytes(tmp_path) * CYCLES / (100 * DAY_S) / 365
    assert wear.card_life_years == pytest.approx(years)
    assert wear.pace == CONFIGURED


def test_a_budget_is_kept_by_sealing_later(tmp_path: Path) -> None:
    """40 kB each 5 s are 691 MB a day; with a budget of 100 MB batches become about seven times as old."""
    disk = Disk()
    wear = disk.wear(tmp_path, 100_000_000)
    disk.run(wear, 3_600, a_batch=40_000)
    before = disk.octets

    disk.run(wear, 3 * 3_600, a_batch=40_000)

    assert (disk.octets - before) * 8 <= 100_000_000
    assert 30 <= wear.pace.seal_age_s <= 60
    assert wear.pace.seal_bytes > CONFIGURED.seal_bytes


def test_the_age_is_bounded_and_comes_down_again(tmp_path: Path) -> None:
    """What no age can mend is told by the rate; when others write no more, batches are young again."""
    disk = Disk()
    wear = disk.wear(tmp_path, 50_000_000)
    disk.run(wear, 3_600, a_batch=40_000, a_second=5_000)
    assert wear.pace.seal_age_s == MAX_SEAL_AGE_S
    assert wear.describe()["written_bytes_day"] > wear.describe()["write_budget_bytes_day"]

    disk.run(wear, 3 * 3_600, a_batch=1_000)

    assert wear.pace.seal_age_s == CONFIGURED.seal_age_s
