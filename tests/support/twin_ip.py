"""The twin from IP upwards: what it takes from a packet, and the types that all of its parts share."""

from __future__ import annotations

import ipaddress
import struct
from collections import Counter
from dataclasses import dataclass, field

from support.twin_flows import FlowRef, FlowTwin, Note, Seen, Segment

OK, TRUNCATED, MALFORMED, UNSUPPORTED = "decoded", "truncated", "malformed", "unsupported"
ETH, IP, ARP, NDP, FORWARD = 1, 2, 3, 4, 6
EXTENSIONS = (0, 43, 44, 60, 135, 139, 140)
MAX_TAGS = 16
MAX_TUNNELS = 4
FRAGMENT_NS = 60_000_000_000
FRAGMENTS_MOST = 8192
LOCAL = [
    ipaddress.ip_network(text)
    for text in (
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"]
    )
]


class Rejected(Exception):  # noqa: N818 - a verdict, not an error
    def __init__(self, verdict: str, layer: str, *, cut: bool = False) -> None:
        super().__init__(verdict, layer)
        self.verdict = verdict
        self.layer = layer
        self.cut = cut  # by where it ends, not by what it says


@dataclass(frozen=True)
class View:
    """Octets that were captured, and how many were on the wire."""

    octets: bytes
    wire: int

    def need(self, count: int, layer: str) -> None:
        if len(self.octets) < count:
            raise Rejected(MALFORMED if self.wire < count else TRUNCATED, layer, cut=True)

    def behind(self, count: int) -> View:
        return View(self.octets[count:], self.wire - count)

    def first(self, count: int) -> View:
        return View(self.octets[:count], count)

    def cut_off(self) -> View:
        """Whoever sent this on has cut its end off."""
        return View(self.octets, max(self.wire, 1 << 17))

    def u16(self, at: int) -> int:
        return int(struct.unpack_from(">H", self.octets, at)[0])

    def u32(self, at: int) -> int:
        return int(struct.unpack_from(">I", self.octets, at)[0])


@dataclass
class Frame:
    layers: set[str] = field(default_factory=set)
    vlans: list[int] = field(default_factory=list)
    mac: bytes | None = None  # of the sender of the header that is read now
    macs: tuple[bytes, bytes] = (bytes(6), bytes(6))
    source: bytes = b""  # IP source of the header that is read now
    hop_limit: int = 0  # of that header
    sighted: bool = False
    notes: list[Note] = field(default_factory=list)
    tunnel: tuple[object, ...] = ()
    depth: int = 0
    backbones: int = 0  # of providers, one in the other
    guessed: bool = False  # a tunnel that only its port tells was entered
    cut_inside: Rejected | None = None  # behind the header that says which flow it is of
    quoted: FlowRef | None = None
    segment: Segment | None = None
    ts_ns: int = 0
    octets: int = 0  # on the wire
    waited: list[tuple[int, int]] = field(default_factory=list)  # frames that this one, their first fragment, brings


@dataclass(frozen=True)
class Header:
    """An IP header, as far as the transport wants to know it."""

    version: int
    protocol: int
    src: bytes
    dst: bytes
    hop_limit: int
    fragment: str = ""  # "", "first", "later"
    ident: int = 0


def bindable(ip: bytes) -> bool:
    if len(ip) == 4:
        return 0 < ip[0] < 224 and ip[0] != 127
    return ip[0] != 0xFF and any(ip[:15])


def unicast(mac: bytes) -> bool:
    return any(mac) and not mac[0] & 1


class IpTwin:
    """IP and what it carries; tunnels, the air and the links are the other parts'."""

    def __init__(
        self,
        *,
        idle_ns: int = 120_000_000_000,
        linger_ns: int = 5_000_000_000,
        local_prefixes: list[str] | None = None,
    ) -> None:
        self.flows = FlowTwin(idle_ns, linger_ns)
        self.seen = Seen()
        self.counters: Counter[str] = Counter()
        self.by_layer: Counter[str] = Counter()
        self.rejected_at: Counter[str] = Counter()
        self.tunnels: dict[tuple[object, ...], str] = {(): ""}
        self._local = LOCAL + [ipaddress.ip_network(text) for text in local_prefixes or []]
        self._fragments: dict[tuple[object, ...], tuple[FlowRef, int]] = {}
        self._waiting: dict[tuple[object, ...], list[tuple[int, int]]] = {}  # (time, octets) of frames

    def _ethernet(self, view: View, frame: Frame) -> FlowRef | None:
        raise NotImplementedError

    def _type(self, view: View, frame: Frame, ethertype: int) -> FlowRef | None:
        raise NotImplementedError

    def _gre(self, view: View, frame: Frame, ip: Header) -> FlowRef | None:
        raise NotImplementedError

    def _ip_in_ip(self, view: View, frame: Frame, ip: Header) -> FlowRef | None:
        raise NotImplementedError

    def _udp_tunnel(self, view: View, frame: Frame, ip: Header, outer: FlowRef, port: int) -> FlowRef | None:
        raise NotImplementedError

    def _note_sender(self, frame: Frame) -> None:
        if frame.sighted:
            return
        frame.sighted = True
        if frame.mac:
            frame.notes.append((tuple(frame.vlans[:4]), frame.mac, b"", ETH))
        if frame.source and bindable(frame.source):
            address = ipaddress.ip_address(frame.source)
            local = any(address in prefix for prefix in self._local if prefix.version == address.version)
            shown = frame.source if local else bytes(len(frame.source))
            lowered = frame.hop_limit > 32 and frame.hop_limit not in (64, 128, 255)
            if frame.mac and (lowered or (address.version == 4 and not local)):
                frame.notes.append((tuple(frame.vlans[:4]), frame.mac, shown, FORWARD))
            elif local:
                frame.notes.append((tuple(frame.vlans[:4]), frame.mac or bytes(6), shown, IP))

    def _bind(self, frame: Frame, mac: bytes, ip: bytes, source: int) -> None:
        if unicast(mac) and bindable(ip):
            frame.notes.append((tuple(frame.vlans[:4]), mac, ip, source))

    # ---- IP

    def _ipv4(self, view: View, frame: Frame) -> FlowRef | None:
        view.need(20, "ipv4")
        header, total = (view.octets[0] & 15) * 4, view.u16(2) or view.wire
        if view.octets[0] >> 4 != 4 or not 20 <= header <= total:
            raise Rejected(MALFORMED, "ipv4")
        if total > view.wire:
            raise Rejected(MALFORMED, "ipv4", cut=True)
        view = view.first(total)
        view.need(header, "ipv4")
        frame.layers.add("ipv4")
        place = view.u16(6)
        fragment = "later" if place & 0x1FFF else "first" if place & 0x2000 else ""
        if fragment:
            frame.layers.add("fragment")
        frame.source, frame.hop_limit = view.octets[12:16], view.octets[8]
        ident = view.u16(4) << 8 | view.octets[9]
        ip = Header(4, view.octets[9], frame.source, view.octets[16:20], view.octets[8], fragment, ident)
        return self._extensions(view.behind(header), frame, ip)

    def _ipv6(self, view: View, frame: Frame) -> FlowRef | None:
        view.need(40, "ipv6")
        length = view.u16(4)
        if view.octets[0] >> 4 != 6:
            raise Rejected(MALFORMED, "ipv6")
        if length > view.wire - 40:
            raise Rejected(MALFORMED, "ipv6", cut=True)
        frame.layers.add("ipv6")
        frame.source, frame.hop_limit = view.octets[8:24], view.octets[7]
        ip = Header(6, view.octets[6], frame.source, view.octets[24:40], view.octets[7])
        view = view.behind(40)
        return self._extensions(view.first(length) if length or ip.protocol == 59 else view, frame, ip)

    def _extensions(self, view: View, frame: Frame, ip: Header) -> FlowRef | None:
        headers = 0
        while ip.fragment != "later" and (ip.protocol == 51 or (ip.version == 6 and ip.protocol in EXTENSIONS)):
            layer = "ah" if ip.protocol == 51 else "ipv6_extension"
            view.need(8, layer)
            if headers == MAX_TAGS:
                raise Rejected(MALFORMED, layer)
            headers += 1
            octets = (view.octets[1] + 2) * 4 if layer == "ah" else (view.octets[1] + 1) * 8
            fragment, ident = ip.fragment, ip.ident
            if ip.protocol == 44:
                octets = 8
                place = view.u16(2)
                if place & 0xFFF9:
                    frame.layers.add("fragment")
                    fragment, ident = "later" if place & 0xFFF8 else "first", view.u32(4)
            view.need(octets, layer)
            frame.layers.add(layer)
            ip = Header(ip.version, view.octets[0], ip.src, ip.dst, ip.hop_limit, fragment, ident)
            view = view.behind(octets)
        return self._fragment(view, frame, ip) if ip.fragment else self._transport(view, frame, ip)

    def _fragment(self, view: View, frame: Frame, ip: Header) -> FlowRef | None:
        datagram = (ip.src, ip.dst, ip.ident, ip.version, frame.tunnel, tuple(frame.vlans[:4]))
        if ip.fragment == "first":
            flow = self._transport(view, frame, ip)
            if flow is not None:
                self._fragments[datagram] = flow, frame.ts_ns
                waited = self._waiting.pop(datagram, [])
                if waited and abs(frame.ts_ns - waited[0][0]) <= FRAGMENT_NS:
                    frame.waited = waited
            return flow
        known = self._fragments.get(datagram)
        if known is not None and abs(frame.ts_ns - known[1]) <= FRAGMENT_NS:
            return FlowRef(known[0].key, known[0].side, known[0].shown)
        self.counters["fragments_lost"] += 1
        if frame.depth == 0:
            self._fragments.pop(datagram, None)
            waiting = self._waiting.setdefault(datagram, [])
            if waiting and abs(frame.ts_ns - waiting[0][0]) > FRAGMENT_NS:
                waiting.clear()
            if len(waiting) < FRAGMENTS_MOST:
                waiting.append((frame.ts_ns, frame.octets))
        return None

    # ---- behind IP

    def _transport(self, view: View, frame: Frame, ip: Header) -> FlowRef | None:
        if ip.protocol == 6:
            return self._tcp(view, frame, ip)
        if ip.protocol == 17:
            return self._udp(view, frame, ip)
        if ip.protocol == (1 if ip.version == 4 else 58):
            return self._icmp(view, frame, ip)
        if ip.protocol == 47:
            return self._gre(view, frame, ip)
        if ip.protocol in (4, 41):
            return self._ip_in_ip(view, frame, ip)
        if ip.protocol == 132:
            view.need(12, "sctp")
            frame.layers.add("sctp")
            return self._flow(frame, ip, view.u16(0), view.u16(2))
        if ip.protocol == 136:
            view.need(8, "udplite")
            if 0 < view.u16(4) < 8 or (view.u16(4) > view.wire and not ip.fragment):
                raise Rejected(MALFORMED, "udplite")
            frame.layers.add("udplite")
            return self._flow(frame, ip, view.u16(0), view.u16(2))
        if ip.protocol == 33:
            view.need(12, "dccp")
            octets = view.octets[4] * 4
            if octets < 12 + 4 * (view.octets[8] & 1) or (octets > view.wire and not ip.fragment):
                raise Rejected(MALFORMED, "dccp")
            frame.layers.add("dccp")
            return self._flow(frame, ip, view.u16(0), view.u16(2))
        frame.layers.add("igmp" if (ip.version, ip.protocol) == (4, 2) else "other_ip")
        return self._flow(frame, ip, 0, 0)

    def _flow(self, frame: Frame, ip: Header, src_port: int, dst_port: int, flags: int = 0) -> FlowRef:
        here, there = (ip.src, src_port), (ip.dst, dst_port)
        # Which endpoint is the lower one is no business of anybody's, as long as both directions agree.
        side = int(here > there)
        ends = (there, here) if side else (here, there)
        key = (ip.version, ip.protocol, ends, tuple(frame.vlans[:4]), frame.tunnel)
        return FlowRef(key, side, (here, there), flags)

    def _icmp_flow(self, frame: Frame, ip: Header, kind: int, code: int, ident: int) -> FlowRef:
        request, reply = (8, 0) if ip.version == 4 else (128, 129)
        is_echo = kind in (request, reply)
        side = int(ip.src > ip.dst or (is_echo and ip.src == ip.dst and kind == reply))
        ends = (ip.dst, ip.src) if side else (ip.src, ip.dst)
        what: tuple[object, ...] = ("echo", ident) if is_echo else (kind, code)
        key = (ip.version, ip.protocol, ends, what, tuple(frame.vlans[:4]), frame.tunnel)
        return FlowRef(key, side, ((ip.src, kind), (ip.dst, code)))

    def _tcp(self, view: View, frame: Frame, ip: Header) -> FlowRef:
        if ip.fragment and len(view.octets) < 20 and len(view.octets) >= 4:
            frame.layers.add("tcp")
            return self._flow(frame, ip, view.u16(0), view.u16(2))
        view.need(20, "tcp")
        header = (view.octets[12] >> 4) * 4
        if header < 20 or (header > view.wire and not ip.fragment):
            raise Rejected(MALFORMED, "tcp")
        frame.layers.add("tcp")
        frame.segment = Segment(view.octets[13], view.u32(4), max(0, view.wire - header))
        return self._flow(frame, ip, view.u16(0), view.u16(2), view.octets[13])

    def _udp(self, view: View, frame: Frame, ip: Header) -> FlowRef | None:
        view.need(8, "udp")
        src_port, dst_port, length = view.u16(0), view.u16(2), view.u16(4)
        if length and (length < 8 or (length > view.wire and not ip.fragment)):
            raise Rejected(MALFORMED, "udp")
        if length and length < view.wire:
            view = view.first(length)
        frame.layers.add("udp")
        outer = self._flow(frame, ip, src_port, dst_port)
        payload = view.behind(8)
        if 137 in (src_port, dst_port) and self._slow_port(src_port, dst_port) == 137:
            counts = struct.unpack_from(">HHHH", payload.octets.ljust(12, b"\0"), 4)
            if len(payload.octets) >= 12 and counts[0] + counts[1] + counts[3]:
                frame.layers.add("nbns")
        elif self._slow_port(src_port, dst_port) == 138:
            if len(payload.octets) >= 10 and 0x10 <= payload.octets[0] <= 0x16:
                frame.layers.add("nbds")
        elif not self._slow_port(src_port, dst_port) and not ip.fragment and frame.depth < MAX_TUNNELS:
            return self._udp_tunnel(payload, frame, ip, outer, dst_port)
        return outer

    @staticmethod
    def _slow_port(src_port: int, dst_port: int) -> int:
        known = (67, 68, 137, 138, 546, 547, 1900, 5353, 5355)
        return next((port for port in (dst_port, src_port) if port in known), 0)

    def _icmp(self, view: View, frame: Frame, ip: Header) -> FlowRef:
        layer, least = ("icmp", 8) if ip.version == 4 else ("icmpv6", 4)
        view.need(least, layer)
        kind, code = view.octets[0], view.octets[1]
        ident = 0
        if kind in ((8, 0) if ip.version == 4 else (128, 129)):
            view.need(8, layer)
            ident = view.u16(4)
        frame.layers.add(layer)
        try:
            if kind in ((3, 4, 5, 11, 12) if ip.version == 4 else (1, 2, 3, 4)):
                frame.quoted = self._quote(view, frame, ip.version)
            elif ip.version == 6 and 133 <= kind <= 137:
                self._ndp(view, frame, ip, kind, code)
        except Rejected as rejected:
            frame.cut_inside = None if ip.fragment else rejected
        if ip.version == 6 and ip.hop_limit == 1 and kind in (130, 131, 132, 143):
            frame.layers.add("mld")
        return self._icmp_flow(frame, ip, kind, code, ident)

    def _quote(self, view: View, frame: Frame, version: int) -> FlowRef | None:
        layer, header = ("icmp", 20) if version == 4 else ("icmpv6", 40)
        view.need(8 + header, layer)
        view = view.behind(8)
        octets = view.octets
        if octets[0] >> 4 != version:
            return None
        if version == 4:
            header = (octets[0] & 15) * 4
            if header < 20 or view.u16(6) & 0x1FFF:
                return None
            ip = Header(4, octets[9], octets[12:16], octets[16:20], 0)
        else:
            ip = Header(6, octets[6], octets[8:24], octets[24:40], 0)
        if ip.protocol in (1, 58):
            view.need(header + 8, layer)
            return self._icmp_flow(frame, ip, octets[header], octets[header + 1], view.u16(header + 4))
        if ip.protocol in (6, 17, 33, 132, 136):
            view.need(header + 4, layer)
            return self._flow(frame, ip, view.u16(header), view.u16(header + 2))
        return self._flow(frame, ip, 0, 0)

    def _ndp(self, view: View, frame: Frame, ip: Header, kind: int, code: int) -> None:
        if ip.hop_limit != 255 or code:
            return
        frame.layers.add("ndp")
        at = {133: 8, 134: 16, 135: 24, 136: 24, 137: 40}[kind]
        view.need(at, "ndp")
        wanted, address = (2, view.octets[8:24]) if kind in (136, 137) else (1, ip.src)
        mac = b""
        try:
            for _ in range(32):
                if view.wire == at:
                    break
                view.need(at + 8, "ndp")
                option = view.octets[at : at + 8]
                if not option[1]:
                    mac = b""
                    raise Rejected(MALFORMED, "ndp")
                if option[:2] == bytes([wanted, 1]):
                    mac, wanted = option[2:], 0
                at += option[1] * 8
                view.need(at, "ndp")
        finally:
            if mac:
                self._bind(frame, mac, address, NDP)
