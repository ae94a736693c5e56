"""Who was let in and who was not, counted from the audit log: the rows that are new since the last look, not all."""

from __future__ import annotations

import sqlite3
import threading
from collections import Counter

ENROLLED, RECOVERED, REVOKED = "enrolled", "recovered", "revoked"
STRANGER_REFUSED, AGENT_REFUSED = "stranger refused", "agent refused"
DECISIONS = (ENROLLED, RECOVERED, REVOKED, STRANGER_REFUSED, AGENT_REFUSED)

_DONE = {
    "agent.enrol": ENROLLED,
    "agent.replace": ENROLLED,
    "agent.recover": RECOVERED,
    "agent.revoke": REVOKED,
}
_REFUSED = "agent.refuse"
_STRANGER = "address:"  # the actor of who has no certificate of ours
# A refusal's row stands for several: ingest/refusals.py.
_TIMES = (
    "CASE WHEN json_valid(data) THEN coalesce(json_extract(data, '$.times'), 1)"
    " + coalesce(json_extract(data, '$.others'), 0) ELSE 1 END"
)


class Decisions:
    """One per read model; any thread. The log only grows, so what was counted stays true."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counted = 0  # the number of the last row
        self._counts: Counter[str] = Counter()

    def count(self, connection: sqlite3.Connection) -> dict[str, int]:
        """How often each of `DECISIONS` was taken."""
        with self._lock:
            (last,) = connection.execute("SELECT coalesce(max(seq), 0) FROM audit").fetchone()
            rows = connection.execute(
                f"SELECT action, substr(actor, 1, {len(_STRANGER)}), sum({_TIMES}) FROM audit"  # noqa: S608 - ours
                " WHERE seq > ? AND seq <= ? GROUP BY 1, 2",
                (self._counted, last),
            )
            for action, actor, times in rows.fetchall():
                if action == _REFUSED:
                    self._counts[STRANGER_REFUSED if actor == _STRANGER else AGENT_REFUSED] += int(times)
                elif action in _DONE:
                    self._counts[_DONE[action]] += int(times)
            self._counted = last
            return {decision: self._counts[decision] for decision in DECISIONS}
