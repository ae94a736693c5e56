"""Hostile messages to a running collector over real connections: protobuf, zstd, msgpack and gRPC framing, damaged.

``python -m fuzz.ingest --seconds S --seed N`` or ``--only CASE``. Each case is a function of (seed, number). After each
one the collector must answer: another agent's batch is acked. In the end everything that was acked is stored once, the
projections have passed over what cannot be read, and the log holds no error.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgpack
import zstandard
from fieldwatch_proto.columns import Sealed, digest
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.collector import Identity, Talk, batch, fact, flow, sealed, sighting
from support.raw_grpc import message, raw_call
from support.remote import joined, memory_kib, stream_of
from support.stack import Collector, wait_for

from fuzz.mutation import mutate

EPOCH = 0xF022_0000_0000_0001
ANSWER_S = 20.0
MOST_RESIDENT_KIB = 400 << 10
PUSH = "/fieldwatch.v1.Ingest/Push"
CODES_OF_AN_END = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.INTERNAL,  # what is no protobuf, gRPC itself refuses
    grpc.StatusCode.UNKNOWN,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}
SEEDS: list[Sealed] = [
    sealed(Kind.SIGHTING, [sighting(number, bytes([10, 0, 0, number])) for number in range(1, 20)]),
    sealed(Kind.FLOW, [flow(bytes([10, 0, 0, number]), bytes([10, 0, 1, number])) for number in range(1, 20)]),
    sealed(Kind.FACT, [fact("10.0.0.1", "hostname", f"h{number}", "dhcp") for number in range(10)]),
    sealed(Kind.METRIC, [{"ts_ns": 1, "name": "frames_total", "labels": "{}", "value": 1.5}]),
    sealed(Kind.EVENT, [{"ts_ns": 1, "type": "alarm", "severity": "info", "subject": "s", "data": "{}"}]),
]


def hello(dice: random.Random) -> pb.Up:
    streams = [pb.Stream(epoch=EPOCH, first_unacked=1, next_seq=dice.choice((1, 100, 1 << 63)))]
    return pb.Up(hello=pb.Hello(protocol=1, streams=streams))


def numbered(dice: random.Random, body: Sealed) -> pb.Batch:
    return batch(EPOCH, dice.choice((1, 2, 3, dice.randrange(1, 1 << 64))), body)


def gap(dice: random.Random) -> pb.Gap:
    low = dice.randrange(1, 1 << dice.choice((3, 10, 63)))
    return pb.Gap(epoch=EPOCH, from_seq=low, to_seq=low + dice.randrange(100), records={1: 5}, reason=pb.QUOTA)


def damaged_protobuf(dice: random.Random) -> bytes:
    """An Up with some octets of its envelope changed."""
    whole = dice.choice((hello(dice), pb.Up(batch=numbered(dice, dice.choice(SEEDS))), pb.Up(gap=gap(dice))))
    return mutate(dice, whole.SerializeToString())


def odd_values(dice: random.Random) -> bytes:
    """A well-formed batch or gap whose numbers are not of this world."""
    edges = (0, 1, (1 << 31) - 1, (1 << 32) - 1)
    made = numbered(dice, dice.choice(SEEDS))
    for name in dice.sample(("kind", "schema", "records", "codec", "raw_bytes", "clock_quality"), 2):
        setattr(made, name, dice.choice(edges))
    made.t_min, made.t_max = (dice.choice((-(1 << 63), -1, 0, (1 << 63) - 1)) for _ in range(2))
    if dice.random() < 0.3:
        lost = gap(dice)
        lost.from_seq, lost.to_seq = (dice.choice((0, 1, (1 << 63) - 1, (1 << 64) - 1)) for _ in range(2))
        lost.records[dice.choice(edges)] = (1 << 64) - 1
        lost.frames = (1 << 64) - 1
        lost.ts_ns = -(1 << 63)
        lost.detail = "x\0\n" * dice.randrange(1_000)
        return pb.Up(gap=lost).SerializeToString()
    return pb.Up(batch=made).SerializeToString()


def with_body(dice: random.Random, whole: Sealed, raw_bytes: int, body: bytes) -> bytes:
    """The envelope is right for this body, digest and all."""
    made = numbered(dice, whole)
    made.raw_bytes, made.body, made.digest = raw_bytes, body, digest(body)
    return pb.Up(batch=made).SerializeToString()


def damaged_zstd(dice: random.Random) -> bytes:
    whole = dice.choice(SEEDS)
    return with_body(dice, whole, whole.raw_bytes, mutate(dice, whole.body))


def damaged_msgpack(dice: random.Random) -> bytes:
    whole = dice.choice(SEEDS)
    raw = mutate(dice, zstandard.ZstdDecompressor().decompress(whole.body))
    return with_body(dice, whole, len(raw), zstandard.ZstdCompressor().compress(raw))


def damaged_columns(dice: random.Random) -> bytes:
    """Columns that decode, with values that nobody would send."""
    whole = dice.choice(SEEDS)
    columns = msgpack.unpackb(zstandard.ZstdDecompressor().decompress(whole.body))
    name = dice.choice(list(columns))
    parts = columns[name]
    match dice.randrange(5):
        case 0:
            del columns[name]
        case 1:
            parts[dice.randrange(3)] = dice.choice((None, 0, -1, "x", b"", [], {}, 1.5, True))
        case 2 if isinstance(parts[2], bytes):
            parts[2] = dice.randbytes(len(parts[2]))
        case 3 if isinstance(parts[2], list):
            parts[2][0] = [dice.choice(("", "\0", "\ud7ff" * 50, "{", "[" * 3_000)) for _ in parts[2][0]]
        case _:
            columns[dice.choice(("later", "", "mac", "ts_ns"))] = parts
    raw = msgpack.packb(columns, use_bin_type=True)
    return with_body(dice, whole, len(raw), zstandard.ZstdCompressor().compress(raw))


MESSAGES: tuple[Callable[[random.Random], bytes], ...] = (
    damaged_protobuf,
    odd_values,
    damaged_zstd,
    damaged_msgpack,
    damaged_columns,
)


def damaged_framing(dice: random.Random) -> bytes:
    """Length-prefixed messages of gRPC, as octets of a stream, with damage."""
    whole = [hello(dice), pb.Up(batch=numbered(dice, dice.choice(SEEDS))), pb.Up(bye=pb.Bye())]
    return mutate(dice, b"".join(message(up.SerializeToString()) for up in whole))


@dataclass
class Target:
    """A collector, the agent that attacks, and another one that must be served all the while."""

    collector: Collector
    attacker: Identity
    victim: Talk
    calls: grpc.aio.Channel
    folder: Path
    served: int = 0

    async def attack(self, dice: random.Random) -> None:
        if dice.random() < 0.2:
            await asyncio.to_thread(self._frame, damaged_framing(dice))
            return
        call: Any = self.calls.stream_stream(PUSH, None, pb.Down.FromString)(timeout=ANSWER_S)
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):  # it may end before all is written
            if dice.random() < 0.95:
                await call.write(hello(dice).SerializeToString())
            for _ in range(dice.randrange(1, 8)):
                await call.write(dice.choice(MESSAGES)(dice))
            await call.done_writing()
        with contextlib.suppress(grpc.aio.AioRpcError):
            while await call.read() != grpc.aio.EOF:
                pass
        code = await call.code()
        assert code in CODES_OF_AN_END, f"the call ended with {code}: {await call.details()}"

    def _frame(self, octets: bytes) -> None:
        with raw_call(self.folder, self.attacker, self.collector.ports["grpc"]) as call:
            call.send(octets, end=True)
            assert call.is_ended(), "the call hangs"

    async def serve(self) -> None:
        """The other agent's batch is acked."""
        self.served += 1
        await self.victim.send(batch(EPOCH, self.served, SEEDS[0]))
        await self.victim.acked(EPOCH, self.served)
        assert self.collector.running, "the collector has ended"

    def judge(self) -> None:
        """What holds when it is over."""
        wait_for(self._projected, "the projections have passed over everything", 60)
        assert [(self.served, self.served)] == self.collector.ask(
            "SELECT count(*), max(seq) FROM batch WHERE agent != ?", self.attacker.agent_id
        )
        assert [(0,)] == self.collector.ask(
            "SELECT count(*) FROM (SELECT 1 FROM batch GROUP BY agent, epoch, seq HAVING count(*) > 1)"
        )
        assert memory_kib(self.collector, "VmHWM") < MOST_RESIDENT_KIB
        errors = [line for line in self.collector.log.read_text(errors="replace").splitlines() if _is_error(line)]
        assert errors == [], errors[:5]

    def _projected(self) -> bool:
        newest = self.collector.ask("SELECT max(position) FROM batch")[0][0]
        return self.collector.ask("SELECT min(position) FROM projection") == [(newest,)]


def _is_error(line: str) -> bool:
    try:
        return json.loads(line)["level"] not in ("debug", "info", "warning")
    except ValueError:  # not a line of ours: a traceback, or what a library prints
        return True


@contextlib.asynccontextmanager
async def target(folder: Path) -> AsyncIterator[Target]:
    collector = Collector(folder / "data", environ={"GRPC_VERBOSITY": "NONE"})
    collector.start()
    try:
        attacker, victim = await joined(collector), await joined(collector)
        async with stream_of(collector, victim) as stream, attacker.channel(collector.ports["grpc"]) as calls:
            await stream.hello((EPOCH, 1, 1))
            yield Target(collector, attacker, stream, calls, folder)
    finally:
        if collector.running:
            collector.stop()


async def run(folder: Path, seed: int, *, seconds: float = 0.0, cases: int = 0, only: int | None = None) -> list[str]:
    """What failed, a line each; so long, or so many cases, or one."""
    failures: list[str] = []
    number = -1
    async with target(folder) as at:
        deadline = time.monotonic() + seconds
        numbers = [only] if only is not None else range(cases or 1 << 62)
        for number in numbers:
            try:
                await at.attack(random.Random(f"{seed}:{number}"))
                await at.serve()
            except Exception as problem:
                failures.append(f"ingest: seed {seed} case {number}: {problem.__class__.__name__}: {problem}")
                break
            if seconds and time.monotonic() > deadline:
                break
        if not failures:
            try:
                await asyncio.to_thread(at.judge)
            except AssertionError as problem:
                failures.append(f"ingest: seed {seed}, after {number + 1} cases: {problem}")
    print(f"ingest: seed {seed}: {number + 1} cases", file=sys.stderr)
    return failures


def campaign(seconds: float, seed: int) -> list[str]:
    """For `./dev fuzz`."""
    with tempfile.TemporaryDirectory(prefix="fieldwatch-fuzz-") as folder:
        return asyncio.run(run(Path(folder), seed, seconds=seconds))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--only", type=int, help="run this case alone")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fieldwatch-fuzz-") as folder:
        failures = asyncio.run(run(Path(folder), options.seed, seconds=options.seconds, only=options.only))
    for failure in failures:
        print(failure)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
