"""Offline analysis: captures in, and out of them flows and facts as they come, devices and totals at the end.

- Each capture is read by an engine of its own: a flow ends with its capture, and a fact's frame number counts within it
  (1-based, as other tools show it; with a filter, the frames that passed are counted).
- Devices are what all captures together tell.
- Memory is bounded: flows are handed out when they end, and of sightings and facts at most `MAX_SIGHTINGS` and
  `MAX_FACTS` different ones are kept for the devices. What came beyond that is counted (`Totals.overflow`).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from fieldwatch_ext.bpf import Program
from fieldwatch_ext.capture import FileSource
from fieldwatch_ext.engine import Counters
from fieldwatch_proto.identity import Device, Prefix, Sighting, resolve
from fieldwatch_proto.records import Records
from fieldwatch_proto.schema import Kind, SightingSource, ip_octets, vlan_ids
from fieldwatch_proto.settings import UsageError

from fieldwatch_agent.config import AgentConfig
from fieldwatch_agent.filters import compile_filter
from fieldwatch_agent.pipeline import FactFilter, Pipeline, make_engine

MAX_SIGHTINGS = 65_536
MAX_FACTS = 32_768
FOREVER_NS = 1 << 63

OnRecords = Callable[[Records], None]
OnProgress = Callable[[int, int], None]  # octets of the file read, frames so far


@dataclass
class Totals:
    """Sums over all captures. frames == decoded + truncated + malformed + unsupported, always."""

    captures: int = 0
    linktypes: list[str] = field(default_factory=list)
    frames: int = 0
    octets: int = 0
    filtered: int = 0
    decoded: int = 0
    truncated: int = 0
    malformed: int = 0
    unsupported: int = 0
    by_layer: Counter[str] = field(default_factory=Counter)
    flows: int = 0
    evicted_flows: int = 0
    first_ns: int | None = None  # None: no frame had anything to tell
    last_ns: int = 0
    duration_ns: int = 0  # of the captures, one after the other
    overflow: int = 0
    problems: list[str] = field(default_factory=list)

    def add(self, counters: Counters) -> None:
        self.captures += 1
        self.frames += counters.frames
        self.octets += counters.octets
        self.decoded += counters.decoded
        self.truncated += counters.truncated
        self.malformed += counters.malformed
        self.unsupported += counters.unsupported
        self.by_layer.update(counters.by_layer)
        self.flows += counters.flows_exported
        self.evicted_flows += counters.flows_evicted


class Analysis:
    """`read` the captures one after the other, then `devices` and `totals`."""

    def __init__(self, config: AgentConfig, *, on_flows: OnRecords, on_facts: OnRecords, expression: str = "") -> None:
        self.totals = Totals()
        self.prefixes: list[Prefix] = config.network.prefixes()
        self.config = config
        self._expression = expression
        self._on_flows = on_flows
        self._on_facts = on_facts
        self._news = FactFilter(refresh_ns=FOREVER_NS)
        self._sightings: dict[tuple[int, bytes, bytes, int], list[int]] = {}
        self._facts: dict[tuple[str, str, str, str], int] = {}
        self._first_ns: int | None = None  # of the capture being read

    def read(self, fd: int, name: str, progress: OnProgress | None = None) -> None:
        """One capture from a file descriptor. Raises CaptureError where it is none, UsageError for the filter."""
        wrong_filter: list[UsageError] = []

        def filter_for(linktype: int) -> Program | None:
            try:
                return compile_filter(self._expression, linktype)
            except UsageError as problem:  # in the middle of a stream it only ends the source
                wrong_filter.append(problem)
                raise

        source = FileSource(fd, name=name, filter_for=filter_for if self._expression else None)
        try:
            engine = make_engine(self.config, offline=True)
            pipeline = Pipeline(engine, "", self._take, facts=self._news)
            self._first_ns = None
            while pipeline.step(source) >= 0:
                if progress is not None:
                    progress(source.position, source.frames)
            if wrong_filter:
                raise wrong_filter[0]
            pipeline.finish()
        finally:
            source.close()
        self._account(engine.counters(), engine.newest_ns, source, name)

    def devices(self) -> list[Device]:
        """All devices, in the order of their keys."""
        sightings = (
            Sighting(tuple(vlan_ids(vlans)), mac, ip, SightingSource(source), first_ns, last_ns, frames)
            for (vlans, mac, ip, source), (first_ns, last_ns, frames) in self._sightings.items()
        )
        facts = ((*name, seen_ns) for name, seen_ns in self._facts.items())
        return resolve(sightings, facts, self.prefixes)

    def _account(self, counters: Counters, newest_ns: int, source: FileSource, name: str) -> None:
        totals = self.totals
        totals.add(counters)
        totals.overflow += counters.slow_limited + counters.slow_dropped + self._news.refused
        self._news.refused = 0
        totals.filtered += source.filtered
        totals.linktypes += [text for text in source.linktypes if text not in totals.linktypes]
        if self._first_ns is not None:
            totals.first_ns = self._first_ns if totals.first_ns is None else min(totals.first_ns, self._first_ns)
            totals.last_ns = max(totals.last_ns, newest_ns)
            totals.duration_ns += max(0, newest_ns - self._first_ns)
        if not source.complete:
            totals.problems.append(f"{os.path.basename(name)}: {source.problem}")

    def _take(self, records: Records) -> None:
        if records.kind is Kind.FLOW:
            self._see_first(min(records.values("first_ns")))
            self._on_flows(records)
        elif records.kind is Kind.FACT:
            self._keep_facts(records)
            self._on_facts(records)
        else:
            self._keep_sightings(records)

    def _see_first(self, ns: int) -> None:
        self._first_ns = ns if self._first_ns is None else min(self._first_ns, ns)

    def _keep_facts(self, records: Records) -> None:
        names = zip(*(records.values(name) for name in ("subject", "key", "value", "source")), strict=True)
        for name, seen_ns in zip(names, records.values("seen_ns"), strict=True):
            if name in self._facts or len(self._facts) < MAX_FACTS:
                self._facts.setdefault(name, seen_ns)
            else:
                self.totals.overflow += 1

    def _keep_sightings(self, records: Records) -> None:
        columns = ("vlans", "mac", "ip_version", "ip", "source", "first_ns", "last_ns", "frames")
        for vlans, mac, version, ip, source, first_ns, last_ns, frames in zip(
            *(records.values(name) for name in columns), strict=True
        ):
            self._see_first(first_ns)
            name = (vlans, mac, ip_octets(version, ip), source)
            kept = self._sightings.get(name)
            if kept is not None:
                kept[0] = min(kept[0], first_ns)
                kept[1] = max(kept[1], last_ns)
                kept[2] += frames
            elif len(self._sightings) < MAX_SIGHTINGS:
                self._sightings[name] = [first_ns, last_ns, frames]
            else:
                self.totals.overflow += 1
