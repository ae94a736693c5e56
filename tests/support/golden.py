"""Golden batches of every schema id: what agents of other versions send, kept under ``tests/golden``.

``python -m support.golden`` writes the files that are not there yet; one that is there is never written again, for it
stands for agents that are out in the field. A file holds `Batch` messages, each behind its length, one of each kind:

- ``schema-1-early``: flows without sizes, gaps, retransmissions and round trips, as the first agents sent them.
- ``schema-1``: the same with these columns.
- ``schema-2``: with the clock of each batch. All so far have their values one after the other.
- ``schema-3``: what this version seals: planes, steps and tables.
- ``schema-2-made-up``: an agent that is newer than this collector, made up while schema 1 was in force. It has columns
  of known types, one of an unknown type and one of an unknown encoding, and a kind of its own.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgpack
import zstandard
from fieldwatch_agent.clock import Clock
from fieldwatch_proto.columns import Sealed, digest, seal
from fieldwatch_proto.records import records_of
from fieldwatch_proto.schema import SCHEMA_VERSION, ClockQuality, Kind
from fieldwatch_proto.v1 import agent_pb2 as pb
from google.protobuf import proto

from support.collector import batch, fact, flow, sealed, sighting

FOLDER = Path(__file__).parents[1] / "golden"
EPOCH = 0x60D
ROWS: dict[Kind, list[dict[str, Any]]] = {
    Kind.FLOW: [
        flow(bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2]), retransmits=3, server_rtt_us=1_500),
        flow(bytes([10, 0, 0, 2]), bytes(range(16)), ip_version=6, last_ns=9_000),
    ],
    Kind.SIGHTING: [sighting(1, bytes([10, 0, 0, 1])), sighting(2, bytes([10, 0, 0, 2]), frames=7)],
    Kind.FACT: [fact("00:de:ad:00:00:01", "hostname", "nas", "dhcp")],
    Kind.EVENT: [{"ts_ns": 77, "type": "alarm", "severity": "warning", "subject": "eth0", "data": '{"n":1}'}],
    Kind.METRIC: [{"ts_ns": 5, "name": "frames_total", "labels": "{}", "value": 10.0}],
}
LATER_KIND = 6


def current() -> list[pb.Batch]:
    """Of this version."""
    clock = Clock(
        bytes(range(16)), realtime=lambda: 10_000, boottime=lambda: 9_000, ask_quality=lambda: ClockQuality.NTP
    )
    return [
        batch(EPOCH, number, seal(clock.stamp(records_of(kind, rows))), schema=SCHEMA_VERSION)
        for number, (kind, rows) in enumerate(ROWS.items(), 1)
    ]


def made_up() -> list[pb.Batch]:
    """Of a version to come."""
    made = []
    for number, (kind, rows) in enumerate(ROWS.items(), 1):
        whole = sealed(kind, rows)
        columns = msgpack.unpackb(zstandard.ZstdDecompressor().decompress(whole.body))
        columns["later_count"] = ["u32", "plain", b"".join(n.to_bytes(4, "little") for n in range(whole.records))]
        columns["later_text"] = ["str", "dict", [["new"], 1, bytes(whole.records)]]
        columns["later_type"] = ["u128", "plain", bytes(16 * whole.records)]
        columns["later_encoding"] = ["u32", "bits", b"\x07"]
        made.append(_batch(number, kind, whole, columns))
    whole = sealed(Kind.EVENT, ROWS[Kind.EVENT])
    made.append(_batch(len(made) + 1, LATER_KIND, whole, {"hops": ["u8", "const", b"\x05"]}))
    return made


def _batch(number: int, kind: int, whole: Sealed, columns: dict[str, Any]) -> pb.Batch:
    raw = msgpack.packb(columns, use_bin_type=True)
    body = zstandard.ZstdCompressor(level=3).compress(raw)
    fields = {"kind": kind, "schema": 2, "raw_bytes": len(raw), "body": body, "digest": digest(body)}
    return batch(EPOCH, number, whole, **fields)


OLDER = ("schema-1-early", "schema-1", "schema-2")  # what wrote them has gone
FILES = {f"schema-{SCHEMA_VERSION}": current, "schema-2-made-up": made_up}


def read(name: str) -> list[pb.Batch]:
    """The batches of a file."""
    made = []
    with (FOLDER / f"{name}.bin").open("rb") as stream:
        while (found := proto.parse_length_prefixed(pb.Batch, stream)) is not None:
            made.append(found)
    return made


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, make in FILES.items():
        path = FOLDER / f"{name}.bin"
        if path.exists():
            continue
        with path.open("wb") as stream:
            for made in make():
                proto.serialize_length_prefixed(made, stream)
        print(f"wrote {path}: {path.stat().st_size} octets", file=sys.stderr)


if __name__ == "__main__":
    main()
