"""The twin in the air: IEEE 802.11 and what a capture puts before it."""

from __future__ import annotations

from support.twin_flows import FlowRef
from support.twin_ip import MALFORMED, UNSUPPORTED, Frame, Rejected, View, unicast
from support.twin_tunnels import TunnelTwin


class WifiTwin(TunnelTwin):
    """Frames from the air; what stands behind LLC is the other parts'."""

    def _llc_unit(self, view: View, frame: Frame) -> FlowRef | None:
        raise NotImplementedError

    def _radio(self, view: View, frame: Frame, linktype: int) -> FlowRef | None:
        flags = 0
        if linktype == 127:
            view, flags = self._radiotap(view, frame)
        elif linktype != 105:
            view = self._prism(view, frame, linktype)
        if flags & 0x40 or (flags & 0x10 and view.wire < 4):
            raise Rejected(MALFORMED, "wifi")
        if flags & 0x10:
            view = view.first(view.wire - 4)
        return self._wifi(view, frame, padded=bool(flags & 0x20))

    def _radiotap(self, view: View, frame: Frame) -> tuple[View, int]:
        view.need(8, "radiotap")
        if view.octets[0]:
            raise Rejected(UNSUPPORTED, "radiotap")
        length = int.from_bytes(view.octets[2:4], "little")
        view.need(length, "radiotap")
        header = view.octets[:length]
        words = [int.from_bytes(view.octets[4:8], "little")]
        while words[-1] & 0x8000_0000:
            at = 4 + 4 * len(words)
            if len(header) < at + 4 or len(words) == 16:
                raise Rejected(MALFORMED, "radiotap")
            words.append(int.from_bytes(header[at : at + 4], "little"))
        if length < 8:
            raise Rejected(MALFORMED, "radiotap")
        flags = 0
        if words[0] & 2:
            at = 4 + 4 * len(words)
            if words[0] & 1:
                at += -at % 8 + 8
            if len(header) <= at:
                raise Rejected(MALFORMED, "radiotap")
            flags = header[at]
        frame.layers.add("radiotap")
        return view.behind(length), flags

    @staticmethod
    def _prism(view: View, frame: Frame, linktype: int) -> View:
        layer = "avs" if linktype == 163 else "prism"
        view.need(8, layer)
        code, length = view.octets[:4], view.octets[4:8]
        if code[:3] == b"\x80\x21\x10":
            layer, octets, least = "avs", int.from_bytes(length, "big"), 64
        elif layer == "prism" and code in (b"\x41\0\0\0", b"\x44\0\0\0"):
            octets, least = int.from_bytes(length, "little"), 24
        elif layer == "prism" and code in (b"\0\0\0\x41", b"\0\0\0\x44"):
            octets, least = int.from_bytes(length, "big"), 24
        else:
            raise Rejected(UNSUPPORTED, layer)
        if octets < least:
            raise Rejected(MALFORMED, layer)
        view.need(octets, layer)
        frame.layers.add(layer)
        return view.behind(octets)

    @staticmethod
    def _ppi(view: View, frame: Frame) -> tuple[View, int]:
        """What follows, and its linktype."""
        view.need(8, "ppi")
        if view.octets[0]:
            raise Rejected(UNSUPPORTED, "ppi")
        length = int.from_bytes(view.octets[2:4], "little")
        if length < 8:
            raise Rejected(MALFORMED, "ppi")
        view.need(length, "ppi")
        frame.layers.add("ppi")
        linktype = int.from_bytes(view.octets[4:8], "little")
        return view.behind(length), 65_535 if linktype == 192 else linktype

    def _wifi(self, view: View, frame: Frame, *, padded: bool) -> FlowRef | None:
        view.need(10, "wifi")
        control, flags = view.octets[0], view.octets[1]
        kind = control >> 2 & 3
        if control & 3 or kind == 3:
            raise Rejected(UNSUPPORTED, "wifi")
        if kind == 2:
            return self._wifi_data(view, frame, control, flags, padded)
        if kind == 0:
            view.need(24, "wifi")
        frame.layers.add("wifi")
        return None

    def _wifi_data(self, view: View, frame: Frame, control: int, flags: int, padded: bool) -> FlowRef | None:
        to_ds, from_ds = flags & 1, flags >> 1 & 1
        header = 24 + 6 * (to_ds & from_ds)
        qos = header
        if control & 0x80:
            header += 6 if flags & 0x80 else 2
        view.need(header, "wifi")
        frame.layers.add("wifi")
        amsdu = control & 0x80 and view.octets[qos] & 0x80
        first, second, third, fourth = (view.octets[at : at + 6] for at in (4, 10, 16, 24))
        source = {(0, 0): second, (1, 0): second, (0, 1): third, (1, 1): fourth}[to_ds, from_ds]
        if not (amsdu and from_ds):
            self._sent_by(frame, source, third if to_ds else first)
        if flags & 0x40:
            frame.layers.add("wifi_protected")
            return None
        if control & 0x40 or view.octets[22] & 15:
            return None
        if padded:
            header += -header % 4
            view.need(header, "wifi")
        view = view.behind(header)
        if flags & 4:
            view = view.cut_off()
        if amsdu:
            view.need(14, "wifi")
            length = view.u16(12)
            if length > view.wire - 14:
                raise Rejected(MALFORMED, "wifi")
            self._sent_by(frame, view.octets[6:12], view.octets[:6])
            view = view.behind(14).first(length)
        return self._llc_unit(view, frame)

    @staticmethod
    def _sent_by(frame: Frame, source: bytes, destination: bytes) -> None:
        frame.mac = source if unicast(source) else None
        frame.macs = (source, destination)
