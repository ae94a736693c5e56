"""The twin's half from IP upwards: what it takes from a packet, and the types that both halves share."""

from __future__ import annotations

import ipaddress
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from support.twin_flows import FlowRef, FlowTwin, Note, Seen

OK, TRUNCATED, MALFORMED, UNSUPPORTED = "decoded", "truncated", "malformed", "unsupported"
ETH, IP, ARP, NDP, FORWARD = 1, 2, 3, 4, 6
EXTENSIONS = (0, 43, 44, 60, 135, 139, 140)
MAX_TAGS = 16
MAX_TUNNELS = 4
LOCAL = [
    ipaddress.ip_network(text)
    for text in (
        ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"]
    )
]


class Rejected(Exception):  # noqa: N818 - a verdict, not an error
    def __init__(self, verdict: str, layer: str) -> None:
        super().__init__(verdict, layer)
        self.verdict = verdict
        self.layer = layer


@dataclass(frozen=True)
class View:
    """Octets that were captured, and how many were on the wire."""

    octets: bytes
    wire: int

    def need(self, count: int, layer: str) -> None:
        if len(self.octets) < count:
            raise Rejected(MALFORMED if self.wire < count else TRUNCATED, layer)

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
    sighted: bool = False
    notes: list[Note] = field(default_factory=list)
    tunnel: tuple[object, ...] = ()
    depth: int = 0
    guessed: bool = False  # a tunnel that only its port tells was entered
    quoted: FlowRef | None = None
    ts_ns: int = 0


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
    """IP, what it carries, and tunnels; the link layers are the other half's."""

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

    def _ethernet(self, view: View, frame: Frame) -> FlowRef | None:
        raise NotImplementedError

    def _type(self, view: View, frame: Frame, ethertype: int) -> FlowRef | None:
        raise NotImplementedError

    def _note_sender(self, frame: Frame) -> None:
        if frame.sighted:
            return
        frame.sighted = True
        if frame.mac:
            frame.notes.append((tuple(frame.vlans[:4]), frame.mac, b"", ETH))
        if frame.source and bindable(frame.source):
            address = ipaddress.ip_address(frame.source)
            if any(address in prefix for prefix in self._local if prefix.version == address.version):
                frame.notes.append((tuple(frame.vlans[:4]), frame.mac or bytes(6), frame.source, IP))
            elif frame.mac:
                frame.notes.append((tuple(frame.vlans[:4]), frame.mac, b"", FORWARD))

    def _bind(self, frame: Frame, mac: bytes, ip: bytes, source: int) -> None:
        if unicast(mac) and bindable(ip):
            frame.notes.append((tuple(frame.vlans[:4]), mac, ip, source))

    # ---- IP

    def _ipv4(self, view: View, frame: Frame) -> FlowRef | None:
        view.need(20, "ipv4")
        header, total = (view.octets[0] & 15) * 4, view.u16(2) or view.wire
        if view.octets[0] >> 4 != 4 or header < 20 or not header <= total <= view.wire:
            raise Rejected(MALFORMED, "ipv4")
        view = view.first(total)
        view.need(header, "ipv4")
        frame.layers.add("ipv4")
        place = view.u16(6)
        fragment = "later" if place & 0x1FFF else "first" if place & 0x2000 else ""
        if fragment:
            frame.layers.add("fragment")
        frame.source = view.octets[12:16]
        ident = view.u16(4) << 8 | view.octets[9]
        ip = Header(4, view.octets[9], frame.source, view.octets[16:20], view.octets[8], fragment, ident)
        return self._extensions(view.behind(header), frame, ip)

    def _ipv6(self, view: View, frame: Frame) -> FlowRef | None:
        view.need(40, "ipv6")
        length = view.u16(4)
        if view.octets[0] >> 4 != 6 or length > view.wire - 40:
            raise Rejected(MALFORMED, "ipv6")
        frame.layers.add("ipv6")
        frame.source = view.octets[8:24]
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
            return flow
        known = self._fragments.get(datagram)
        if known is None or abs(frame.ts_ns - known[1]) > 60_000_000_000:
            self.counters["fragments_lost"] += 1
            return None
        flow = known[0]
        return FlowRef(flow.key, flow.side, flow.shown)

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
            if dst_port == 4789 and len(payload.octets) >= 8 and payload.octets[0] & 8:
                frame.layers.add("vxlan")
                return self._enter(
                    "vxlan", payload.u32(4) >> 8, frame, ip, outer, lambda: self._ethernet(payload.behind(8), frame)
                )
            if dst_port == 6081 and len(payload.octets) >= 8:
                octets, inner = 8 + (payload.octets[0] & 63) * 4, payload.u16(2)
                if (
                    payload.octets[0] < 64
                    and len(payload.octets) >= octets
                    and inner in (0x6558, 0x0800, 0x86DD, 0x0806)
                ):
                    frame.layers.add("geneve")
                    return self._enter(
                        "geneve",
                        payload.u32(4) >> 8,
                        frame,
                        ip,
                        outer,
                        lambda: self._type(payload.behind(octets), frame, inner),
                    )
            if dst_port == 2152:
                return self._gtpu(payload, frame, ip, outer)
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
        if kind in ((3, 4, 5, 11, 12) if ip.version == 4 else (1, 2, 3, 4)):
            frame.quoted = self._quote(view.octets[8:], frame, ip.version)
        elif ip.version == 6 and 133 <= kind <= 137:
            self._ndp(view.octets, frame, ip, kind, code)
        elif ip.version == 6 and ip.hop_limit == 1 and kind in (130, 131, 132, 143):
            frame.layers.add("mld")
        return self._icmp_flow(frame, ip, kind, code, ident)

    def _quote(self, octets: bytes, frame: Frame, version: int) -> FlowRef | None:
        header = 40
        if len(octets) < (20 if version == 4 else 40) or octets[0] >> 4 != version:
            return None
        if version == 4:
            header = (octets[0] & 15) * 4
            if header < 20 or struct.unpack_from(">H", octets, 6)[0] & 0x1FFF:
                return None
            ip = Header(4, octets[9], octets[12:16], octets[16:20], 0)
        else:
            ip = Header(6, octets[6], octets[8:24], octets[24:40], 0)
        rest = octets[header:]
        if ip.protocol in (1, 58):
            if len(rest) < 8:
                return None
            return self._icmp_flow(frame, ip, rest[0], rest[1], struct.unpack_from(">H", rest, 4)[0])
        if ip.protocol in (6, 17, 33, 132, 136):
            return self._flow(frame, ip, *struct.unpack_from(">HH", rest)) if len(rest) >= 4 else None
        return self._flow(frame, ip, 0, 0)

    def _ndp(self, octets: bytes, frame: Frame, ip: Header, kind: int, code: int) -> None:
        if ip.hop_limit != 255 or code:
            return
        frame.layers.add("ndp")
        at = {133: 8, 134: 16, 135: 24, 136: 24, 137: 40}[kind]
        if len(octets) < at:
            return
        wanted, address = (2, octets[8:24]) if kind in (136, 137) else (1, ip.src)
        for _ in range(32):
            option = octets[at : at + 8]
            if len(option) < 8 or not option[1]:
                return
            if option[:2] == bytes([wanted, 1]):
                self._bind(frame, option[2:], address, NDP)
                return
            at += option[1] * 8

    # ---- tunnels

    def _gre(self, view: View, frame: Frame, ip: Header) -> FlowRef | None:
        view.need(4, "gre")
        flags, following = view.u16(0), view.u16(2)
        version = flags & 7
        if version > 1:
            raise Rejected(MALFORMED, "gre")
        octets, ident = 4, 0
        if flags & 0xC000:
            octets += 4
        if flags & 0x2000:
            view.need(octets + 4, "gre")
            ident = 0 if version else view.u32(octets)
            octets += 4
        octets += 4 * bool(flags & 0x1000) + 4 * bool(version and flags & 0x0080)
        view.need(octets, "gre")
        frame.layers.add("gre")
        outer = self._flow(frame, ip, 0, 0)
        enterable = following in (0x0800, 0x86DD, 0x6558, 0x880B, 0x8847, 0x8100, 0x0806)
        whole = not flags & 0x4000 and not ip.fragment and view.wire != octets
        if whole and following in (0x88BE, 0x22EB):
            return self._erspan(view.behind(octets), frame, ip, outer, following, bool(flags & 0x1000))
        if not whole or not enterable or frame.depth >= MAX_TUNNELS:
            return outer
        return self._enter(
            "gre", ident, frame, ip, outer, lambda: self._type(view.behind(octets), frame, following), sure=True
        )

    def _erspan(
        self, view: View, frame: Frame, ip: Header, outer: FlowRef, following: int, sequenced: bool
    ) -> FlowRef | None:
        third = following == 0x22EB
        octets, kind, session = 12 if third else 8 if sequenced else 0, 0, 0
        view.need(octets, "erspan")
        if octets:
            if view.octets[0] >> 4 != (2 if third else 1):
                return outer
            session = view.u16(2)
        if third:
            kind = view.u16(10) >> 10 & 31
            octets += 8 * (view.u16(10) & 1)
            view.need(octets, "erspan")
        frame.layers.add("erspan")
        if view.wire == octets or kind not in (0, 2) or frame.depth >= MAX_TUNNELS:
            return outer
        inner = view.behind(octets)
        if session & 0x0400:
            inner = inner.cut_off()

        def read() -> FlowRef | None:
            if kind == 0:
                return self._ethernet(inner, frame)
            inner.need(1, "link")
            return self._ipv6(inner, frame) if inner.octets[0] >> 4 == 6 else self._ipv4(inner, frame)

        return self._enter("erspan", session & 0x03FF, frame, ip, outer, read, sure=True)

    def _gtpu(self, view: View, frame: Frame, ip: Header, outer: FlowRef) -> FlowRef | None:
        if len(view.octets) < 8 or view.octets[0] >> 4 != 3 or view.u16(2) > view.wire - 8:
            return outer
        octets = view.first(8 + view.u16(2)).octets
        header, following, extensions = 8, 0, 0
        if octets[0] & 7:
            header = 12
            following = octets[11] if octets[0] & 4 and len(octets) >= 12 else 0
        while following and extensions < 16 and header < len(octets) and octets[header]:
            header += octets[header] * 4
            extensions += 1
            following = octets[header - 1] if header <= len(octets) else 0
        if following or header > len(octets):
            return outer
        frame.layers.add("gtpu")
        version = octets[header] >> 4 if header < len(octets) else 0
        if octets[1] != 255 or version not in (4, 6):
            return outer
        inner = view.first(8 + view.u16(2)).behind(header)
        reader = self._ipv4 if version == 4 else self._ipv6
        return self._enter("gtpu", 0, frame, ip, outer, lambda: reader(inner, frame))

    def _ip_in_ip(self, view: View, frame: Frame, ip: Header) -> FlowRef | None:
        outer = self._flow(frame, ip, 0, 0)
        if ip.fragment or frame.depth >= MAX_TUNNELS:
            frame.layers.add("other_ip")
            return outer
        inner_four = ip.protocol == 4
        kind = {(4, True): "ipip", (4, False): "6in4", (6, True): "4in6", (6, False): "6in6"}[ip.version, inner_four]
        reader = self._ipv4 if inner_four else self._ipv6
        return self._enter(kind, 0, frame, ip, outer, lambda: reader(view, frame), sure=True)

    def _enter(
        self,
        kind: str,
        ident: int,
        frame: Frame,
        ip: Header,
        outer: FlowRef,
        read: Callable[[], FlowRef | None],
        *,
        sure: bool = False,
    ) -> FlowRef | None:
        self._note_sender(frame)
        kept = set(frame.layers), list(frame.vlans), frame.macs, len(frame.notes), frame.tunnel
        chain = (*frame.tunnel, (kind, frozenset((ip.src, ip.dst)), ident))
        if chain not in self.tunnels:
            text = f"{kind} {ipaddress.ip_address(ip.src)} {ipaddress.ip_address(ip.dst)} {ident}"
            before = self.tunnels[frame.tunnel]
            self.tunnels[chain] = f"{before}; {text}" if before else text
        frame.tunnel, frame.mac, frame.source, frame.sighted = chain, None, b"", False
        frame.depth += 1
        frame.guessed = frame.guessed or not sure
        try:
            flow = read()
        except Rejected:
            if not frame.guessed:
                raise  # else a port is no proof: what stood behind it was payload after all
            frame.layers, frame.vlans, frame.macs = kept[0], kept[1], kept[2]
            del frame.notes[kept[3] :]
            frame.tunnel, frame.sighted, frame.quoted = kept[4], True, None
            return outer
        if flow is None:
            self._note_sender(frame)
            frame.vlans, frame.macs, frame.tunnel, frame.sighted = kept[1], kept[2], kept[4], True
            return outer
        return flow
