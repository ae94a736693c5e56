"""How the collector finds out that nobody is at the other end of a connection, and does not mistake a slow link for it.

- Each connection is pinged every `KEEPALIVE_S`, so that octets come at least so often from whoever is there.
- Where the way is dead, TCP gives up `KEEPALIVE_TIMEOUT_S` after the first segment that nobody acks (TCP_USER_TIMEOUT,
  tcp(7); what gRPC 1.85 makes of `grpc.keepalive_timeout_ms`).
- Where something on the way acks and passes nothing on, no octet comes for `SILENT_S`. gRPC's own bound
  (`grpc.http2.ping_timeout_ms`) is for the answer to a ping, which waits behind the batch that an agent sends, over a
  slow link for minutes. So agents are judged by what the kernel knows: when the last octet came, whichever it was
  (`tcpi_last_data_recv` of tcp_info).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fieldwatch_proto.logs import get_logger

from fieldwatch_collector.ingest.checks import MAX_BATCH_BYTES
from fieldwatch_collector.ingest.credit import MESSAGE_BYTES, USUAL

KEEPALIVE_S = 30.0
KEEPALIVE_TIMEOUT_S = 55.0
SILENT_S = KEEPALIVE_S + KEEPALIVE_TIMEOUT_S
LOOK_S = 5.0
HANDSHAKE_S = 30.0  # for TLS, over a link of some seconds there and back
IDLE_S = 120.0  # without a call: an agent's heartbeat is one, and so is whoever watches

DESCRIPTORS = Path("/proc/self/fd")
MAX_REQUEST_BYTES = 128 << 10  # at the public port; REST takes half of that

_LAST_DATA_RECV = 52  # octet in struct tcp_info, linux/tcp.h: 32 bits, milliseconds
MOST_CONNECTIONS = "grpc.max_allowed_incoming_connections"  # beyond it new ones are closed at once

_BOTH = (
    ("grpc.keepalive_time_ms", int(1_000 * KEEPALIVE_S)),
    ("grpc.keepalive_timeout_ms", int(1_000 * KEEPALIVE_TIMEOUT_S)),
    ("grpc.http2.min_ping_interval_without_data_ms", 20_000),
    ("grpc.so_reuseport", 0),  # a second collector on the port is an error, not a lottery
    ("grpc.server_handshake_timeout_ms", int(1_000 * HANDSHAKE_S)),
    ("grpc.max_connection_idle_ms", int(1_000 * IDLE_S)),
)
# A batch over the limit must arrive to be answered with TOO_BIG; beyond this gRPC ends the stream.
AGENT_OPTIONS = (
    *_BOTH,
    ("grpc.max_receive_message_length", 2 * MAX_BATCH_BYTES),
    # Of one connection: Push, Session and the reports of commands. A call holds what it was sent until it is over.
    ("grpc.max_concurrent_streams", 32),
    # What a stream may send before we read it is the usual window of an agent: the link's own measure goes to 16 MiB.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", USUAL * MESSAGE_BYTES),
    ("grpc.http2.ping_timeout_ms", 900_000),
)
PUBLIC_OPTIONS = (
    *_BOTH,
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_concurrent_streams", 100),  # of one connection; see `callers`
    ("grpc.http2.bdp_probe", 0),  # what a call may send before it is heard is a request, and no more
    ("grpc.http2.lookahead_bytes", MAX_REQUEST_BYTES),
    ("grpc.http2.ping_timeout_ms", int(1_000 * KEEPALIVE_TIMEOUT_S)),  # whoever asks here sends little
)

log = get_logger(__name__)


def end_silent(port: int, silent_s: float) -> list[tuple[Any, ...]]:
    """End connections to this port from which nothing has come for so long; the addresses of all others. Linux."""
    others = []
    for connection in connections(port):
        with contextlib.suppress(OSError):  # it has just ended by itself
            information = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _LAST_DATA_RECV + 4)
            silent_ms = struct.unpack_from("=I", information, _LAST_DATA_RECV)[0]
            peer = connection.getpeername()
            if silent_ms < 1_000 * silent_s:
                others.append(peer)
                continue
            connection.shutdown(socket.SHUT_RDWR)
            log.info("a connection on which nothing came was ended", peer=peer[0], seconds=silent_ms // 1_000)
    return others


def connections(port: int) -> Iterator[socket.socket]:
    """Those that others have made to a port of this process. They are gRPC's: borrowed for a moment, and not closed.

    No descriptor is copied: to close a copy would give up the locks of a database (fcntl(2)), were it one of its files.
    """
    for name in os.listdir(DESCRIPTORS):
        try:
            found = socket.socket(fileno=int(name))
        except OSError:  # no socket, or gone by now
            continue
        try:
            with contextlib.suppress(OSError):  # the one that listens has no peer
                if found.family in (socket.AF_INET, socket.AF_INET6) and found.getsockname()[1] == port:
                    found.getpeername()
                    yield found
        finally:
            found.detach()
