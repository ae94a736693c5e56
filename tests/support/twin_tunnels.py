"""The twin in tunnels: GRE, ERSPAN, VXLAN, Geneve, GTP-U, IP in IP."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from support.twin_flows import FlowRef
from support.twin_ip import MALFORMED, MAX_TUNNELS, TRUNCATED, Frame, Header, IpTwin, Rejected, View


class TunnelTwin(IpTwin):
    """The flow of a frame is that of its innermost header; what is no tunnel after all stays with its outer one."""

    def _udp_tunnel(self, view: View, frame: Frame, ip: Header, outer: FlowRef, port: int) -> FlowRef | None:
        layer = {4789: "vxlan", 6081: "geneve", 2152: "gtpu"}.get(port)
        if layer is None or view.wire < 8:
            return outer
        try:
            view.need(8, layer)
        except Rejected as rejected:
            frame.cut_inside = rejected
            return outer
        if port == 4789 and view.octets[0] & 8:
            frame.layers.add("vxlan")
            return self._enter(
                "vxlan", view.u32(4) >> 8, frame, ip, outer, lambda: self._ethernet(view.behind(8), frame)
            )
        if port == 6081:
            octets, inner = 8 + (view.octets[0] & 63) * 4, view.u16(2)
            known = inner in (0x6558, 0x0800, 0x86DD, 0x0806)
            if view.octets[0] < 64 and view.wire >= octets and known:
                if len(view.octets) < octets:
                    frame.cut_inside = Rejected(TRUNCATED, "geneve")
                    return outer
                frame.layers.add("geneve")
                return self._enter(
                    "geneve", view.u32(4) >> 8, frame, ip, outer, lambda: self._type(view.behind(octets), frame, inner)
                )
        return self._gtpu(view, frame, ip, outer) if port == 2152 else outer

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
        if view.octets[0] >> 4 != 3 or view.u16(2) > view.wire - 8:
            return outer
        view = view.first(8 + view.u16(2))
        try:
            header = self._gtpu_header(view)
            if header is None:
                return outer
            frame.layers.add("gtpu")
            if view.octets[1] != 255 or view.wire == header:
                return outer
            view.need(header + 1, "gtpu")
        except Rejected as rejected:
            # A length that the datagram does not have makes no sense: payload.
            frame.cut_inside = rejected if rejected.verdict == TRUNCATED else None
            return outer
        version = view.octets[header] >> 4
        if version not in (4, 6):
            return outer
        inner = view.behind(header)
        reader = self._ipv4 if version == 4 else self._ipv6
        return self._enter("gtpu", 0, frame, ip, outer, lambda: reader(inner, frame))

    @staticmethod
    def _gtpu_header(view: View) -> int | None:
        """Its length with all extension headers; None where one of them makes no sense."""
        if not view.octets[0] & 7:
            return 8
        header, extensions = 12, 0
        view.need(header, "gtpu")
        following = view.octets[11] if view.octets[0] & 4 else 0
        while following:
            view.need(header + 1, "gtpu")
            extensions += 1
            if extensions > 16 or not view.octets[header]:
                return None
            header += view.octets[header] * 4
            view.need(header, "gtpu")
            following = view.octets[header - 1]
        return header

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
        except Rejected as rejected:
            if not frame.guessed:
                raise  # else a port is no proof: what stood behind it was payload after all,
            if rejected.cut:
                frame.cut_inside = rejected  # or its end is missing, and nobody can tell
            frame.layers, frame.vlans, frame.macs = kept[0], kept[1], kept[2]
            del frame.notes[kept[3] :]
            frame.tunnel, frame.sighted, frame.quoted = kept[4], True, None
            return outer
        if flow is None:
            self._note_sender(frame)
            frame.vlans, frame.macs, frame.tunnel, frame.sighted = kept[1], kept[2], kept[4], True
            return outer
        return flow
