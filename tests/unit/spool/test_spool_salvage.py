"""A spool file that is cut, flipped or gone: the agent starts, sends every whole row and nothing that is damaged."""

from __future__ import annotations

import random
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from fieldwatch_agent.spool.clear import clear
from fieldwatch_agent.spool.file import FILE_NAME, LOCK_NAME, MAX_QUARANTINES, RENEWED_NAME
from fieldwatch_agent.spool.image import PAGE_BYTES
from fieldwatch_agent.spool.items import START, Batch, Gap, Loss
from fieldwatch_agent.spool.store import Store
from fieldwatch_agent.spool.thread import SpoolThread
from fieldwatch_proto.v1.agent_pb2 import GapReason
from support.damage import WAL_NAME, cut, drain, flip, judge, leave, promised
from support.spooling import WIDE, body, put

IN_MEMORY = Path("/dev/shm")
MIXED = (60, 300, 900, 5_000, 20_000)
NUMBERS_OCTETS = 60  # of a row's record, before its body: header, integers, digest


@pytest.fixture
def quick(tmp_path: Path) -> Iterator[Path]:
    """A folder on a filesystem that syncs for nothing, where there is one."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY if IN_MEMORY.is_dir() else tmp_path) as folder:
        yield Path(folder)


@pytest.mark.parametrize("flips", [40, pytest.param(400, marks=pytest.mark.slow)])
def test_row_08_a_flipped_bit_costs_at_most_the_row_that_it_hit(quick: Path, flips: int) -> None:
    """Single bits, in file and WAL alike: it starts, sends nothing damaged, and every row that is whole."""
    dice = random.Random(8)
    left = leave(quick, [dice.choice(MIXED) for _ in range(150)], checkpoint_after=90)
    sizes = {name: 8 * (left.folder / name).stat().st_size for name in (FILE_NAME, WAL_NAME)}

    outcomes = []
    for _ in range(flips):
        folder = left.copy(quick / "flipped")
        name = dice.choice((FILE_NAME, WAL_NAME))
        flip(folder / name, dice.randrange(sizes[name]))
        outcomes.append(judge(left, folder, 1))

    assert {lost for lost, _ in outcomes} == {0, 1}
    assert any(salvaged for _, salvaged in outcomes)


def test_row_08_a_flipped_bit_in_the_numbers_of_a_row(quick: Path) -> None:
    """In every octet before a body, where a row says what it counts: it is declared lost, or nothing was hit."""
    left = leave(quick, [300] * 5, checkpoint_after=5)
    (left.folder / WAL_NAME).unlink()
    place = (left.folder / FILE_NAME).read_bytes().index(left.bodies[3])

    lost = []
    for bit in range(8 * (place - NUMBERS_OCTETS), 8 * place, 3):
        folder = left.copy(quick / "flipped")
        flip(folder / FILE_NAME, bit)
        lost.append(judge(left, folder, 1)[0])

    assert set(lost) == {0, 1}
    assert sum(lost) > len(lost) // 2


def test_row_07_a_spool_of_five_pages_cut_anywhere(quick: Path) -> None:
    """At and around each boundary of a page or frame, and every 397 octets; `system.damage` does the whole run."""
    left = leave(quick, [100, 700, 100, 3_000], checkpoint_after=2)
    for name, unit in ((FILE_NAME, PAGE_BYTES), (WAL_NAME, PAGE_BYTES + 24)):
        size = (left.folder / name).stat().st_size
        around = {edge + off for edge in range(0, size, unit) for off in (-1, 0, 1, 24, 25, 32)}
        for octets in sorted(around | set(range(0, size, 397))):
            if 0 <= octets < size:
                folder = left.copy(quick / "cut")
                cut(folder / name, octets)
                judge(left, folder, len(left.bodies))


def test_row_07_rows_before_the_cut_are_kept(quick: Path) -> None:
    """What lies before the cut is sent, byte for byte; the rest is declared under its numbers."""
    left = leave(quick, [5_000] * 40, checkpoint_after=40)
    pages = (left.folder / FILE_NAME).stat().st_size // PAGE_BYTES
    (left.folder / WAL_NAME).unlink()
    cut(left.folder / FILE_NAME, pages // 2 * PAGE_BYTES)

    octets = (left.folder / FILE_NAME).read_bytes()
    # So large a body lies in two parts: its first octets in the row's page, the rest on a page of its own.
    whole = [content for content in left.bodies.values() if content[:800] in octets and content[-4_000:] in octets]

    lost, salvaged = judge(left, left.folder, len(left.bodies) - len(whole))

    assert salvaged == 1
    assert 0 < lost < len(left.bodies)


@pytest.mark.parametrize("missing", [(WAL_NAME,), (f"{FILE_NAME}-shm",), (FILE_NAME,), (FILE_NAME, WAL_NAME)])
def test_row_09_files_that_are_gone(tmp_path: Path, missing: tuple[str, ...]) -> None:
    """What was committed since the last checkpoint is declared, with its count where the mark knows it."""
    left = leave(tmp_path, [400] * 30, checkpoint_after=10)
    for name in missing:
        (left.folder / name).unlink(missing_ok=True)

    batches, gaps, _ = drain(left.folder, left.mark)

    sent = {item.seq for item in batches}
    if missing == (WAL_NAME,):
        assert sent == set(range(1, 11))
        told = [(gap.epoch, gap.from_seq, gap.to_seq, gap.frames, gap.count_known) for gap in gaps]
        assert told == [(left.epoch, 11, 30, sum(range(11, 31)), True)]
        assert gaps[0].records == {1: 30, 3: 30}
    elif FILE_NAME in missing:
        assert promised(left, [*batches, *gaps]), "nothing is lost of a file that is gone"
    else:
        assert (sent, gaps) == (set(left.bodies), [])


def test_row_27_a_newer_format_is_set_aside(tmp_path: Path) -> None:
    """After a downgrade the newer agent's file is kept as it is; what this one can read of it is sent all the same."""
    left = leave(tmp_path, [400] * 5)
    with sqlite3.connect(left.folder / FILE_NAME) as other:
        other.execute("PRAGMA user_version=99")
    other.close()

    store = Store(left.folder, WIDE, left.mark)

    assert store.salvaged is not None
    assert "newer" in store.salvaged.why
    with sqlite3.connect(store.salvaged.place / FILE_NAME) as kept:
        assert kept.execute("PRAGMA user_version").fetchone() == (99,)
    kept.close()
    assert [item.seq for _, item in store.peek(max_items=100)] == [1, 2, 3, 4, 5]
    assert store.current.epoch != left.epoch


def test_what_was_acked_does_not_come_back(tmp_path: Path) -> None:
    """Deleted rows still lie in the file's free pages; the state says that they are done with."""
    store = Store(tmp_path, WIDE)
    store.commit([put(n, octets=3_000) for n in range(1, 21)])
    store.ack(store.current.epoch, 8, [(11, 12)])
    store.commit([put(21)])
    store.relabel(store.current.epoch, 9)
    before, status = [item for _, item in store.peek(max_items=100)], store.status()

    renewed = store.salvage("a test")

    assert [item for _, item in renewed.peek(max_items=100)] == before
    assert renewed.status()[:5] == status[:5]
    assert renewed.state.account_frames == store.state.account_frames
    assert {stream.epoch for stream in store.state.streams} < {stream.epoch for stream in renewed.state.streams}


def test_gaps_are_salvaged_in_their_last_form(tmp_path: Path) -> None:
    """A gap that grew, and the batches that it stands for, are one gap."""
    store = Store(tmp_path, WIDE)
    store.commit([], [Loss(GapReason.KERNEL_DROP, 7, detail="eth0")])
    store.commit([put(2), put(3), put(4)], [Loss(GapReason.KERNEL_DROP, 5, detail="eth0")])
    store.shrink(1)
    store.shrink(1)
    before = [item for _, item in store.peek(max_items=100)]

    renewed = store.salvage("a test")

    assert [item for _, item in renewed.peek(max_items=100)] == before
    assert [item.frames for item in before] == [12, 10, 5]


def test_a_file_damaged_in_use_is_salvaged(tmp_path: Path) -> None:
    """The trees' inner pages are overwritten under the running agent: every row goes on, in order."""
    thread = SpoolThread(tmp_path, WIDE)
    alarms: list[str] = []
    thread.tell(lambda kind, data: alarms.append(kind))
    thread.start()
    for number in range(1, 41):
        thread.put(put(number, octets=2_000))
    assert thread.flush()
    thread.call(Store.checkpoint)
    thread.call(lambda store: store.db.execute("PRAGMA shrink_memory").fetchall())
    with (tmp_path / FILE_NAME).open("r+b") as stream:
        for page in range(1, stream.seek(0, 2) // PAGE_BYTES):  # the trees' inner pages and the heads of others
            stream.seek(page * PAGE_BYTES)
            if stream.read(1) in (b"\x05", b"\x02"):
                stream.seek(page * PAGE_BYTES)
                stream.write(bytes(200))

    place, found = START, []
    while items := thread.call(lambda store, place=place: store.lease(place, 8)):
        place = items[-1][0]
        found += [item for _, item in items]

    assert [item.body for item in found if isinstance(item, Batch)] == [body(n, 2_000) for n in range(1, 41)]
    assert (thread.quarantines, alarms) == (1, ["agent.spool_salvaged"])
    assert thread.call(lambda store: store.state.account_frames) == 40 * 5
    thread.close(clean=True)


def test_a_salvage_that_was_cut_off_is_done_again(tmp_path: Path) -> None:
    """A half-made new file is thrown away; a finished one whose turn had come takes its place."""
    left = leave(tmp_path, [400] * 9)
    (left.folder / RENEWED_NAME).write_bytes(b"half of it")
    store = Store(left.folder, WIDE)
    renewed = store.salvage("a test")
    renewed.db.close()
    (left.folder / FILE_NAME).rename(left.folder / RENEWED_NAME)
    wal = leave(tmp_path / "other", [900] * 9).folder / WAL_NAME
    wal.rename(left.folder / WAL_NAME)  # of the old file, whose way to the quarantine was cut off

    again = Store(left.folder, WIDE)

    assert [item.seq for _, item in again.peek(max_items=100)] == list(range(1, 10))
    assert again.salvaged is None


def test_clearing_leaves_nothing_of_a_salvage(tmp_path: Path) -> None:
    """Neither the quarantine nor a new file that was not finished."""
    store = Store(tmp_path, WIDE)
    store.commit([put(1)])
    store.salvage("a test").db.close()
    (tmp_path / RENEWED_NAME).write_bytes(b"half of it")

    clear(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == {LOCK_NAME}


def test_quarantines_are_few(tmp_path: Path) -> None:
    """However often a file is damaged, the newest two are kept."""
    store = Store(tmp_path, WIDE)
    for number in range(4):
        store.commit([put(number)])
        store = store.salvage("a test")

    assert len(list((tmp_path / "quarantine").iterdir())) == MAX_QUARANTINES
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(RENEWED_NAME)]
    assert len(store.peek(max_items=100)) == 4


def test_rows_that_find_no_room_are_declared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a disk with room for half of the rows the others are declared with their count."""
    store = Store(tmp_path, WIDE)
    store.commit([put(n, octets=1_000) for n in range(1, 11)])
    monkeypatch.setattr("fieldwatch_agent.spool.salvage._room", lambda folder: 5_500)

    renewed = store.salvage("a test")

    items = [item for _, item in renewed.peek(max_items=100)]
    assert sum(isinstance(item, Batch) for item in items) == 5
    assert [(gap.frames, gap.count_known) for gap in items if isinstance(gap, Gap)] == [(5, True)] * 5


def test_without_any_state_what_is_whole_is_sent(tmp_path: Path) -> None:
    """Rows are sent under their numbers, and one gap says that more may be gone."""
    left = leave(tmp_path, [400] * 30, checkpoint_after=30)
    (left.folder / WAL_NAME).unlink()
    octets = (left.folder / FILE_NAME).read_bytes()
    (left.folder / FILE_NAME).write_bytes(octets.replace(b'state{"', b'stale{"'))

    batches, gaps, salvaged = drain(left.folder, None)

    assert [item.seq for item in batches] == list(range(1, 31))
    assert [(gap.count_known, gap.frames) for gap in gaps] == [(False, 0)]
    assert salvaged == 1


def test_what_a_failed_transaction_wrote_is_not_salvaged(tmp_path: Path) -> None:
    """SQLite writes large ones out before they end: the rows are in the WAL, and the running agent tries them again."""
    store = Store(tmp_path, WIDE)
    store.commit([put(1)])
    big = [put(number, octets=50_000) for number in range(2, 20)]
    store.db.execute("PRAGMA max_page_count=200")
    with pytest.raises(sqlite3.OperationalError):
        store.commit(big)
    store.db.execute("PRAGMA max_page_count=1000000")

    renewed = store.salvage("a test")

    renewed.commit(big[:1])
    items = [item for _, item in renewed.peek(max_items=100)]
    assert [item.body for item in items if isinstance(item, Batch)] == [put(1).sealed.body, big[0].sealed.body]
    assert len(items) == 2
