"""From blocks of frames to records: the one path that `read`, `run` and `bench` share.

    engine = make_engine(config)
    pipeline = Pipeline(engine, "eth0", emit)
    while pipeline.step(source) >= 0:      # -1: the source has ended
        pipeline.tick(time.time_ns())      # live only, about once a second
    pipeline.finish()

The engine does the work for each frame; Python sees columns, and the few frames that a dissector asked for. Records
are handed to `emit` as they come to be: flows and facts at a step, sightings and bindings at a tick or the finish.
`finish` leaves nothing behind, and nothing is lost before: what ended is taken before the engine's columns can fill.
"""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from fieldwatch_ext.capture import Source
from fieldwatch_ext.engine import STAGE_ALL, Engine
from fieldwatch_ext.text import used_places
from fieldwatch_proto.records import ColumnData, Records, Texts, records_of
from fieldwatch_proto.schema import Kind, ip_value

from fieldwatch_agent.applications import LABELS, content_labels, port_labels
from fieldwatch_agent.config import AgentConfig
from fieldwatch_agent.dissectors import dissect as read_payload
from fieldwatch_agent.facts import Binding, Fact

Emit = Callable[[Records], None]

STEP_BLOCKS = 16
TAKE_AFTER_FRAMES = 4_096  # flows that ended are taken after so many frames, and at every tick
FACTS_REMEMBERED = 8_192  # bounded: subjects and values are chosen by strangers
VALUES_A_KEY = 64  # of one subject; a talkative Bonjour host has about 30 services
FACT_REFRESH_NS = 3_600 * 1_000_000_000
BINDINGS_AT_ONCE = 256


def make_engine(
    config: AgentConfig, *, observed: memoryview | None = None, stage: int = STAGE_ALL, offline: bool = False
) -> Engine:
    """An engine as configured. `offline`: no active timeout, a flow is one record however long it lasts."""
    tcp_labels, udp_labels = port_labels()
    return Engine(
        max_flows=config.flows.max,
        max_sightings=config.sightings.max,
        idle_ns=int(config.flows.idle * 1e9),
        active_ns=0 if offline else int(config.flows.active * 1e9),
        stage=stage,
        tcp_labels=tcp_labels,
        udp_labels=udp_labels,
        content_labels=content_labels(),
        local_prefixes=[(prefix.network_address.packed, prefix.prefixlen) for prefix in config.network.prefixes()],
        ignore=config.privacy.ignore_protocols,
        observed=observed,
    )


class FactFilter:
    """Which facts are news: each (subject, key, value, source) once, and again after `refresh_ns` of packet time.

    Values are chosen by strangers, so what is remembered is bounded, and so is what one of them can say:

    - A subject has at most `VALUES_A_KEY` values of a key within `refresh_ns`; what goes beyond is `refused`.
    - At most `FACTS_REMEMBERED` are remembered; beyond that those of the (subject, key) that was not heard of for
      longest are forgotten, and would be news again: this bound only changes how often a fact is told.

    Several threads may ask.
    """

    def __init__(self, refresh_ns: int = FACT_REFRESH_NS) -> None:
        self.refused = 0
        self._refresh_ns = refresh_ns
        self._told: OrderedDict[tuple[str, str], dict[tuple[str, str], int]] = OrderedDict()
        self._remembered = 0
        self._lock = threading.Lock()

    def news_of(self, facts: Iterable[Fact]) -> list[Fact]:
        """Those of the facts that are news, in their order."""
        with self._lock:
            return [fact for fact in facts if self._is_news(fact)]

    def _is_news(self, fact: Fact) -> bool:
        name, said, seen_ns = fact[:2], fact[2:4], fact.seen_ns  # slices cost less than four names
        told = self._told.get(name)
        if told is None:
            told = self._told[name] = {}
        else:
            self._told.move_to_end(name)
        told_ns = told.get(said)
        if told_ns is not None and abs(seen_ns - told_ns) < self._refresh_ns:  # far ahead: the clock was set back
            return False
        if told_ns is None:
            if len(told) >= VALUES_A_KEY and not self._forget_oldest(told, seen_ns):
                self.refused += 1
                return False
            self._remembered += 1
        told[said] = seen_ns
        while self._remembered > FACTS_REMEMBERED:
            self._remembered -= len(self._told.popitem(last=False)[1])
        return True

    def _forget_oldest(self, told: dict[tuple[str, str], int], now_ns: int) -> bool:
        """Make room for one more value, if the one told longest ago is due to be told again anyway."""
        oldest = max(told, key=lambda said: abs(now_ns - told[said]))
        if abs(now_ns - told[oldest]) < self._refresh_ns:
            return False
        del told[oldest]
        self._remembered -= 1
        return True


class Pipeline:
    """One engine's output as `Records`, stamped with the interface. `step`, `tick` and `finish` in one thread.

    dissect  read the payloads that dissectors asked for (the engine must run at STAGE_ALL)
    facts    which facts are news; give one to several pipelines to let them share what was told
    """

    def __init__(
        self,
        engine: Engine,
        interface: str,
        emit: Emit,
        *,
        dissect: bool = True,
        facts: FactFilter | None = None,
    ) -> None:
        self.engine = engine
        self.interface = interface
        self._emit = emit
        self._dissect = dissect
        self._facts = facts or FactFilter()
        self._bindings: dict[tuple[bytes, bytes, int, int], list[int]] = {}
        self._frames_since_take = 0
        self._sightings_evicted = 0

    def step(self, source: Source, blocks: int = STEP_BLOCKS) -> int:
        """Run up to `blocks` blocks of the source: frames processed; 0 = none within its timeout; -1 = its end."""
        frames = self.engine.process(source, blocks)
        self._frames_since_take += max(frames, 0)
        self._take_slow()
        if frames <= 0 or self._frames_since_take >= TAKE_AFTER_FRAMES:
            self._take_flows()
        if frames == 0:
            # An idle wire, or an engine whose export columns are full: taking them is what lets it go on. Sightings
            # fill theirs only by eviction; without one they wait for the tick, or a quiet wire would cost rows.
            evicted = self.engine.counters().sightings_evicted
            if evicted != self._sightings_evicted:
                self._sightings_evicted = evicted
                self._take_sightings()
        return frames

    def tick(self, now_ns: int | None) -> None:
        """End what is idle at `now_ns` (None: packet time alone decides), and hand out all that is ready."""
        if now_ns is not None:
            self._take_flows()  # room for records, or `expire` would end nothing
            while self.engine.expire(now_ns):
                self._take_flows()
        self._take_slow()
        self._take_flows()
        self._take_sightings()

    def finish(self) -> None:
        """Hand out everything: the flows that still stand in the table, too."""
        self._take_slow()
        self._take_flows()
        while self.engine.flush():
            self._take_flows()
        self._take_slow()  # streams that had only begun
        self._take_sightings()

    def _take_slow(self) -> None:
        frames = self.engine.take_slow()
        if not (frames and self._dissect):
            return
        facts: list[Fact] = []
        for frame in frames:
            for found in read_payload(frame):
                if isinstance(found, Binding):
                    self._bind(found)
                else:
                    facts.append(found)
        news = self._facts.news_of(facts)
        if news:
            self._emit(fact_records(news, self.interface))

    def _bind(self, binding: Binding) -> None:
        name = (binding.mac, binding.ip, int(binding.source), binding.vlans)
        seen = self._bindings.get(name)
        if seen is None:
            if len(self._bindings) >= BINDINGS_AT_ONCE:
                self._take_bindings()
            self._bindings[name] = [binding.seen_ns, binding.seen_ns, 1]
        else:
            seen[0] = min(seen[0], binding.seen_ns)
            seen[1] = max(seen[1], binding.seen_ns)
            seen[2] += 1

    def _take_bindings(self) -> None:
        rows = []
        for (mac, ip, source, vlans), (first_ns, last_ns, frames) in self._bindings.items():
            version, value = ip_value(ip)
            rows.append(
                {
                    "first_ns": first_ns,
                    "last_ns": last_ns,
                    "vlans": vlans,
                    "mac": mac,
                    "ip_version": version,
                    "ip": value,
                    "source": source,
                    "frames": frames,
                    "interface": self.interface,
                }
            )
        self._bindings.clear()
        if rows:
            self._emit(records_of(Kind.SIGHTING, rows))

    def _take_flows(self) -> None:
        self._frames_since_take = 0
        flows = self.engine.take_flows()
        if not flows.count:
            return
        columns: dict[str, ColumnData] = dict(flows.columns)
        columns["tunnels"] = _texts(flows.columns["tunnel"], self.engine.tunnels, flows.count)
        columns["application"] = _texts(flows.columns["application"], LABELS, flows.count)
        columns["interface"] = Texts.repeat(self.interface, flows.count)
        del columns["tunnel"]
        self._emit(Records(Kind.FLOW, flows.count, columns))

    def _take_sightings(self) -> None:
        self._take_bindings()
        while (sightings := self.engine.take_sightings()).count:
            columns: dict[str, ColumnData] = dict(sightings.columns)
            columns["interface"] = Texts.repeat(self.interface, sightings.count)
            self._emit(Records(Kind.SIGHTING, sightings.count, columns))


def fact_records(facts: Sequence[Fact], interface: str) -> Records:
    """Columns of kind fact."""
    subjects, keys, values, sources, evidence, confidence, seen_ns, frames, vlans, ips = zip(*facts, strict=True)
    addresses = [ip_value(ip) for ip in ips]
    columns: dict[str, ColumnData] = {
        "seen_ns": array("q", seen_ns).tobytes(),
        "subject": Texts.of(subjects),
        "key": Texts.of(keys),
        "value": Texts.of(values),
        "source": Texts.of(sources),
        "evidence": Texts.of(evidence),
        "confidence": bytes(confidence),
        "frame": array("Q", frames).tobytes(),
        "vlans": array("Q", vlans).tobytes(),
        "ip_version": bytes([version for version, _ in addresses]),
        "ip": b"".join([value for _, value in addresses]),
        "interface": Texts.repeat(interface, len(facts)),
    }
    return Records(Kind.FACT, len(facts), columns)


def _texts(places: bytes, values: Sequence[str], count: int) -> Texts:
    """A column of u16 places in `values` as Texts that hold only the texts in use."""
    if places == places[:2] * count:
        return Texts.repeat(values[int.from_bytes(places[:2], "little")], count)
    used, indices = used_places(places)
    return Texts([values[place] for place in used], array("I", indices))
