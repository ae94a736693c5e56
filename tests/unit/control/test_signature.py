"""Who may sign a configuration: only a key that this agent's own CA has certified for just that."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from fieldwatch_agent.control.signature import SignatureError, check, verify
from fieldwatch_agent.enrolment.identity import load_credentials, load_identity, store_identity
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.scripted import Authority
from support.signing import Signer

SETTINGS = {"log": {"level": "debug"}}


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def data(tmp_path: Path, authority: Authority) -> Path:
    authority.enrol(tmp_path, 7443)
    return tmp_path


def problem_of(data: Path, pushed: pb.RemoteConfig) -> str:
    with pytest.raises(SignatureError) as caught:
        check(data, pushed, timeout_s=30, now_s=time.time())
    return str(caught.value)


def test_what_the_collector_signed_is_accepted(data: Path, authority: Authority) -> None:
    """In the child that checks it; nothing is raised."""
    check(data, Signer(authority).sign(1, SETTINGS), timeout_s=30, now_s=time.time())


def test_of_two_authorities_in_a_rotation_either_will_do(data: Path, authority: Authority) -> None:
    """The agent's file of CAs holds both while one is replaced by the other."""
    newer = Authority()
    identity, mine = load_identity(data), load_credentials(data)
    assert identity is not None
    store_identity(data, identity, replace(mine, ca=mine.ca + newer.pem))

    check(data, Signer(newer).sign(1, SETTINGS), timeout_s=30, now_s=time.time())
    check(data, Signer(authority).sign(2, SETTINGS), timeout_s=30, now_s=time.time())


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        ({"usage": ExtendedKeyUsageOID.CLIENT_AUTH}, "is not for configurations"),
        ({"usage": ExtendedKeyUsageOID.SERVER_AUTH}, "is not for configurations"),
        ({"name": "spiffe://fieldwatch/agent/agent-1"}, "is not for configurations"),
        ({"ca": True}, "is not for configurations"),
        ({"days": -1}, "check the clocks of agent and collector"),
        ({"curve": ec.SECP384R1()}, "is not of the curve P-256"),
    ],
)
def test_other_certificates_of_the_same_authority_cannot_sign(
    data: Path, authority: Authority, wrong: dict[str, object], problem: str
) -> None:
    """An agent's, the collector's own, a subordinate CA's, an old one."""
    assert problem in problem_of(data, Signer(authority, **wrong).sign(1, SETTINGS))  # type: ignore[arg-type]


def test_another_authority_cannot_sign(data: Path) -> None:
    """However good its certificate looks."""
    assert "not issued by this agent's CA" in problem_of(data, Signer(Authority()).sign(1, SETTINGS))


def test_the_signature_is_over_agent_version_and_settings(data: Path, authority: Authority) -> None:
    """Each of them changed: the signature does not hold. An octet of it changed, none, or too much: neither."""
    signer = Signer(authority)
    good = signer.sign(7, SETTINGS)
    others = [
        signer.sign(7, SETTINGS, agent_id="agent-2"),
        pb.RemoteConfig(version=8, settings=good.settings, signature=good.signature, signer_der=good.signer_der),
        pb.RemoteConfig(version=7, settings=b"{}", signature=good.signature, signer_der=good.signer_der),
        pb.RemoteConfig(version=7, settings=good.settings, signature=b"\x30\x00", signer_der=good.signer_der),
    ]

    assert {problem_of(data, other) for other in others} == {
        "the signature does not hold for this agent, version and settings"
    }
    for signature, signer_der in ((b"", good.signer_der), (good.signature, b""), (bytes(300), good.signer_der)):
        pushed = pb.RemoteConfig(version=7, settings=good.settings, signature=signature, signer_der=signer_der)
        assert problem_of(data, pushed) == "it is not signed"
    assert "cannot be read" in problem_of(
        data, pb.RemoteConfig(version=7, settings=good.settings, signature=good.signature, signer_der=b"\x30\x03abc")
    )


def test_a_clock_that_is_behind_does_not_lock_the_collector_out(data: Path, authority: Authority) -> None:
    """The time is at least that of the agent's own certificate: a device without a clock starts in 1970."""
    identity = load_identity(data)
    assert identity is not None
    pushed = Signer(authority).sign(1, SETTINGS)
    parts = (1, pushed.settings, pushed.signature, pushed.signer_der)

    with pytest.raises(SignatureError):
        verify(data, *parts, now_s=0.0)
    store_identity(data, replace(identity, not_before=int(time.time())), load_credentials(data))
    verify(data, *parts, now_s=0.0)
