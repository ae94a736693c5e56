"""Limits on enrolment, recovery and renewal: so many tries a second, and a pause for an address that keeps failing.

Two stages, so that a flood of guesses from many addresses leaves room for devices that have a token: a try costs a look
at the store and a signature (`wait_s`); only who passed that takes one of the turns in all (`turn_s`), and costs a
certificate and a commit. On a monotonic clock.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

PER_ADDRESS_S = 1.0  # tries a second, on average
PER_ADDRESS_BURST = 5.0
TRIES_S = 200.0  # from all addresses
TRIES_BURST = 400.0
IN_ALL_S = 10.0  # of those that showed a good token or key
IN_ALL_BURST = 20.0
MAX_FAILURES = 5
FAILURES_S = 15 * 60.0  # so many within this time
PENALTY_S = 15 * 60.0
RENEWAL_EVERY_S = 300.0  # of one agent, on average
RENEWALS_BURST = 20.0
MAX_ADDRESSES = 10_000  # remembered; beyond it the one that was quiet longest is forgotten


@dataclass(slots=True)
class Bucket:
    """So many tokens at once, and so many a second."""

    tokens: float
    seen: float

    def wait_s(self, now: float, rate: float, burst: float) -> float:
        """0 and one token less, or the seconds until there is one."""
        self.tokens = min(burst, self.tokens + (now - self.seen) * rate)
        self.seen = now
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return 0.0
        return (1.0 - self.tokens) / rate


@dataclass(slots=True)
class _Address:
    bucket: Bucket
    failures: list[float] = field(default_factory=list)
    barred_until: float = 0.0


class EnrolmentThrottle:
    """For one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.forget()

    def forget(self) -> None:
        """As at the start."""
        now = self._clock()
        self._tries = Bucket(TRIES_BURST, now)
        self._turns = Bucket(IN_ALL_BURST, now)
        self._addresses: dict[str, _Address] = {}

    def wait_s(self, address: str) -> float:
        """0 = go on; else the seconds after which this address may try again."""
        now = self._clock()
        entry = self._addresses.pop(address, None) or _Address(Bucket(PER_ADDRESS_BURST, now))
        self._addresses[address] = entry
        if len(self._addresses) > MAX_ADDRESSES:
            del self._addresses[next(iter(self._addresses))]
        if entry.barred_until > now:
            return entry.barred_until - now
        # An address over its own limit must not use up what all share.
        return entry.bucket.wait_s(now, PER_ADDRESS_S, PER_ADDRESS_BURST) or self._tries.wait_s(
            now, TRIES_S, TRIES_BURST
        )

    def turn_s(self) -> float:
        """0 = the turn of who passed the checks; else the seconds after which it may try again."""
        return self._turns.wait_s(self._clock(), IN_ALL_S, IN_ALL_BURST)

    def failed(self, address: str) -> None:
        """Count a refusal; the fifth within `FAILURES_S`, none of them followed by a success, bars the address."""
        entry = self._addresses.get(address)
        if entry is None:
            return
        now = self._clock()
        entry.failures = [moment for moment in entry.failures if now - moment < FAILURES_S] + [now]
        if len(entry.failures) >= MAX_FAILURES:
            entry.failures.clear()
            entry.barred_until = now + PENALTY_S

    def succeeded(self, address: str) -> None:
        if (entry := self._addresses.get(address)) is not None:
            entry.failures.clear()


class RenewalThrottle:
    """How often an agent may renew its certificate: each time is a row of the audit log, which only grows. An agent
    asks every few days, and every ten minutes where replies are lost. For one event loop.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._agents: dict[str, Bucket] = {}  # those that are enrolled, so there are not many

    def wait_s(self, agent_id: str) -> float:
        """0 = go on; else the seconds after which this agent may ask again."""
        now = self._clock()
        bucket = self._agents.setdefault(agent_id, Bucket(RENEWALS_BURST, now))
        return bucket.wait_s(now, 1 / RENEWAL_EVERY_S, RENEWALS_BURST)


def peer_address(peer: str) -> str:
    """The address of a gRPC peer ("ipv4:192.0.2.1:5000"); of IPv6 the /64, which one host commands as a whole."""
    family, _, rest = peer.partition(":")
    if family not in ("ipv4", "ipv6"):
        return peer
    host = unquote(rest).rpartition(":")[0].strip("[]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return peer
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return str(ipaddress.IPv6Network((address, 64), strict=False))
    return str(getattr(address, "ipv4_mapped", None) or address)
