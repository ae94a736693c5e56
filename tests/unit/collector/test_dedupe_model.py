"""The batch log against a model: any order of batches and gaps, repeats, conflicts, expiry, and crashes in between."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections import defaultdict
from pathlib import Path

from fieldwatch_collector.store import BatchItem, GapItem, Held, Item, Outcome, PutResult
from fieldwatch_collector.store.retention import drop_bodies
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_proto.columns import digest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

AGENTS, EPOCHS = ("a", "b"), (7, (1 << 64) - 1)
NUMBERS = st.integers(1, 25)

batches = st.builds(
    lambda epoch, seq, content: BatchItem(epoch, seq, 1, 1, 1, 2, 10, 5, 6, digest(content), content),
    st.sampled_from(EPOCHS),
    NUMBERS,
    st.sampled_from((b"one", b"one", b"one", b"other")),
)
gaps = st.builds(
    lambda epoch, low, more: GapItem(epoch, low, low + more, {1: 2 * (more + 1)}, 0, 1, True, 7, ""),
    st.sampled_from(EPOCHS),
    NUMBERS,
    st.integers(0, 6),
)
puts = st.tuples(st.sampled_from(AGENTS), st.lists(st.one_of(batches, batches, batches, gaps), min_size=1, max_size=5))


class Stream:
    """What one (agent, epoch) holds: number -> digest of its batch, None where a gap took it; the gaps that count."""

    def __init__(self) -> None:
        self.held: dict[int, bytes | None] = {}
        self.gaps: dict[tuple[int, int], int] = {}  # span -> records declared lost

    def put(self, item: Item) -> Outcome:
        low, high = item.span
        numbers = range(low, high + 1)
        if isinstance(item, BatchItem):
            if low in self.held:
                return Outcome.DUPLICATE if self.held[low] in (None, item.digest) else Outcome.CONFLICT
            self.held[low] = item.digest
            return Outcome.STORED
        if all(number in self.held for number in numbers):
            return Outcome.DUPLICATE
        self.gaps = {span: count for span, count in self.gaps.items() if not (low <= span[0] and span[1] <= high)}
        came_through = sum(self.held.get(number) is not None for number in numbers)
        self.gaps[low, high] = item.records[1] - 2 * came_through
        self.held = {**dict.fromkeys(numbers), **self.held}
        return Outcome.STORED

    def marks(self) -> Held:
        """As a high-water mark and ranges, by counting."""
        high_water = next(number for number in range(1_000) if number + 1 not in self.held)
        above = sorted(number for number in self.held if number > high_water)
        starts = [number for number in above if number - 1 not in self.held]
        ends = [number for number in above if number + 1 not in self.held]
        return Held(high_water, tuple(zip(starts, ends, strict=True)))


class DedupeMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="fieldwatch-dedupe-"))
        self.runner = asyncio.Runner()
        self.model: dict[tuple[str, int], Stream] = defaultdict(Stream)
        self.lives = 0
        self._open(self.folder / "0")

    def _open(self, place: Path) -> None:
        place.mkdir(exist_ok=True)
        self.store = SqliteStore(place / "collector.db", min_free_bytes=1)
        self.store.migrate()

    @rule(together=st.lists(puts, min_size=1, max_size=6))
    def put(self, together: list[tuple[str, list[Item]]]) -> None:
        """Several puts at once: each item gets the outcome that it would get alone, in their order."""

        async def work() -> list[PutResult]:
            return await asyncio.gather(*(self.store.submit(agent, items) for agent, items in together))

        expected = [[self.model[agent, item.epoch].put(item) for item in items] for agent, items in together]
        results = self.runner.run(work())

        assert expected == [list(result.outcomes) for result in results]

    @rule()
    def crash(self) -> None:
        """Between two commits: another process finds the file and its log of changes as they lie there."""
        self.lives += 1
        before, after = self.folder / str(self.lives - 1), self.folder / str(self.lives)
        shutil.copytree(before, after)
        self.store.close()
        self._open(after)

    @rule()
    def restart(self) -> None:
        self.store.close()
        self._open(self.folder / str(self.lives))

    @rule()
    def expire(self) -> None:
        """Every body goes; numbers and digests stay."""

        def work(connection: object) -> None:
            connection.execute("INSERT OR REPLACE INTO projection(name, position) VALUES('all', 1 << 40)")  # type: ignore[attr-defined]
            drop_bodies(connection, 1 << 62)  # type: ignore[arg-type]

        self.store.transact_sync(work)

    @invariant()
    def holds_what_the_model_holds(self) -> None:
        """Each batch once, marks as counted, a stream counts records of its batches, gaps less what came through."""
        model = {key: stream for key, stream in self.model.items() if stream.held}
        with self.store.reader() as connection:
            marks = {
                (agent, epoch % (1 << 64)): (Held(high, tuple(map(tuple, json.loads(sparse)))), records)
                for agent, epoch, high, sparse, records in connection.execute(
                    "SELECT agent, epoch, high_water, sparse, records FROM stream"
                )
            }
            rows = [
                (agent, epoch % (1 << 64), seq, known)
                for agent, epoch, seq, known in connection.execute("SELECT agent, epoch, seq, digest FROM batch")
            ]
            lost = {
                (agent, epoch % (1 << 64), low, high): json.loads(records)["1"]
                for agent, epoch, low, high, records in connection.execute(
                    "SELECT agent, epoch, from_seq, to_seq, records FROM gap"
                )
            }

        batches_of = {key: [seq for seq, known in stream.held.items() if known] for key, stream in model.items()}
        assert {key: (stream.marks(), 2 * len(batches_of[key])) for key, stream in model.items()} == marks
        assert sorted(
            (*key, seq, known) for key, stream in model.items() for seq, known in stream.held.items() if known
        ) == sorted(rows)
        assert {(*key, *span): n for key, stream in model.items() for span, n in stream.gaps.items()} == lost

    def teardown(self) -> None:
        self.store.close()
        self.runner.close()
        shutil.rmtree(self.folder)


TestDedupe = DedupeMachine.TestCase
TestDedupe.settings = settings(max_examples=30, stateful_step_count=15, deadline=None)
