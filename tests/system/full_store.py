"""Run by row 22 of the matrix inside a mount namespace: a collector on a filesystem of 32 MiB that runs full.

``python -m system.full_store floor|disk DATA``. "floor": others leave less than the collector keeps free. "disk": it
keeps nothing free, and others take every octet.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from pathlib import Path

import httpx
from fieldwatch_proto.columns import digest
from fieldwatch_proto.schema import Kind
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.collector import batch, sealed, sighting, until
from support.remote import Heard, joined, stream_of
from support.stack import Collector

EPOCH = 0xFEED_BEEF_0000_0004
SEALED = sealed(Kind.SIGHTING, [sighting(1, bytes([10, 0, 0, 1]))])
BATCH_BYTES = 200 << 10
FLOORS = {"floor": "4 MiB", "disk": "1 B"}


def opaque(seq: int) -> pb.Batch:
    body = random.Random(seq).randbytes(BATCH_BYTES)
    return batch(EPOCH, seq, SEALED, kind=99, body=body, digest=digest(body))


def fill(path: Path, left: int) -> None:
    """Others take all of the disk but so many octets."""
    with path.open("wb", buffering=0) as stream:
        disk = os.statvfs(path.parent)
        size = disk.f_bavail * disk.f_frsize - left
        while size > 0:
            try:
                size -= stream.write(bytes(min(size, 1 << 16)))
            except OSError:
                return


async def fill_and_mend(collector: Collector, limit: str) -> None:
    identity = await joined(collector)
    others = collector.data / "others"
    heard = Heard()
    async with stream_of(collector, identity) as stream:
        heard.take(await stream.hello((EPOCH, 1, 1)))
        for seq in range(1, 6):
            await stream.send(opaque(seq))
        await heard.listen(stream, until_acked=5)
        fill(others, left=(3 << 20) if limit == "floor" else 0)
        if limit == "floor":  # it is seen within a second
            await heard.listen(stream, until_window={0})
        await stream.send(opaque(6), opaque(7))
        while len(heard.nacks) < 2:
            heard.take(await stream.read())
        await heard.listen(stream, until_window={0})
        assert heard.acked == 5, heard.acked
        assert {pb.RETRY} == {nack.code for nack in heard.nacks}
        assert all(nack.retry_ms >= 1_000 for nack in heard.nacks)
        assert [(5,)] == collector.ask("SELECT count(*) FROM batch")
        status, problem = await asyncio.to_thread(readiness, collector)
        assert status == 503, status
        assert ("min_free_bytes" if limit == "floor" else "disk is full") in problem, problem
        others.unlink()
        await heard.listen(stream, until_window={8, 16})
        await stream.send(opaque(6), opaque(7), opaque(8))
        await heard.listen(stream, until_acked=8)
    await until(lambda: len(alarms(collector)) == 2, "people are told that it is over")
    assert ["collector.store_problem", "collector.store_recovered"] == alarms(collector)
    assert (200, "ok") == await asyncio.to_thread(readiness, collector)


def readiness(collector: Collector) -> tuple[int, str]:
    answer = httpx.get(f"http://127.0.0.1:{collector.ports['http']}/readyz", timeout=20)
    return answer.status_code, answer.json()["store"]


def alarms(collector: Collector) -> list[str]:
    return [row[0] for row in collector.ask("SELECT type FROM event WHERE type LIKE 'collector.store%' ORDER BY seq")]


def main() -> None:
    limit, data = sys.argv[1], Path(sys.argv[2])
    collector = Collector(data, environ={"FIELDWATCH_COLLECTOR__LIMITS__MIN_FREE_BYTES": FLOORS[limit]})
    collector.start()
    try:
        asyncio.run(fill_and_mend(collector, limit))
    finally:
        collector.stop()
    assert [(seq,) for seq in range(1, 9)] == collector.ask("SELECT seq FROM batch ORDER BY seq")
    assert [("ok",)] == collector.ask("PRAGMA integrity_check")
    print("conserved")


if __name__ == "__main__":
    main()
