"""How fast acks come back, and so how many octets are sensible to have in flight and how long an ack may take.

What the collector grants says what it can take, not what the link can carry. Over a slow link a full window takes
minutes, its acks come too late, the stream is given up and everything is sent again: a storm that never ends. So no
more is in flight than the measured rate brings away in `AHEAD_S`, and the longer that takes, the longer acks are
waited for. One message may always be in flight, however slow the link.

Kept by the shipper from one stream to the next: a link is as slow after a break as before.
"""

from __future__ import annotations

AHEAD_S = 10.0
FIRST_BYTES = 256 << 10  # in flight before the first ack was timed
KEPT = 0.8  # of what was measured before, for each ack: the mean is over some five
SHORTEST_S = 0.001  # acks that come together were not that fast
ACK_TIMEOUT_S = 120.0
MAX_ACK_TIMEOUT_S = 900.0
PATIENCE = 4.0  # times what the rate promises


class Pace:
    """Times are those of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self._octets = 0.0
        self._seconds = 0.0
        self._acked_at = float("-inf")

    @property
    def rate(self) -> float:
        """Octets a second that were acked lately; 0 = not known yet."""
        return self._octets / self._seconds if self._seconds else 0.0

    def limit(self) -> int:
        """Octets that may be in flight."""
        return int(self.rate * AHEAD_S) if self._seconds else FIRST_BYTES

    def acked(self, octets: int, sent_at: float, now: float) -> None:
        """An ack for `octets`, the oldest of which were sent at `sent_at`."""
        elapsed = max(SHORTEST_S, now - max(sent_at, self._acked_at))
        self._octets = KEPT * self._octets + octets
        self._seconds = KEPT * self._seconds + elapsed
        self._acked_at = now

    def patience(self, in_flight: int) -> float:
        """How long to wait for the next ack, in seconds."""
        expected = in_flight / self.rate if self.rate else 0.0
        return min(MAX_ACK_TIMEOUT_S, max(ACK_TIMEOUT_S, PATIENCE * expected))

    def timed_out(self, in_flight: int, waited: float) -> None:
        """No ack came in `waited` seconds: half of what that tells at most, so that the next wait is longer."""
        told = in_flight / (2 * waited)
        self._octets, self._seconds = min(told, self.rate or told), 1.0
