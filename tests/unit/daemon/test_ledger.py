"""The ledger survives SIGKILL, and the next start declares exactly what went with the process."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fieldwatch_agent.accounts import InterfaceAccount, interface_accounts, opened, reconcile
from fieldwatch_agent.ledger import FILE_NAME, LEDGER_BYTES, Ledger, SlotState, boot_id, read_ledger
from fieldwatch_agent.spool.items import Gap, Loss
from fieldwatch_agent.spool.state import Mark
from fieldwatch_agent.spool.store import Store
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1.agent_pb2 import GapReason
from hypothesis import given, settings
from hypothesis import strategies as st
from support.spooling import WIDE, put

CHILD = """
import os, signal, sys
from pathlib import Path
from fieldwatch_agent.ledger import Ledger
from fieldwatch_proto.schema import Kind
ledger = Ledger(Path(sys.argv[1]), int(sys.argv[2]))
slot = ledger.slot("eth0")
buffer = slot.new_engine()
buffer[:] = (11).to_bytes(8, "little")
buffer = slot.new_engine()
buffer[:] = (31).to_bytes(8, "little")
slot.drops = 4
slot.set_base(1000, 1)
ledger.observe(Kind.FLOW, 9)
os.kill(os.getpid(), signal.SIGKILL)
"""


def gaps(store: Store) -> list[tuple[int, int, dict[int, int], bool]]:
    return [
        (item.reason, item.frames, dict(item.records), item.count_known)
        for _, item in store.peek(max_items=100)
        if isinstance(item, Gap)
    ]


def killed(folder: Path, run: int) -> None:
    """A process that has written a ledger and is gone."""
    done = subprocess.run([sys.executable, "-c", CHILD, str(folder), str(run)])
    assert done.returncode == -signal.SIGKILL


def test_a_kill_is_declared_with_its_exact_count(tmp_path: Path) -> None:
    """observed - sealed = lost, in frames and in records of each kind; a second start declares nothing more."""
    store = Store(tmp_path, WIDE)
    account = InterfaceAccount(boot_id().hex(), 3, 990, generation=1)
    store.begin_run(77, [], account.meta("eth0"))
    store.commit([put(1, records=2, frames=12)], [Loss(GapReason.BACKPRESSURE, 3, {1: 1}, accounted=True)])
    killed(tmp_path, 77)

    reconcile(store, 78, read_ledger(tmp_path), boot_id())
    reconcile(store, 79, read_ledger(tmp_path), boot_id())

    assert gaps(store) == [
        (GapReason.BACKPRESSURE, 3, {1: 1}, True),
        (GapReason.UNCLEAN_STOP, 11 + 31 - 12 - 3, {1: 9 - 2 - 1}, True),
        (GapReason.KERNEL_DROP, 4, {}, True),
    ]
    # Accounted for on the wire: what the ledger's base says, the frames taken and the frames dropped.
    assert interface_accounts(store)["eth0"] == InterfaceAccount(boot_id().hex(), 3, 1000 + 42 + 4)
    assert (store.state.run, store.state.account_frames) == (79, 0)


def test_a_first_run_killed_before_its_books_were_open_is_declared(tmp_path: Path) -> None:
    """Once, and not where the file of an agent with a history was lost: what that one sealed is no loss of the run."""
    folder, other_folder = tmp_path / "a", tmp_path / "b"
    folder.mkdir()
    other_folder.mkdir()
    store = Store(folder, WIDE)
    killed(tmp_path, 77)

    reconcile(store, 78, read_ledger(tmp_path), boot_id())
    reconcile(store, 79, read_ledger(tmp_path), boot_id())
    assert gaps(store) == [
        (GapReason.UNCLEAN_STOP, 42, {1: 9}, True),
        (GapReason.KERNEL_DROP, 4, {}, True),
    ]

    with_history = Ledger(tmp_path, 80)
    with_history.slot("eth0").new_engine()[:] = (11).to_bytes(8, "little")
    with_history.remember(Mark(epoch=1, next_seq=2, run=80, frames=0, records={}))
    new_file = Store(other_folder, WIDE)
    reconcile(new_file, 81, read_ledger(tmp_path), boot_id())
    assert gaps(new_file) == []


def test_after_a_power_cut_the_count_is_not_known(tmp_path: Path) -> None:
    """The page may be older than what was sealed: the loss is declared, its count is a lower bound."""
    store = Store(tmp_path, WIDE)
    store.begin_run(77, [], {})
    killed(tmp_path, 77)

    reconcile(store, 78, read_ledger(tmp_path), b"another boot: 16")

    assert gaps(store) == [(GapReason.UNCLEAN_STOP, 42, {1: 9}, False)]


def test_a_clean_stop_declares_nothing(tmp_path: Path) -> None:
    """Everything observed was sealed."""
    store = Store(tmp_path, WIDE)
    store.begin_run(77, [], {})
    killed(tmp_path, 77)
    store.commit([put(1, records=9, frames=42)], meta={"clean_stop": "1"})

    reconcile(store, 78, read_ledger(tmp_path), boot_id())

    assert gaps(store) == []


def test_a_ledger_that_has_gone_is_declared(tmp_path: Path) -> None:
    """Without it the number is unknown, and that is said; after a clean stop nothing was lost."""
    store = Store(tmp_path, WIDE)
    store.begin_run(77, [], {})

    reconcile(store, 78, read_ledger(tmp_path), boot_id())
    store.commit([], meta={"clean_stop": "1"})
    reconcile(store, 79, read_ledger(tmp_path), boot_id())

    assert gaps(store) == [(GapReason.UNCLEAN_STOP, 0, {}, False)]


@pytest.mark.parametrize("content", [b"", b"FWLEDG01", b"\xff" * 16_384])
def test_a_ledger_that_is_none_is_not_read(tmp_path: Path, content: bytes) -> None:
    """Whatever lies under its name, the start goes on."""
    (tmp_path / "ledger").write_bytes(content)

    assert read_ledger(tmp_path) is None


def test_slots_are_apart(tmp_path: Path) -> None:
    """Each interface has counters of its own; names are kept; the sums are those of all."""
    ledger = Ledger(tmp_path, 5)
    for number in range(30):
        ledger.slot(f"eth{number}").new_engine()[:] = number.to_bytes(8, "little")
        ledger.slot(f"eth{number}").set_base(number * 10 or None, 2)
    ledger.observe(Kind.METRIC, 4)

    left = read_ledger(tmp_path)

    assert left is not None
    assert (left.run, left.boot, left.frames, left.records) == (5, boot_id(), sum(range(30)), {5: 4})
    assert (ledger.frames, ledger.records) == (left.frames, {5: 4})
    assert [(name, slot.observed, slot.base, slot.generation) for name, slot in left.slots.items()] == [
        (f"eth{number}", number, number * 10 or None, 2) for number in range(30)
    ]
    ledger.slots("eth30", 16)
    with pytest.raises(ValueError, match="room for 122"):
        ledger.slots("eth31", 81)
    ledger.close()


def test_workers_of_an_interface_are_one_to_the_books(tmp_path: Path) -> None:
    """Their frames and drops are summed, before and after a new engine; the base is the first one's."""
    ledger = Ledger(tmp_path, 5)
    for number, slot in enumerate(ledger.slots("eth0", 3)):
        slot.new_engine()[:] = (10 + number).to_bytes(8, "little")
        slot.new_engine()[:] = (100).to_bytes(8, "little")
        slot.drops = number
    ledger.slots("eth0", 3)[0].set_base(1000, 2)

    left = read_ledger(tmp_path)

    assert left is not None
    assert left.slots == {"eth0": SlotState(333, 3, 1000, 2)}
    assert (left.frames, ledger.frames) == (333, 333)
    ledger.close()


def test_an_opening_declares_what_passed_meanwhile() -> None:
    """The interface's counter less everything that is accounted for; the new base makes the next sum come out."""
    before = InterfaceAccount("b", 3, base=100, generation=0)

    account, loss = opened(before, name="eth0", boot="b", ifindex=3, wire_position=160, accounted_for=20)

    assert loss == Loss(GapReason.NOT_RUNNING, 40, detail="eth0")
    assert account == InterfaceAccount("b", 3, base=140, generation=1)


@pytest.mark.parametrize(
    ("position", "boot", "ifindex"),
    [(None, "b", 3), (160, "other", 3), (160, "b", 4), (90, "b", 3)],
    ids=["filter", "boot", "another interface", "counter reset"],
)
def test_what_cannot_be_compared_is_of_unknown_count(position: int | None, boot: str, ifindex: int) -> None:
    """Nobody listened and nobody counted: that is declared without a number."""
    before = InterfaceAccount("b", 3, base=100)

    _, loss = opened(before, name="eth0", boot=boot, ifindex=ifindex, wire_position=position, accounted_for=0)

    assert loss == Loss(GapReason.NOT_RUNNING, count_known=False, detail="eth0")


def test_the_first_opening_declares_nothing() -> None:
    """What passed before the agent was ever started was never promised."""
    account, loss = opened(None, name="eth0", boot="b", ifindex=3, wire_position=5000, accounted_for=0)

    assert (account.base, loss) == (5000, None)


@given(
    st.lists(
        st.tuples(st.integers(0, 50), st.integers(0, 50), st.integers(0, 9), st.booleans(), st.integers(0, 99)),
        min_size=1,
        max_size=8,
    )
)
@settings(max_examples=60, deadline=None)
def test_the_wire_is_accounted_for_over_any_number_of_runs(runs: list[tuple[int, int, int, bool, int]]) -> None:
    """wire = taken + declared, whatever was left in the ring of a killed agent, was dropped, or passed meanwhile.

    A run: frames taken, left in the ring, dropped by the kernel, whether that was known, frames of the pause.
    """
    wire = 1000
    taken = declared = 0
    account: InterfaceAccount | None = None
    for observed, ring, drops, known, pause in runs:
        account, loss = opened(account, name="e", boot="b", ifindex=1, wire_position=wire, accounted_for=0)
        declared += loss.frames if loss else 0
        wire += observed + ring + drops + pause
        taken += observed
        dropped = drops if known else 0
        declared += dropped
        assert account.base is not None
        account = InterfaceAccount("b", 1, account.base + observed + dropped)
    _, loss = opened(account, name="e", boot="b", ifindex=1, wire_position=wire, accounted_for=0)
    declared += loss.frames if loss else 0

    assert wire - 1000 == taken + declared


def test_kill_between_commit_and_ledger_is_harmless(tmp_path: Path) -> None:
    """The opening is on the books, the ledger does not know it yet: the base of the books counts."""
    store = Store(tmp_path, WIDE)
    store.begin_run(77, [], InterfaceAccount(boot_id().hex(), 3, 500, generation=2).meta("eth0"))
    killed(tmp_path, 77)  # its ledger says base 1000 of generation 1

    reconcile(store, 78, read_ledger(tmp_path), boot_id())

    assert interface_accounts(store)["eth0"].base == 500 + 42 + 4


def test_an_interface_that_was_not_on_the_books_yet(tmp_path: Path) -> None:
    """Frames are taken before the books are open: the position is counted on from the one of the run before."""
    store = Store(tmp_path, WIDE)
    store.begin_run(77, [], InterfaceAccount(boot_id().hex(), 3, 500).meta("eth0"))
    ledger = Ledger(tmp_path, 77)
    ledger.slot("eth0").new_engine()[:] = (40).to_bytes(8, "little")

    reconcile(store, 78, read_ledger(tmp_path), boot_id())

    assert interface_accounts(store)["eth0"].base == 540
    assert gaps(store) == [(GapReason.UNCLEAN_STOP, 40, {}, True)]


@pytest.mark.parametrize("mark", [None, Mark(1 << 62, 5, 77, 10, {1: 1}, 2, True, 20, {1: 3})], ids=["disk", "memory"])
def test_a_kill_before_the_new_ledger_counts_declares_nothing_twice(tmp_path: Path, mark: Mark | None) -> None:
    """The books are closed, and the ledger that they closed is still the one that is found."""
    store = Store(tmp_path, WIDE)
    store.begin_run(77, [], {})
    ledger = Ledger(tmp_path, 77)
    ledger.slot("eth0").new_engine()[:] = (100).to_bytes(8, "little")
    if mark is not None:
        ledger.remember(mark)
    Ledger(tmp_path, 78, later=True)

    reconcile(store, 78, read_ledger(tmp_path), boot_id())
    once = gaps(store)
    reconcile(store, 79, read_ledger(tmp_path), boot_id())

    assert sum(frames for _, frames, _, _ in once) == (90 if mark else 100)
    assert gaps(store) == once


def test_the_newest_commit_is_remembered(tmp_path: Path) -> None:
    """A spool that lacks it at the next start has lost what was committed since; of one half-written the one before."""
    ledger = Ledger(tmp_path, 77)
    assert read_ledger(tmp_path).mark is None  # type: ignore[union-attr]
    mark = Mark(1 << 62, 12, 77, 400, {1: 5, 5: 2})

    before = Mark(1 << 62, 11, 77, 300, {1: 4, 2: 9}, 3, True, 20, {1: 1}, 7, {2: 1})
    ledger.remember(before)
    ledger.remember(mark)

    left = read_ledger(tmp_path)
    assert left is not None
    assert (left.mark, left.records) == (mark, {})
    octets = bytearray((tmp_path / FILE_NAME).read_bytes())
    octets[LEDGER_BYTES - 512] ^= 1
    (tmp_path / FILE_NAME).write_bytes(octets)
    assert read_ledger(tmp_path).mark == before  # type: ignore[union-attr]
    octets[LEDGER_BYTES - 256] ^= 1
    (tmp_path / FILE_NAME).write_bytes(octets)
    assert read_ledger(tmp_path).mark is None  # type: ignore[union-attr]


def test_a_spool_that_lost_its_last_commits(tmp_path: Path) -> None:
    """What was sealed and is gone is declared under its numbers; what was never sealed as ever; together all of it."""
    store = Store(tmp_path, WIDE)
    store.begin_run(77, [], {})
    store.commit([put(1, frames=10, records=1)])
    store.checkpoint()
    store.commit([put(2, frames=7, records=2), put(3, frames=5, records=2)])
    mark = store.mark
    kept = (tmp_path / "spool.db").read_bytes()
    store.db.close()  # which writes the WAL into the file
    (tmp_path / "spool.db").write_bytes(kept)
    killed(tmp_path, 77)
    left = read_ledger(tmp_path)
    assert left is not None

    store = Store(tmp_path, WIDE, mark)
    reconcile(store, 78, left, boot_id())

    assert sum(frames for _, frames, _, _ in gaps(store)) + store.status().frames == left.frames
