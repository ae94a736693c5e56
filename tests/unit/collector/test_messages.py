"""Messages of agents are looked at before they are parsed: what agents send passes, what costs much memory does not."""

from __future__ import annotations

import pytest
from fieldwatch_collector.ingest.messages import BOUNDS, Bounds, check
from fieldwatch_proto.v1 import agent_pb2 as pb
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

PUSH, SESSION = BOUNDS["/fieldwatch.v1.Ingest/Push"], BOUNDS["/fieldwatch.v1.Control/Session"]
REPORT = BOUNDS["/fieldwatch.v1.Control/Report"]

# As large as the collector takes them: `stream.MAX_EPOCHS`, `checks`, `statuses`, `reports`.
LARGE = [
    (PUSH, pb.Up(batch=pb.Batch(epoch=1, seq=1, body=bytes(7 << 20), digest=bytes(16), t_min=-1))),
    (PUSH, pb.Up(hello=pb.Hello(streams=[pb.Stream(epoch=n, next_seq=1 << 63) for n in range(64)], version="v" * 256))),
    (PUSH, pb.Up(gap=pb.Gap(records=dict.fromkeys(range(64), 1 << 62), detail="d" * 4_096))),
    (
        SESSION,
        pb.AgentStatus(
            health=[pb.Health(component="c" * 100, level=pb.HEALTH_OK, reason="r" * 1_000) for _ in range(256)],
            interfaces=[pb.InterfaceStatus(name="eth0", frames=1 << 63)] * 64,
            allowed_commands=["capture"] * 64,
            config=pb.ConfigStatus(effective=bytes(128 << 10)),
            card_life_years=2.5,
        ),
    ),
    (REPORT, pb.CommandReport(id="x" * 26, chunk=bytes(256 << 10), result=bytes(64 << 10), text="t" * 4_000)),
]
AMPLIFIED = [
    (PUSH, pb.Up(hello=pb.Hello(streams=[pb.Stream()] * 40_000))),
    (PUSH, pb.Up(gap=pb.Gap(records=dict.fromkeys(range(20_000), 1)))),
    (PUSH, pb.Up(bye=pb.Bye(reason="x" * 70_000))),
    (SESSION, pb.AgentStatus(health=[pb.Health()] * 5_000)),
    (SESSION, pb.AgentStatus(interfaces=[pb.InterfaceStatus()] * 5_000)),
    (SESSION, pb.AgentStatus(version="v" * (2 << 20))),
]


@pytest.mark.parametrize(("bounds", "message"), LARGE)
def test_the_largest_that_is_taken_passes(bounds: Bounds, message: Message) -> None:
    """Each is inside its bounds."""
    check(message.SerializeToString(), bounds)


@pytest.mark.parametrize(("bounds", "message"), AMPLIFIED)
def test_what_would_be_many_objects_is_refused(bounds: Bounds, message: Message) -> None:
    """Before protobuf sees it, also behind a part that may be large."""
    octets = message.SerializeToString()
    with pytest.raises(DecodeError):
        check(octets, bounds)
    with pytest.raises(DecodeError):
        check(pb.Up(batch=pb.Batch(body=b"x")).SerializeToString() + octets, bounds)


@given(st.binary(max_size=40))
def test_what_protobuf_parses_passes(octets: bytes) -> None:
    """But for groups, which no message here has; and nothing else than DecodeError is raised."""
    try:
        check(octets, REPORT)
    except DecodeError as refused:
        if "group" not in str(refused):
            with pytest.raises(DecodeError):
                pb.CommandReport.FromString(octets)


@pytest.mark.parametrize("octets", [b"\x0b\x0c", b"\x0a\x80", b"\x80", b"\xff" * 11, b"\x06"])
def test_what_is_no_message_is_refused(octets: bytes) -> None:
    """A group, a number that breaks off or is too long, a wire type that there is not."""
    with pytest.raises(DecodeError):
        check(octets, REPORT)
