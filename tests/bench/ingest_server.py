"""The collector that `ingest.py` measures, a process of its own: ``python -m bench.ingest_server DATA AGENTS MODE``.

The modes are what a collector does with a batch:

- ``decode``: everything but keep it. TLS, HTTP/2, protobuf, the limits, the digest over the body, the answer; the store
  answers "stored" at once, and nothing is written.
- ``store``: the same with the batch log, ``synchronous=FULL``, acks after the commit; nothing is projected.
- ``projections``: a collector as it is shipped, projections beside ingest.

Enrols agents over its own port, writes their identities to ``DATA/identities.json``, prints its ports as a JSON line
and runs until its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from fieldwatch_collector import admin
from fieldwatch_collector.config import CollectorConfig, Listen
from fieldwatch_collector.server import Server
from fieldwatch_collector.services import Services, make_data_folder, open_services
from fieldwatch_collector.store import BatchItem, Held, Item, Outcome, PutResult
from fieldwatch_proto.columns import open_body
from fieldwatch_proto.schema import Kind
from support.collector import Identity, Running, enrol, pem

MODES = ("envelope", "decode", "store", "projections")


class WithoutProjections(Server):
    """Batches stay in the log."""

    def start_projections(self) -> None:
        """None."""


def accept(agent: str, items: Sequence[Item]) -> asyncio.Future[PutResult]:
    """In the place of `Store.submit`: says that it holds everything, and holds nothing."""
    done: asyncio.Future[PutResult] = asyncio.get_running_loop().create_future()
    done.set_result(PutResult([Outcome.STORED] * len(items), {item.epoch: Held() for item in items}))
    return done


def decode(agent: str, items: Sequence[Item]) -> asyncio.Future[PutResult]:
    """The same, with the bodies opened."""
    for item in items:
        if isinstance(item, BatchItem):
            open_body(Kind(item.kind), item.records, item.raw_bytes, item.body)
    return accept(agent, items)


async def serve(services: Services, agents: int, mode: str) -> None:
    server = (Server if mode == "projections" else WithoutProjections)(services, None)
    if mode in ("envelope", "decode"):
        services.store.submit = decode if mode == "decode" else accept
    running = asyncio.create_task(server.run())
    await asyncio.wait({running, asyncio.create_task(server.ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
    await write_identities(Running(services, server), agents)
    print(json.dumps(server.ports), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.request_stop()
    await running


async def write_identities(collector: Running, agents: int) -> None:
    token = await asyncio.to_thread(collector.token, uses=agents)
    identities = []
    for _ in range(agents):
        collector.server.throttle.forget()
        identities.append(texts(await enrol(collector, token)))
    (collector.data / "identities.json").write_text(json.dumps(identities))


def texts(identity: Identity) -> dict[str, str]:
    """PEM texts of what a TLS channel needs."""
    key = identity.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    names = {"ca": pem(identity.ca_der), "key": key, "certificate": pem(identity.certificate_der)}
    return {name: octets.decode() for name, octets in names.items()}


def main() -> None:
    data, agents, mode = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    listen = Listen(grpc="127.0.0.1:0", public_grpc="127.0.0.1:0", http="127.0.0.1:0")
    make_data_folder(data)
    with admin.lock(data), open_services(data, CollectorConfig(data=str(data), listen=listen)) as services:
        asyncio.run(serve(services, agents, mode))


if __name__ == "__main__":
    main()
