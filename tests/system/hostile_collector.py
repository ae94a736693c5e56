"""A collector with a valid certificate that says whatever harms an agent, until it is told to behave.

``python -m system.hostile_collector AGENT_FOLDER`` enrols that agent, prints its port, and then answers lines:
``behave`` ends the hostility; ``tell`` prints one JSON line: connections, batches held, frames in them, frames declared
lost.
What it acks it has; what it claims beyond that was never sent.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import Any

from fieldwatch_proto.columns import open_body
from fieldwatch_proto.schema import METRIC_FRAMES_OUTSIDE_FLOWS, Kind
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.scripted import Authority, Conversation, ScriptedCollector

MOST = (1 << 64) - 1
FAR = 1 << 40  # numbers that no agent has given
WEEKS_MS = (1 << 32) - 1
ROUND_S = 1.5


class Hostile:
    def __init__(self) -> None:
        self.behaves = False
        self.held: dict[tuple[int, int], Any] = {}

    async def play(self, talk: Conversation) -> None:
        if self.behaves:
            await self.work(talk)
            return
        harms = (
            self.claim,
            lambda talk: self.refuse(talk, pb.CONFLICT),
            lambda talk: self.refuse(talk, pb.ROLLED_BACK),
            lambda talk: self.refuse(talk, pb.RETRY),
            lambda talk: self.refuse(talk, pb.RETRY, WEEKS_MS),
            lambda talk: self.refuse(talk, pb.TOO_BIG, most=1),
            self.chatter,
            lambda talk: self.send_away(talk, "x" * 600_000, WEEKS_MS),
            lambda talk: self.send_away(talk, "go", 1),
            self.pause,
        )
        await harms[talk.number % len(harms)](talk)

    async def claim(self, talk: Conversation) -> None:
        """It has everything, now and for ever, and more than there is."""
        hello = await talk.hear()
        have = [pb.Have(epoch=stream.epoch, upto=max(0, stream.next_seq - 1)) for stream in hello.streams]
        await talk.say(pb.Welcome(have=have, window_messages=(1 << 32) - 1, window_bytes=MOST))
        for stream in hello.streams:
            await talk.say(pb.Ack(epoch=stream.epoch, also=[pb.Range(from_seq=FAR, to_seq=MOST)]))
            await talk.say(pb.Ack(epoch=stream.epoch + 1, upto=MOST))
        await asyncio.sleep(ROUND_S)

    async def refuse(self, talk: Conversation, code: pb.NackCode, retry_ms: int = 0, most: int = 1 << 30) -> None:
        """Nothing is taken, at once."""
        await talk.welcome(messages=64)
        end = time.monotonic() + ROUND_S
        while most and time.monotonic() < end and isinstance(item := await talk.hear(), pb.Batch | pb.Gap):
            first = item.seq if isinstance(item, pb.Batch) else item.from_seq
            await talk.say(pb.Nack(epoch=item.epoch, seq=first, code=code, retry_ms=retry_ms))
            most -= 1

    async def chatter(self, talk: Conversation) -> None:
        await talk.welcome(messages=0)
        for _ in range(2_000):  # they keep the agent for some ten seconds
            talk.answers.put_nowait(pb.Down(credit=pb.Credit()))
        await asyncio.sleep(ROUND_S)

    async def send_away(self, talk: Conversation, reason: str, retry_ms: int) -> None:
        await talk.welcome()
        await talk.say(pb.GoAway(reason=reason, retry_ms=retry_ms))
        await asyncio.sleep(ROUND_S)

    async def pause(self, talk: Conversation) -> None:
        await talk.welcome(messages=0, octets=MOST)
        await asyncio.sleep(ROUND_S)

    async def work(self, talk: Conversation) -> None:
        """As a collector should: held, then acked."""
        await talk.welcome(messages=64)
        while isinstance(item := await talk.hear(), pb.Batch | pb.Gap):
            first, last = (item.seq, item.seq) if isinstance(item, pb.Batch) else (item.from_seq, item.to_seq)
            self.held[item.epoch, first] = item
            await talk.say(pb.Ack(epoch=item.epoch, also=[pb.Range(from_seq=first, to_seq=last)]))

    def told(self, connections: int) -> dict[str, int]:
        frames = lost = 0
        for item in self.held.values():
            if isinstance(item, pb.Gap):
                lost += item.frames
                continue
            for row in open_body(Kind(item.kind), item.records, item.raw_bytes, item.body).rows():
                if item.kind == Kind.FLOW:
                    frames += row["packets"] + row["reply_packets"]
                elif item.kind == Kind.METRIC and row["name"] == METRIC_FRAMES_OUTSIDE_FLOWS:
                    frames += int(row["value"])
        return {"connections": connections, "held": len(self.held), "frames": frames, "lost": lost}


def flood(collector: ScriptedCollector) -> None:
    """Commands that nobody should give, each twice."""
    absurd = json.dumps({"interface": "../../etc", "packets": 10**30, "seconds": -1, "snaplen": 1e308}).encode()
    forged = pb.RemoteConfig(version=MOST, settings=b"{" * 60_000, signature=b"x" * 70, signer_der=b"x" * 400)
    for number in range(400):
        for command in (
            pb.Command(id=f"a{number}", name="capture", arguments=absurd),
            pb.Command(id=f"b{number}", name="config", config=forged, timeout_s=WEEKS_MS),
            pb.Command(id="same", name="log_level", arguments=b'{"level": "info"}'),
            pb.Command(id=f"d{number}", name="\x1b[2J" * 50, arguments=b"[" * 16_000),
            pb.Command(id="x" * 5_000, cancel=True),
        ):
            collector.command(command)


def main() -> None:
    folder = Path(sys.argv[1])
    hostile, authority = Hostile(), Authority()
    with ScriptedCollector(authority, hostile.play) as collector:
        authority.enrol(folder, collector.port)
        flood(collector)
        print(collector.port, flush=True)
        for line in sys.stdin:
            if line.strip() == "behave":
                hostile.behaves = True
            print(json.dumps(hostile.told(collector.connections)), flush=True)


if __name__ == "__main__":
    main()
