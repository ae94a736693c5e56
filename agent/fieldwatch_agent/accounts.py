"""The sums of the conservation equation: what a run before lost, and what passed while nobody listened.

For each interface the spool's meta holds ``interface:<name>``, a JSON object: boot, ifindex, base (see `ledger`; null =
not known), generation (of openings in this run), drops (kernel drops declared in this run). It changes in the same
transaction as the gaps that it explains, so that a kill at any moment neither repeats nor skips one. ``books`` names
the run whose end is declared: its ledger stands until the next one takes its place.

Frames are taken from the wire before the books are open: a damaged spool is salvaged first. A kill until then leaves
the ledger of the run before, and what was taken counts as what passed while nobody listened.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1.agent_pb2 import GapReason

from fieldwatch_agent.ledger import Ledger, LedgerState
from fieldwatch_agent.spool.items import Loss, SpoolError
from fieldwatch_agent.spool.memory import moved_account
from fieldwatch_agent.spool.rows import added, differences
from fieldwatch_agent.spool.state import Mark

if TYPE_CHECKING:
    from fieldwatch_agent.spool.store import Store
    from fieldwatch_agent.spool.thread import SpoolThread

PREFIX = "interface:"
BOOKS = "books"

log = get_logger(__name__)


@dataclass(frozen=True)
class InterfaceAccount:
    """One interface's entry in the spool's meta."""

    boot: str
    ifindex: int
    base: int | None
    generation: int = 0
    drops: int = 0

    def meta(self, name: str) -> dict[str, str]:
        return {PREFIX + name: json.dumps(asdict(self))}


def interface_accounts(store: Store) -> dict[str, InterfaceAccount]:
    return {name: InterfaceAccount(**json.loads(text)) for name, text in store.meta_items(PREFIX).items()}


def open_books(store: Store, ledger: Ledger, left: LedgerState | None, boot: bytes) -> None:
    """Declare what the run before lost, and say so; from then on `ledger`, which waits, counts. Raises SpoolError."""
    for loss in reconcile(store, ledger.run, left, boot):
        log.warning(
            "the run before lost something; it is declared",
            reason=GapReason.Name(loss.reason),
            frames=loss.frames,
            records=sum(loss.records.values()),
            count_known=loss.count_known,
        )
    try:
        ledger.replace()
    except OSError as problem:
        raise SpoolError(f"{store.folder}: {problem.strerror}; is the disk sound?") from None


def unsettled(store: Store, ledger: Ledger) -> Loss | None:
    """At the end of a run: what was observed and is neither sealed nor declared, if anything is."""
    frames = ledger.frames - store.state.account_frames
    records = differences(ledger.records, store.state.account_records)
    if frames <= 0 and not records:
        return None
    return Loss(GapReason.UNCLEAN_STOP, max(0, frames), records, detail="not sealed at the stop", accounted=True)


def close_books(spool: SpoolThread, ledger: Ledger) -> None:
    """At the end of a run, once all that was sealed is written: they are closed balanced."""
    loss = spool.call(lambda store: unsettled(store, ledger))
    if loss is not None:
        log.error("frames were observed and not sealed; they are declared lost", frames=loss.frames)
        spool.declare(loss)
        spool.flush()


def reconcile(store: Store, run: int, left: LedgerState | None, boot: bytes) -> list[Loss]:
    """Start the account of `run`: declare what the run before lost, all in one transaction. The losses."""
    declared = left is not None and store.get_meta(BOOKS) == str(left.run)
    mark = left.mark if left is not None and not declared else None
    in_memory = mark is not None and mark.volatile
    # The first run of all, killed before its books were open: all of it is to be declared.
    first_run = left is not None and mark is None and store.state.run == 0
    same_run = left is not None and not declared and (in_memory or first_run or left.run == store.state.run)
    same_boot = left is not None and left.boot == boot
    losses: list[Loss] = []
    lost_epoch: tuple[int, int, int, Loss] | None = None
    if left is not None and mark is not None and in_memory:
        lost_epoch, frames, records = _from_memory(store, left, mark, count_known=same_boot)
        losses += _unsealed(store, frames, records, count_known=same_boot)
    elif left is not None and same_run:
        frames = left.frames - store.state.account_frames
        losses += _unsealed(
            store, frames, differences(left.records, store.state.account_records), count_known=same_boot
        )
    elif store.state.run and store.get_meta("clean_stop") != "1" and left is None:
        losses.append(Loss(GapReason.UNCLEAN_STOP, count_known=False, detail="the ledger was not there"))
    meta = {BOOKS: str(left.run)} if left is not None else {}
    for name, account in interface_accounts(store).items():
        slot = left.slots.get(name) if left is not None and same_run else None
        observed = slot.observed if slot else 0
        drops = max(slot.drops if slot else 0, account.drops)
        if drops > account.drops:
            losses.append(Loss(GapReason.KERNEL_DROP, drops - account.drops, detail=name))
        base = account.base
        if slot is not None and slot.generation == account.generation > 0:  # 0: not opened, as far as the books know
            base = slot.base
        position = None if base is None else base + observed + drops
        meta.update(replace(account, base=position, generation=0, drops=0).meta(name))
    if left is not None and first_run:  # it has no accounts
        losses += [
            Loss(GapReason.KERNEL_DROP, slot.drops, detail=name) for name, slot in left.slots.items() if slot.drops
        ]
    store.begin_run(run, losses, meta, lost_epoch)
    return [*losses, lost_epoch[3]] if lost_epoch else losses


def _from_memory(
    store: Store, left: LedgerState, mark: Mark, *, count_known: bool
) -> tuple[tuple[int, int, int, Loss] | None, int, dict[int, int]]:
    """What a kill took of a spool in memory: what waited, under its numbers; frames and records that were not sealed.

    Some of the epoch is in the file where it was moved there and nobody heard of it: the sync failed, or the kill came
    before. What the file counts beyond what the mark, or that move, knew of it was written there since, and is there.
    """
    state = store.state
    sealed_frames, sealed_records = mark.frames + mark.waiting_frames, added(mark.records, mark.waiting_records)
    first, waiting_frames, waiting_records = mark.next_seq - mark.waiting, mark.waiting_frames, mark.waiting_records
    before_frames, before_records = mark.file_frames, mark.file_records
    moved = moved_account(store, mark.epoch)
    if moved is not None:
        before_frames, before_records = moved
        following = next((stream.next_seq for stream in state.streams if stream.epoch == mark.epoch), mark.next_seq)
        if following > first:
            first = following
            waiting_frames, waiting_records = sealed_frames - moved[0], differences(sealed_records, moved[1])
    frames = left.frames - sealed_frames - (state.account_frames - before_frames)
    records = differences(left.records, added(sealed_records, differences(state.account_records, before_records)))
    if first >= mark.next_seq:  # beyond: after a power cut the mark may be older than the file
        return None, frames, records
    detail = "the agent was killed while its spool was in memory"
    waited = Loss(GapReason.UNCLEAN_STOP, max(0, waiting_frames), waiting_records, count_known, detail)
    return (mark.epoch, first, mark.next_seq - 1, waited), frames, records


def _unsealed(store: Store, frames: int, records: dict[int, int], *, count_known: bool) -> list[Loss]:
    """What was observed and neither sealed nor declared."""
    if not count_known:
        if store.get_meta("clean_stop") == "1":
            return []
        # The page may have reached the disk at any time before the power went.
        detail = "the machine stopped without warning"
        return [Loss(GapReason.UNCLEAN_STOP, max(0, frames), records, count_known=False, detail=detail)]
    if frames <= 0 and not records:
        return []
    return [Loss(GapReason.UNCLEAN_STOP, max(0, frames), records, detail="the agent was killed")]


def opened(
    account: InterfaceAccount | None,
    *,
    name: str,
    boot: str,
    ifindex: int,
    wire_position: int | None,
    accounted_for: int,
) -> tuple[InterfaceAccount, Loss | None]:
    """An interface was opened: the account from now on, and what passed while nobody listened.

    `wire_position`: the interface's own counter at the moment at which the socket began to listen; None where it tells
    nothing (a filter is set, loopback). `accounted_for`: frames observed and dropped in this run before that.
    """
    generation = account.generation + 1 if account else 1
    base = None if wire_position is None else wire_position - accounted_for
    fresh = InterfaceAccount(boot, ifindex, base, generation, account.drops if account else 0)
    if account is None:
        return fresh, None
    comparable = wire_position is not None and (account.boot, account.ifindex) == (boot, ifindex)
    if comparable and wire_position is not None and account.base is not None:
        missed = wire_position - (account.base + accounted_for)
        if missed == 0:
            return fresh, None
        if missed > 0:
            return fresh, Loss(GapReason.NOT_RUNNING, missed, detail=name)
    return fresh, Loss(GapReason.NOT_RUNNING, count_known=False, detail=name)
