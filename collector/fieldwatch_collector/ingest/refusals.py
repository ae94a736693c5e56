"""Who was refused, for the audit log: bounded, because strangers decide how often.

At most one row in `PER_REASON_S` for an actor and a reason, and for everybody `BURST` at once and then one in
`IN_ALL_S`: a flood adds about 1 MB a day. What had no row of its own is counted in the next one: `times` with
the same actor and reason, `others` with any.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fieldwatch_collector import audit
from fieldwatch_collector.ingest.throttle import Bucket
from fieldwatch_collector.store import Store, StoreError

PER_REASON_S = 60.0
BURST = 30
IN_ALL_S = 30.0
MAX_KEYS = 1_000


@dataclass(slots=True)
class _Seen:
    written_at: float
    times: int = 0  # since then


class Refusals:
    """For one event loop; `told` for who has a lock of its own."""

    def __init__(self, store: Store, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._all = Bucket(BURST, clock())
        self._others = 0

    async def note(
        self, action: str, reason: str, *, actor: str, subject: str = "", data: Mapping[str, Any] | None = None
    ) -> bool:
        """Write a row, or count it for the next one (False). A store that cannot be written to says so itself."""
        told = self.told(actor, reason)
        if told is None:
            return False
        row = {"reason": reason, **told, **(data or {})}
        with contextlib.suppress(StoreError):
            await self._store.transact(
                lambda connection: audit.append(
                    connection, actor=actor, action=action, subject=subject, outcome="refused", data=row
                )
            )
        return True

    def told(self, actor: str, reason: str) -> dict[str, int] | None:
        """The counts of the row that is due now; None = it is not."""
        now = self._clock()
        seen = self._seen.get((actor, reason))
        if seen is not None and now - seen.written_at < PER_REASON_S:
            seen.times += 1
            return None
        if self._all.wait_s(now, 1 / IN_ALL_S, BURST):
            self._others += 1
            return None
        self._seen.pop((actor, reason), None)
        self._seen[actor, reason] = _Seen(now)
        if len(self._seen) > MAX_KEYS:
            self._others += self._seen.pop(next(iter(self._seen))).times
        others, self._others = self._others, 0
        return {"times": 1 + (seen.times if seen else 0), **({"others": others} if others else {})}
