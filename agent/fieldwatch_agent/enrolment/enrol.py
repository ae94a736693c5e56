"""Joining a collector: token, key, request, certificate. Runs in the process of the command ``enrol``."""

from __future__ import annotations

import os
import random
import re
import socket
import sys
import time
from collections.abc import Callable
from getpass import getpass
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from fieldwatch_proto.join import RETRY_AFTER, JoinToken, JoinTokenError
from fieldwatch_proto.settings import UsageError
from fieldwatch_proto.v1 import agent_pb2, agent_pb2_grpc
from fieldwatch_proto.version import VERSION

from fieldwatch_agent.enrolment import keys
from fieldwatch_agent.enrolment.identity import (
    ENROLMENT_PORT,
    INGEST_PORT,
    TARGET_NAME,
    DamagedError,
    EnrolmentError,
    Identity,
    store_identity,
    usable_identity,
)
from fieldwatch_agent.ownership import give
from fieldwatch_agent.rpc import cause

TIMEOUT_S = 20.0
TURNS, TURN_S = 20, 10  # how often, and for how long at most, it waits for its turn among others that enrol
RETRY_S = (1, 300)  # the least and the most between two looks while a person decides
MAX_TOKEN_FILE_BYTES = 16 << 10
KEY_FILE = "enrolling.key"  # until the certificate is here: the same request again is the same agent
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[^\s:\[\]/]+)(?::([0-9]{1,5}))?")


_PASSING = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.RESOURCE_EXHAUSTED}


def enrol_at(
    folder: Path,
    token_file: str,
    address: str,
    *,
    replace: str = "",
    anew: bool = False,
    timeout_s: float | None = None,
    waiting: Callable[[str], None] = lambda fingerprint: None,
) -> tuple[Identity, bool]:
    """The identity, and whether it is new. Enrolling again at the same collector changes nothing, except `anew`: the
    device gives up the identity that it has and becomes another agent.

    Where a person has to approve, `waiting` is told once under which id, and the collector is asked until the answer is
    there, at most `timeout_s` (None: without end). Cut off at any moment, it goes on with the same key when called
    again. The token file is removed once the identity is stored. Raises EnrolmentError, and UsageError for the address.
    """
    host, port = split_address(address)
    existing = None if anew else _existing(folder)
    if existing is not None and not replace and existing.collector == host and _is_gone(token_file):
        return existing, False  # the enrolment that made it has removed the file
    token = _read_token(token_file)
    if existing is not None and not replace:
        if existing.collector == host and _same_authority(folder, token):
            _remove(token_file)
            return existing, False
        raise EnrolmentError(
            f"this agent is enrolled at {existing.collector} as {existing.agent_id}; to leave it and join this one,"
            " add --anew, or choose another folder with --data"
        )
    key = _pending_key(folder)
    csr = keys.request_der(key, socket.gethostname())
    request = agent_pb2.EnrolRequest(
        token_id=token.token_id,
        csr_der=csr,
        signature=keys.token_signature(token, csr),
        hostname=socket.gethostname(),
        version=VERSION,
        replace_agent=replace,
    )
    ca = keys.ca_pem(token.ca_der)
    reply = _decided(host, port, ca, request, keys.fingerprint(key), timeout_s, waiting)
    # The token's CA, or a later one that it vouches for, stands behind this channel: what came over it is trusted.
    credentials, not_before, not_after = keys.accepted(key, reply.certificate_der, trusted_of(reply))
    ingest_port = reply.ingest_port or INGEST_PORT
    identity = Identity(reply.agent_id, reply.site, host, ingest_port, port, not_before, not_after)
    store_identity(folder, identity, credentials)
    (folder / KEY_FILE).unlink(missing_ok=True)
    _remove(token_file)
    return identity, True


def _existing(folder: Path) -> Identity | None:
    """The identity in force; None also for a damaged one, which has no use but to be replaced."""
    try:
        return usable_identity(folder)
    except DamagedError:
        return None


def split_address(address: str) -> tuple[str, int]:
    """Host (without brackets) and port of "host", "host:port", "[v6]:port"; 7444 where no port is given."""
    match = _ADDRESS.fullmatch(address)
    port = int(match[2]) if match and match[2] else ENROLMENT_PORT
    if match is None or not 0 < port < 65_536:
        raise UsageError(
            f'--collector {address!r}: accepted is "host" or "host:port", a port from 1 to 65535'
            f" ({ENROLMENT_PORT} unless given)"
        )
    return match[1].strip("[]"), port


def target(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _read_token(token_file: str) -> JoinToken:
    try:
        if token_file == "-":  # noqa: S105 - the name of standard input
            text = _asked_for() if sys.stdin.isatty() else sys.stdin.read(MAX_TOKEN_FILE_BYTES)
        else:
            with open(token_file, encoding="utf-8") as stream:
                text = stream.read(MAX_TOKEN_FILE_BYTES)
        return JoinToken.parse(text)
    except OSError as problem:
        raise EnrolmentError(f"{token_file}: {problem.strerror}; write the line of `token create` there") from None
    except (JoinTokenError, UnicodeDecodeError) as problem:
        name = "standard input" if token_file == "-" else token_file  # noqa: S105
        raise EnrolmentError(f"{name}: {problem}") from None


def _asked_for() -> str:
    """The line that a person pastes at the terminal, which does not show it; "" where there is none (Ctrl-D)."""
    try:
        return getpass("Join token: ")
    except EOFError:
        return ""


def _remove(token_file: str) -> None:
    if token_file != "-":  # noqa: S105
        Path(token_file).unlink(missing_ok=True)


def _is_gone(token_file: str) -> bool:
    return token_file != "-" and not Path(token_file).exists()  # noqa: S105


def _same_authority(folder: Path, token: JoinToken) -> bool:
    return token.ca_der in keys.roots_of((folder / "identity" / "ca.crt").read_bytes())


def _pending_key(folder: Path) -> EllipticCurvePrivateKey:
    """The key of an enrolment that was cut off, else a new one; 0600 from its first octet."""
    path = folder / KEY_FILE
    try:
        return keys.load_key(path.read_bytes())
    except FileNotFoundError:
        pass
    key = keys.make_key()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        give(fd, folder)
        os.write(fd, keys.key_pem(key))
        os.fsync(fd)
    finally:
        os.close(fd)
    return key


def trusted_of(reply: agent_pb2.EnrolReply) -> list[bytes]:
    """Every root that the collector wants to be trusted from now on, DER."""
    return list(reply.trusted_ca_der) or [reply.ca_der]


def public_channel(host: str, port: int, ca: bytes) -> grpc.Channel:
    """To the port where anybody may ask; the collector shows who it is, we do not."""
    options = (
        ("grpc.ssl_target_name_override", TARGET_NAME),
        ("grpc.enable_http_proxy", 0),
        ("grpc.use_local_subchannel_pool", 1),  # each try connects anew: no other's back-off stands in its way
    )
    return grpc.secure_channel(target(host, port), grpc.ssl_channel_credentials(ca), options)


def _decided(
    host: str,
    port: int,
    ca: bytes,
    request: agent_pb2.EnrolRequest,
    fingerprint: str,
    timeout_s: float | None,
    waiting: Callable[[str], None],
) -> agent_pb2.EnrolReply:
    """The answer that holds a certificate."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    told, pause_s = False, RETRY_S[0]
    while True:
        try:
            reply = _ask(host, port, ca, request)
            if not reply.pending:
                return reply
            pause_s = min(max(RETRY_S[0], reply.retry_s), RETRY_S[1])
        except grpc.RpcError as problem:
            if not told or problem.code() not in _PASSING:
                raise EnrolmentError(_explained(host, port, problem)) from None
        if not told:
            waiting(fingerprint)
            told = True
        left_s = float("inf") if deadline is None else deadline - time.monotonic()
        if left_s <= 0:
            raise EnrolmentError(
                f"{target(host, port)}: nobody has approved this device within {timeout_s:.0f} s; do it there with:"
                f" fieldwatch-collector agents approve {fingerprint}, and run this again: it goes on with the same key"
            )
        time.sleep(min(pause_s, left_s))


def _ask(host: str, port: int, ca: bytes, request: agent_pb2.EnrolRequest) -> agent_pb2.EnrolReply:
    """Raises grpc.RpcError. Of a shelf of devices that enrol at once, each gets its turn."""
    with public_channel(host, port, ca) as channel:
        desk = agent_pb2_grpc.EnrolmentStub(channel)  # type: ignore[no-untyped-call]
        for _ in range(TURNS):
            try:
                reply: agent_pb2.EnrolReply = desk.Enrol(request, timeout=TIMEOUT_S)
                return reply
            except grpc.RpcError as problem:
                trailing: dict[str, Any] = dict(problem.trailing_metadata() or ())  # type: ignore[arg-type]
                seconds = str(trailing.get(RETRY_AFTER, ""))
                if not (seconds.isdecimal() and int(seconds) <= TURN_S):
                    raise
                time.sleep(int(seconds) + random.random())  # noqa: S311 - so that they come apart
        return desk.Enrol(request, timeout=TIMEOUT_S)  # type: ignore[no-any-return]


def _explained(host: str, port: int, problem: grpc.RpcError) -> str:
    code, details = problem.code(), cause(problem)
    where = target(host, port)
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
        if "CERTIFICATE_VERIFY_FAILED" in details or "handshake" in details.lower():
            return (
                f"{where}: its certificate is not of the join token's collector; check the address, or make a new token"
            )
        return (
            f"{where}: no collector answers ({details}); check the address, that it runs, and the port:"
            f" devices enrol at {ENROLMENT_PORT}, where it was not told otherwise"
        )
    if code in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED):
        # What mends it the collector says where it knows.
        remedy = "" if "; " in details else "; make a new one: fieldwatch-collector token create"
        return f"{where}: the join token was refused: {details}{remedy}"
    if code == grpc.StatusCode.RESOURCE_EXHAUSTED:
        return f"{where}: too many attempts ({details}); wait a few minutes and try again"
    return f"{where}: enrolment failed ({code.name}: {details})"
