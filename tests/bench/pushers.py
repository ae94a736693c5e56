"""Agents that push as fast as the collector's credit lets them: the load of `ingest.py`, a process of its own.

``python -m bench.pushers IDENTITIES PORT --agents N --seconds S [--rate R]``: each agent has a channel with its own
certificate and one stream, sends sealed batches within its window, and takes an ack's time from the write of the batch
that it covers. Standard output: one JSON line, see `Figures`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import resource
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from fieldwatch_collector.identity import COLLECTOR_NAME
from fieldwatch_proto.columns import Sealed
from fieldwatch_proto.v1 import agent_pb2 as pb
from fieldwatch_proto.v1 import agent_pb2_grpc

from bench.site_flows import flow_batches

WARM_UP_S = 1.0
DISTINCT_BATCHES = 32
OPTIONS = [
    ("grpc.ssl_target_name_override", COLLECTOR_NAME),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
]


@dataclass
class Figures:
    """What was acked between the warm-up and the end, and how long its acks took."""

    seconds: float = 0.0
    batches: int = 0
    all_batches: int = 0  # with those of the warm-up and of the end, which `cpu_s` is for
    records: int = 0
    octets: int = 0
    nacks: int = 0
    cpu_s: float = 0.0
    p50_ms: float = 0.0
    p99_ms: float = 0.0
    window_least: int = 0  # messages, the smallest that was granted
    latencies: list[float] = field(default_factory=list)


class Pusher:
    """One agent."""

    def __init__(self, identity: dict[str, str], port: int, content: Sequence[Sealed], chance: random.Random) -> None:
        keys = [identity[name].encode() for name in ("ca", "key", "certificate")]
        credentials = grpc.ssl_channel_credentials(*keys)
        self._channel = grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=OPTIONS)
        self._content = content
        self._epoch = chance.getrandbits(64)
        self._seq = 0
        self._sent: dict[int, tuple[float, Sealed]] = {}
        self._octets = 0
        self._room = asyncio.Event()
        self.window = (0, 0)
        self.least = 1 << 30
        self.nacks = 0
        self.acked: list[tuple[float, float, Sealed]] = []  # moment of the ack, its latency, what it covers

    async def greet(self) -> None:
        self._call: Any = agent_pb2_grpc.IngestStub(self._channel).Push()  # type: ignore[no-untyped-call]
        stream = pb.Stream(epoch=self._epoch, first_unacked=1, next_seq=1)
        await self._call.write(pb.Up(hello=pb.Hello(protocol=1, streams=[stream])))
        welcome = (await self._call.read()).welcome
        self._grant(welcome.window_messages, welcome.window_bytes)

    async def push(self, until: float, gap_s: float) -> None:
        """Until the moment `until`; `gap_s` between two batches, 0 = as fast as the window allows."""
        reading = asyncio.create_task(self._read())
        due = time.monotonic() + random.random() * gap_s
        while (now := time.monotonic()) < until:
            if gap_s:
                if now < due:
                    await asyncio.sleep(due - now)
                due += gap_s
            sealed = self._content[self._seq % len(self._content)]
            while len(self._sent) >= self.window[0] or (
                self._sent and self._octets + len(sealed.body) > self.window[1]
            ):
                self._room.clear()
                await self._room.wait()
            self._seq += 1
            self._sent[self._seq] = (time.monotonic(), sealed)
            self._octets += len(sealed.body)
            await self._call.write(pb.Up(batch=self._message(sealed)))
        await self._call.write(pb.Up(bye=pb.Bye(reason="measured")))
        await self._call.done_writing()
        await reading
        await self._channel.close()

    def _message(self, sealed: Sealed) -> pb.Batch:
        return pb.Batch(
            epoch=self._epoch,
            seq=self._seq,
            kind=int(sealed.kind),
            schema=1,
            records=sealed.records,
            t_min=sealed.t_min,
            t_max=sealed.t_max,
            codec=1,
            raw_bytes=sealed.raw_bytes,
            digest=sealed.digest,
            body=sealed.body,
        )

    async def _read(self) -> None:
        while (down := await self._call.read()) != grpc.aio.EOF:
            said = down.WhichOneof("message")
            if said == "ack":
                now = time.monotonic()
                for seq in [seq for seq in self._sent if seq <= down.ack.upto]:
                    moment, sealed = self._sent.pop(seq)
                    self._octets -= len(sealed.body)
                    self.acked.append((now, now - moment, sealed))
                self._room.set()
            elif said == "credit":
                self._grant(down.credit.window_messages, down.credit.window_bytes)
            elif said == "nack":
                self.nacks += 1

    def _grant(self, messages: int, octets: int) -> None:
        self.window = (messages, octets)
        self.least = min(self.least, messages)
        self._room.set()


async def run(
    identities: Sequence[dict[str, str]], port: int, content: Sequence[Sealed], seconds: float, rate: float
) -> Figures:
    """All agents at once; `rate` batches a second of all together, 0 = as many as go."""
    chance = random.Random(time.time_ns())
    pushers = [Pusher(identity, port, content, chance) for identity in identities]
    await asyncio.gather(*(pusher.greet() for pusher in pushers))
    began = time.monotonic()
    cpu_s = _cpu_s()
    gap_s = len(pushers) / rate if rate else 0.0
    await asyncio.gather(*(pusher.push(began + WARM_UP_S + seconds, gap_s) for pusher in pushers))
    figures = Figures(seconds, nacks=sum(pusher.nacks for pusher in pushers), cpu_s=_cpu_s() - cpu_s)
    figures.window_least = min(pusher.least for pusher in pushers)
    for pusher in pushers:
        figures.all_batches += len(pusher.acked)
        for moment, latency, sealed in pusher.acked:
            if 0 <= moment - began - WARM_UP_S < seconds:
                figures.batches += 1
                figures.records += sealed.records
                figures.octets += len(sealed.body)
                figures.latencies.append(latency)
    figures.latencies.sort()
    if figures.latencies:
        figures.p50_ms, figures.p99_ms = (1e3 * figures.latencies[int(len(figures.latencies) * q)] for q in (0.5, 0.99))
    figures.latencies.clear()
    return figures


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("identities", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--agents", type=int, required=True)
    parser.add_argument("--records", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rate", type=float, default=0.0)
    options = parser.parse_args()
    identities = json.loads(options.identities.read_text())[: options.agents]
    content = flow_batches(DISTINCT_BATCHES, options.records)
    figures = asyncio.run(run(identities, options.port, content, options.seconds, options.rate))
    print(json.dumps(asdict(figures)))


if __name__ == "__main__":
    main()
