"""What a flow record takes on the wire, column by column.

    ./dev bench wire [--records N] [--frames N]

Records are sealed as an agent seals them, in batches of N. Those of a made-up site (`site_flows.py`) are random to the
nanosecond wherever a wire may be; with $FIELDWATCH_CORPUS those of the real captures come beside them, as `mixture.py`
puts 1,400 networks on one wire. A column's octets are those of its own parts, compressed alone.

*random* is what the octets of all planes hold by their own statistics, each plane for itself: no coder that looks at
one octet of one column at a time, as zstd does where nothing repeats, comes below it.
"""

from __future__ import annotations

import argparse
import math
import os
import tempfile
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fieldwatch_agent.config import AgentConfig
from fieldwatch_agent.pipeline import Pipeline, make_engine
from fieldwatch_agent.sealer import slices
from fieldwatch_ext.capture import FileSource
from fieldwatch_ext.engine import STAGE_FLOWS
from fieldwatch_proto.columns import open_body, seal, sealed_column
from fieldwatch_proto.records import Records, concat
from fieldwatch_proto.schema import COLUMNS, Kind

from bench.measuring import machine, table
from bench.mixture import captures_of, write_mix
from bench.site_flows import flow_batches

AIM_OCTETS = 25.0
BATCHES = 8


def made_up(records: int) -> list[Records]:
    sealed = flow_batches(BATCHES, records)
    return [open_body(Kind.FLOW, batch.records, batch.raw_bytes, batch.body) for batch in sealed]


def captured(corpus: str, frames: int, records: int) -> list[Records]:
    """The flows of so many frames of the mixture, without the last, smaller batch."""
    found: list[Records] = []
    pipeline = Pipeline(make_engine(AgentConfig(), stage=STAGE_FLOWS), "eth0", found.append, dissect=False)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "mix.pcap")
        write_mix(path, captures_of(corpus), frames=frames)
        with path.open("rb") as stream:
            source = FileSource(stream.fileno(), name=path.name)
            while pipeline.step(source) >= 0:
                pass
            pipeline.finish()
    flows = concat([part for part in found if part.kind is Kind.FLOW])
    return [part for part in slices(flows, records) if part.count == records]


def randomness(octets: bytes) -> float:
    """Octets that these hold by their own statistics (Shannon's entropy of order 0)."""
    return -sum(count * math.log2(count / len(octets)) for count in Counter(octets).values()) / 8


def report(name: str, batches: Sequence[Records]) -> None:
    records = sum(batch.count for batch in batches)
    rows, random = [], 0.0
    for column in COLUMNS[Kind.FLOW]:
        planes = [sealed_column(column, batch.columns[column.name], batch.count) for batch in batches]
        sizes = sum(len(body) for _, body in planes)
        own = sum(randomness(part) for parts, _ in planes for part in parts if part)
        random += own
        rows.append((column.name, f"{sizes / records:.2f}", f"{own / records:.2f}"))
    whole = [len(seal(batch).body) / batch.count for batch in batches]
    mean = sum(whole) / len(whole)
    rows.append(("**a record**", f"**{mean:.1f}**", f"**{random / records:.1f}**"))
    spread = f"{min(whole):.1f} to {max(whole):.1f} octets"
    print(f"{name}: {len(batches)} batches of {batches[0].count:,} records, {spread} a record.\n")
    print(table(["column", "octets", "random"], rows))
    print(f"\nAim: {AIM_OCTETS:.0f} octets a record: {'met' if mean <= AIM_OCTETS else 'not met'}.\n")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_600, help="of each batch: an agent seals at about 48 KiB")
    parser.add_argument("--frames", type=int, default=300_000, help="of the captures")
    options = parser.parse_args()
    print(f"{machine()}\n")
    report("A made-up site", made_up(options.records))
    corpus = os.environ.get("FIELDWATCH_CORPUS")
    if corpus is not None:
        report("Real captures", captured(corpus, options.frames, options.records))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
