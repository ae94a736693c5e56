"""The shipper's thread: a channel, a session, a pause, again. Capture and spool never wait for it.

A channel is made for each try, so that a renewed certificate is used by the next one. The state is for people: it is
logged when it changes, not at each try.

How long the pause is: what the collector asked for, if it did, up to `MAX_AWAY_S`; else a random time up to a bound
that doubles and falls back once something was acked; near the longest where only a person or a renewal can help. Where
it sends away again and again who has hardly come, no less than that random time. Whatever it does, two tries do not
begin within `retry_min_s`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from fieldwatch_proto.logs import get_logger
from fieldwatch_proto.v1 import agent_pb2

from fieldwatch_agent.enrolment.identity import TARGET_NAME, EnrolmentError, load_credentials
from fieldwatch_agent.shipper.agenda import Agenda
from fieldwatch_agent.shipper.backoff import Backoff
from fieldwatch_agent.shipper.errors import ShipError
from fieldwatch_agent.shipper.pace import MAX_ACK_TIMEOUT_S, Pace
from fieldwatch_agent.shipper.session import Session
from fieldwatch_agent.spool.thread import SpoolThread

# Together the time in which a connection that is half open is found out. The second is how long the answer to a ping
# may take, which waits behind all that is under way, and how long TCP tries with a segment (TCP_USER_TIMEOUT): a slow
# link that loses a third of its segments needs long for both, and must not be given up for it. Where streams end one
# after the other with a batch under way and no ack, the next one has twice the time, or that batch would never pass.
KEEPALIVE_S = 30
KEEPALIVE_TIMEOUT_S = 55
CUTS = 8  # connections cut one after the other that are taken for a refusal: some minutes of trying
CONNECT_TIMEOUT_S = 45  # TCP and TLS, over a bad link
MAX_MESSAGE_BYTES = 256 << 10  # of what comes: an Ack of all ranges that a collector remembers, a configuration
MAX_AWAY_S = 3_600.0
SETTLED_S = 60.0  # a stream that lasted so long may end with any word

log = get_logger(__name__)


def channel_options(
    keepalive_s: float = KEEPALIVE_S, keepalive_timeout_s: float = KEEPALIVE_TIMEOUT_S
) -> list[tuple[str, Any]]:
    return [
        ("grpc.ssl_target_name_override", TARGET_NAME),
        ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_S * 1000),
        ("grpc.keepalive_time_ms", int(keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", int(keepalive_timeout_s * 1000)),
        # What gRPC 1.85 goes by is this one, and its default is a minute; the one above is for TCP.
        ("grpc.http2.ping_timeout_ms", int(keepalive_timeout_s * 1000)),
        ("grpc.http2.bdp_probe", 0),  # pings to find a window for what comes; hardly anything does
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.enable_retries", 0),  # a stream is not retried behind our back
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),
    ]


def open_channel(
    folder: Path, address: str, keepalive_timeout_s: float = KEEPALIVE_TIMEOUT_S, keepalive_s: float = KEEPALIVE_S
) -> grpc.Channel:
    """A mutual TLS channel with the identity on disk. Raises EnrolmentError."""
    mine = load_credentials(folder)
    credentials = grpc.ssl_channel_credentials(mine.ca, mine.key, mine.certificate)
    return grpc.secure_channel(address, credentials, channel_options(keepalive_s, keepalive_timeout_s))


class Shipper(threading.Thread):
    """Ships until `stop`. `connect` makes a channel on which a sign of life may take so many seconds; `beat` is told of
    each channel that the collector has welcomed, and None when it ends.
    """

    def __init__(
        self,
        spool: SpoolThread,
        address: str,
        connect: Callable[[float], grpc.Channel],
        boot: bytes,
        *,
        retry_min_s: float,
        retry_max_s: float,
        beat: Callable[[grpc.Channel | None], None] = lambda channel: None,
        alarm: Callable[[str, dict[str, Any]], None] = lambda kind, data: None,
        on_clock: Callable[[int], None] = lambda collector_ns: None,
    ) -> None:
        super().__init__(name="shipper", daemon=True)
        self.state = "connecting"
        self.tries = 0  # streams begun since the start
        self.acked = 0  # ack messages since the start
        self.refused = False  # the collector does not accept the certificate, or there is none that can be used
        self._cuts = 0  # connections, one after the other, that were taken and cut before a Welcome
        self._suspects = True  # that the certificate is why; not if another one made no difference
        self._spool, self._address, self._connect, self._boot = spool, address, connect, boot
        self._beat, self._alarm, self._on_clock = beat, alarm, on_clock
        self._agenda, self.pace = Agenda(spool), Pace()
        self._backoff, self._retry_min_s = Backoff(retry_min_s, retry_max_s), retry_min_s
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._session: Session | None = None
        self._told = ""  # the trouble that was logged, until something is acked
        self._announced = False
        self._fruitless = 0  # streams, one after the other, that ended with something under way and no ack

    def run(self) -> None:
        while not self._stopping.is_set():
            earliest = time.monotonic() + self._retry_min_s
            try:
                pause = self._ship()
            except (ShipError, EnrolmentError) as problem:
                permanent = isinstance(problem, EnrolmentError) or problem.permanent
                self.refused = self._is_refusal(problem)
                pause = self._backoff.slowest() if permanent else self._backoff.next()
                self._tell(str(problem), permanent=permanent)
            except Exception as problem:
                pause = self._backoff.next()
                log.exception("shipping failed; trying again")
                self.state = f"failed: {problem}"
            self._wake.wait(max(pause, earliest - time.monotonic()))
            self._wake.clear()
        self.state = "stopped"

    def _ship(self) -> float:
        """One session; the pause after it."""
        self.tries += 1
        begun = time.monotonic()
        channel = self._connect(self.patience_s)
        session = Session(
            channel,
            self._address,
            self._spool,
            self._agenda,
            self.pace,
            self._boot,
            stopping=self._stopping,
            on_welcome=lambda welcome: self._welcomed(channel, welcome),
            on_ack=self._acked,
            alarm=self._alarm,
        )
        self._session = session
        acked = self.acked
        try:
            session.run()
        finally:
            if self.acked > acked:
                self._fruitless = 0
            elif session.in_flight:
                self._fruitless += 1
            self._session = None
            self._beat(None)
            channel.close()
        if session.retry_s is None:
            return self._backoff.next()
        settled = self.acked > acked or time.monotonic() - begun >= SETTLED_S
        return min(MAX_AWAY_S, max(session.retry_s, 0.0 if settled else self._backoff.next()))

    @property
    def patience_s(self) -> float:
        """How long the next channel waits for a sign of life."""
        return min(MAX_ACK_TIMEOUT_S, KEEPALIVE_TIMEOUT_S * 2.0 ** min(self._fruitless, 8))

    def _welcomed(self, channel: grpc.Channel, welcome: agent_pb2.Welcome) -> None:
        self._on_clock(welcome.server_wall_ns)
        self._backoff.spread_s = welcome.return_spread_ms / 1000
        if not self._announced:
            log.info("connected to the collector", address=self._address)
        self._announced = True
        self.state, self.refused, self._cuts, self._suspects = "connected", False, 0, True
        self._beat(channel)

    def _is_refusal(self, problem: ShipError | EnrolmentError) -> bool:
        """Also where it may be one: a server ends the handshake with a certificate that is not valid by its clock
        without a word, and so it would go on for as long as that clock says.
        """
        if isinstance(problem, EnrolmentError):
            return True
        self._cuts = self._cuts + 1 if problem.cut else 0
        return problem.identity or (self._suspects and self._cuts >= CUTS)

    def _acked(self) -> None:
        self.acked += 1
        self._told = ""
        self._backoff.reset()

    def _tell(self, problem: str, *, permanent: bool) -> None:
        self.state = f"not connected: {problem}"
        if problem == self._told:
            return
        self._told, self._announced = problem, False
        if permanent:
            log.error("not shipping; records are kept in the spool", problem=problem)
        else:
            log.warning("not shipping; records are kept in the spool, trying again", problem=problem)

    def wake(self) -> None:
        """The spool holds something new."""
        session = self._session
        if session is not None:
            session.wake()

    def reconnect(self) -> None:
        """End the pause between two tries: the identity on disk is new."""
        if self._cuts >= CUTS:
            self._suspects = False
            self.refused = False
        self._wake.set()

    def drain(self, seconds: float) -> bool:
        """Wait until the collector has everything, at most so long."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.state == "connected":
            status = self._spool.call(lambda store: store.status())
            if status.batches + status.gaps == 0:
                return True
            time.sleep(0.01)
        return False

    def stop(self, seconds: float = 5.0) -> None:
        self._stopping.set()
        self._wake.set()
        self.wake()
        self.join(seconds)
