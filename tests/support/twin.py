"""The plain-Python twin of the engine: decode, flows and sightings from the protocols' definitions, slowly and simply.

It is the oracle of tests and nothing else. It has no bounds (no eviction) and writes no ACTIVE records.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from support.twin_flows import FlowRef
from support.twin_ip import ARP, MALFORMED, MAX_TAGS, MAX_TUNNELS, OK, UNSUPPORTED, Frame, Rejected, View, unicast
from support.twin_wifi import WifiTwin

VLAN_TYPES = (0x8100, 0x88A8, 0x9100)


class Twin(WifiTwin):
    """Feed it frames with `frame`; read `counters`, `flows`, `seen`."""

    # ---- a frame

    def frame(self, ts_ns: int, octets: bytes, original: int | None = None, linktype: int = 1) -> None:
        wire = max(len(octets), original or 0)
        frame = Frame(ts_ns=ts_ns, octets=wire)
        flow: FlowRef | None = None
        verdict = OK
        try:
            flow = self._link(View(octets, wire), frame, linktype)
        except Rejected as rejected:
            verdict = rejected.verdict
            self.rejected_at[rejected.layer] += 1
        if frame.cut_inside:
            verdict = frame.cut_inside.verdict
            self.rejected_at[frame.cut_inside.layer] += 1
        self._note_sender(frame)
        self.counters["frames"] += 1
        self.counters["octets"] += wire
        self.counters[verdict] += 1
        self.by_layer.update(frame.layers)
        if flow is None:
            self.counters["outside_flows"] += 1
        else:
            self.counters["in_flows"] += 1
            self.flows.count(flow, frame.quoted, ts_ns, wire, frame.macs, frame.segment, frame.waited)
            for counter, sign in (("in_flows", 1), ("outside_flows", -1), ("fragments_lost", -1)):
                self.counters[counter] += sign * len(frame.waited)
        for note in frame.notes:
            self.seen.add(note, ts_ns)

    # ---- links

    def _link(self, view: View, frame: Frame, linktype: int) -> FlowRef | None:
        if linktype == 192:
            view, linktype = self._ppi(view, frame)
        if linktype == 1:
            return self._ethernet(view, frame)
        if linktype in (105, 119, 127, 163):
            return self._radio(view, frame, linktype)
        if linktype in (113, 276):
            return self._cooked(view, frame, linktype)
        if linktype in (101, 12, 14):
            view.need(1, "link")
            return self._ipv6(view, frame) if view.octets[0] >> 4 == 6 else self._ipv4(view, frame)
        if linktype == 228:
            return self._ipv4(view, frame)
        if linktype == 229:
            return self._ipv6(view, frame)
        if linktype in (0, 108):
            view.need(4, "loopback")
            frame.layers.add("loopback")
            family = view.u32(0)
            if family > 0xFFFF:
                family = int.from_bytes(view.octets[:2], "little")
            if family == 2:
                return self._ipv4(view.behind(4), frame)
            if family in (10, 24, 28, 30):
                return self._ipv6(view.behind(4), frame)
            raise Rejected(UNSUPPORTED, "loopback")
        if linktype == 9:
            return self._ppp(view, frame)
        if linktype == 51:
            return self._pppoe(view, frame, 0x8864)
        if linktype == 104:
            view.need(4, "hdlc")
            frame.layers.add("hdlc")
            return self._type(view.behind(4), frame, view.u16(2))
        raise Rejected(UNSUPPORTED, "link")

    def _ethernet(self, view: View, frame: Frame) -> FlowRef | None:
        view.need(14, "ethernet")
        frame.layers.add("ethernet")
        if frame.macs[0] != bytes(6) or frame.depth:
            self._note_sender(frame)
        source = view.octets[6:12]
        frame.mac = source if unicast(source) else None
        frame.macs = (source, view.octets[:6])
        frame.sighted = False
        return self._type_or_llc(view.behind(14), frame, view.u16(12))

    def _type_or_llc(self, view: View, frame: Frame, ethertype: int) -> FlowRef | None:
        return self._llc(view, frame, ethertype) if ethertype < 0x0600 else self._type(view, frame, ethertype)

    def _cooked(self, view: View, frame: Frame, linktype: int) -> FlowRef | None:
        header = 16 if linktype == 113 else 20
        view.need(header, "cooked")
        frame.layers.add("cooked")
        if linktype == 113:
            hardware, octets, address, ethertype = view.u16(2), view.u16(4), view.octets[6:12], view.u16(14)
        else:
            hardware, octets, address, ethertype = view.u16(8), view.octets[11], view.octets[12:18], view.u16(0)
        if octets == 6:
            frame.mac = address if unicast(address) else None
            frame.macs = (address, bytes(6))
        if hardware == 824:
            raise Rejected(UNSUPPORTED, "cooked")
        rest = view.behind(header)
        return self._llc(rest, frame, min(rest.wire, 1500)) if ethertype == 4 else self._type(rest, frame, ethertype)

    def _type(self, view: View, frame: Frame, ethertype: int) -> FlowRef | None:
        readers: dict[int, Callable[[View, Frame], FlowRef | None]] = {
            0x0800: self._ipv4,
            0x86DD: self._ipv6,
            0x0806: self._arp,
            0x8847: self._mpls,
            0x8848: self._mpls,
            0x6558: self._ethernet,
            0x880B: self._ppp,
        }
        if ethertype in readers:
            return readers[ethertype](view, frame)
        if ethertype in VLAN_TYPES:
            return self._vlans(view, frame, ethertype)
        if ethertype in (0x8863, 0x8864):
            return self._pppoe(view, frame, ethertype)
        if ethertype == 0x88E7:
            view.need(4, "pbb")
            if frame.backbones == MAX_TUNNELS:
                raise Rejected(MALFORMED, "pbb")
            frame.backbones += 1
            frame.layers.add("pbb")
            return self._ethernet(view.behind(4), frame)
        if ethertype == 0x88CC:
            frame.layers.add("lldp")
            return None
        if ethertype == 0x888E:
            view.need(4, "eapol")
            frame.layers.add("eapol")
            return None
        raise Rejected(UNSUPPORTED, "ethernet")

    def _vlans(self, view: View, frame: Frame, ethertype: int) -> FlowRef | None:
        tags = 0
        frame.layers.add("vlan")
        while ethertype in VLAN_TYPES:
            view.need(4, "vlan")
            if tags == MAX_TAGS:
                raise Rejected(MALFORMED, "vlan")
            tags += 1
            if view.u16(0) & 0x0FFF:
                frame.vlans.append(view.u16(0) & 0x0FFF)
            ethertype = view.u16(2)
            view = view.behind(4)
        return self._type_or_llc(view, frame, ethertype)

    def _llc(self, view: View, frame: Frame, length: int) -> FlowRef | None:
        if length > 1500:
            raise Rejected(UNSUPPORTED, "llc")
        if length > view.wire:
            raise Rejected(MALFORMED, "llc")
        return self._llc_unit(view.first(length), frame)

    def _llc_unit(self, view: View, frame: Frame) -> FlowRef | None:
        view.need(3, "llc")
        frame.layers.add("llc")
        if view.octets[:2] == b"\x42\x42":
            frame.layers.add("stp")
            return None
        if view.octets[:3] != b"\xaa\xaa\x03":
            raise Rejected(UNSUPPORTED, "llc")
        view.need(8, "snap")
        frame.layers.add("snap")
        oui, pid = view.octets[3:6], view.u16(6)
        if oui == b"\0\0\x0c" and pid in (0x2000, 0x010B):
            frame.layers.add("cdp" if pid == 0x2000 else "stp")
            return None
        if oui in (b"\0\0\0", b"\0\0\xf8") and pid >= 0x0600:
            return self._type(view.behind(8), frame, pid)
        raise Rejected(UNSUPPORTED, "snap")

    def _mpls(self, view: View, frame: Frame) -> FlowRef | None:
        frame.layers.add("mpls")
        bottom, labels = False, 0
        while not bottom:
            view.need(4, "mpls")
            if labels == MAX_TAGS:
                raise Rejected(MALFORMED, "mpls")
            labels += 1
            bottom = bool(view.octets[2] & 1)
            view = view.behind(4)
        view.need(1, "mpls")
        nibble = view.octets[0] >> 4
        if nibble == 4:
            return self._ipv4(view, frame)
        if nibble == 6:
            return self._ipv6(view, frame)
        if nibble:
            raise Rejected(UNSUPPORTED, "mpls")

        def bridges(at: int) -> bool:
            return len(view.octets) >= at + 14 and view.u16(at + 12) in (0x0800, 0x86DD, 0x0806, 0x8100)

        if bridges(4) or not bridges(0):
            view.need(4, "mpls")
            view = view.behind(4)
        return self._ethernet(view, frame)

    def _pppoe(self, view: View, frame: Frame, ethertype: int) -> FlowRef | None:
        view.need(6, "pppoe")
        length = view.u16(4)
        if view.octets[0] != 0x11 or length > view.wire - 6:
            raise Rejected(MALFORMED, "pppoe")
        frame.layers.add("pppoe")
        return None if ethertype == 0x8863 else self._ppp(view.behind(6).first(length), frame)

    def _ppp(self, view: View, frame: Frame) -> FlowRef | None:
        view.need(2, "ppp")
        if view.octets[:2] == b"\xff\x03":
            view = view.behind(2)
            view.need(2, "ppp")
        frame.layers.add("ppp")
        octets = 1 if view.octets[0] & 1 else 2
        protocol = int.from_bytes(view.octets[:octets], "big")
        view = view.behind(octets)
        if protocol == 0x0021:
            return self._ipv4(view, frame)
        if protocol == 0x0057:
            return self._ipv6(view, frame)
        if protocol in (0x0281, 0x0283):
            return self._mpls(view, frame)
        if protocol >= 0x8000:
            return None
        raise Rejected(UNSUPPORTED, "ppp")

    def _arp(self, view: View, frame: Frame) -> FlowRef | None:
        view.need(8, "arp")
        hardware, protocol, hlen, plen, operation = struct.unpack_from(">HHBBH", view.octets)
        if hardware not in (1, 6) or protocol != 0x0800:
            raise Rejected(UNSUPPORTED, "arp")
        if (hlen, plen) != (6, 4):
            raise Rejected(MALFORMED, "arp")
        view.need(28, "arp")
        frame.layers.add("arp")
        if operation in (1, 2):
            self._bind(frame, view.octets[8:14], view.octets[14:18], ARP)
        return None
