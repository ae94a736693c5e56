"""Sends counted frames on an interface: the oracle of every test that loses something.

Run inside a namespace: ``python -m support.sender INTERFACE --rate N [--frames N]``. Commands on standard input, one a
line, each answered on standard output by one JSON line with the number sent so far: ``go``, ``pause``, ``stop``.
Frame number n is a UDP datagram whose source address and port encode the flow ``n // 4`` (`flow_of`), from one of
`HOSTS` hosts; every 16th frame is an ARP request instead, so that frames outside flows are counted as well.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import struct
import sys
import time

ARP_EVERY = 16
FRAMES_A_FLOW = 4
HOSTS = 1_000
FIRST_PORT = 1_024
BURST = 20


def udp_frame(flow: int) -> bytes:
    """A 60-octet frame of flow `flow`, 10.0.a.b:1024+ -> 10.255.0.1:9."""
    source = struct.pack(">BBH", 10, 0, flow % HOSTS)
    port = FIRST_PORT + flow // HOSTS
    payload = flow.to_bytes(8, "big") + bytes(10)
    udp = struct.pack(">HHHH", port, 9, 8 + len(payload), 0)
    total = 20 + len(udp) + len(payload)
    header = struct.pack(">BBHHHBBH4s4s", 0x45, 0, total, 0, 0x4000, 64, 17, 0, source, bytes([10, 255, 0, 1]))
    checksum = sum(struct.unpack(">10H", header))
    checksum = ~((checksum & 0xFFFF) + (checksum >> 16)) & 0xFFFF
    header = header[:10] + checksum.to_bytes(2, "big") + header[12:]
    return bytes.fromhex("020000000002020000000001 0800") + header + udp + payload


def flow_of(source: bytes, port: int) -> int:
    """The flow that has this source address and port."""
    return (port - FIRST_PORT) * HOSTS + int.from_bytes(source[2:])


def arp_frame(number: int) -> bytes:
    """A 60-octet ARP request of 10.255.0.2 for another address each time."""
    body = struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1)
    body += bytes.fromhex("020000000001") + bytes([10, 255, 0, 2]) + bytes(6) + bytes([10, 255, 1, number & 0xFF])
    return bytes.fromhex("ffffffffffff 020000000001 0806") + body + bytes(18)


def frame(number: int) -> bytes:
    return arp_frame(number) if number % ARP_EVERY == 0 else udp_frame(number // FRAMES_A_FLOW)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("interface")
    parser.add_argument("--rate", type=int, required=True, help="frames a second")
    parser.add_argument("--frames", type=int, default=0, help="stop sending after so many (0 = no end)")
    options = parser.parse_args()
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    link.bind((options.interface, 0))
    sent, going, due = 0, False, 0.0
    while True:
        finished = options.frames and sent >= options.frames
        wait = max(0.0, due - time.monotonic()) if going and not finished else None
        if select.select([sys.stdin], [], [], wait)[0]:
            word = sys.stdin.readline().strip()
            print(json.dumps({"sent": sent, "flows": sent // FRAMES_A_FLOW}), flush=True)
            if word not in ("go", "pause"):
                return
            going, due = word == "go", time.monotonic()
            continue
        if going and not finished:
            for _ in range(BURST):
                link.send(frame(sent))  # a blocking socket: it waits for room, and every success is on the wire
                sent += 1
            due += BURST / options.rate


if __name__ == "__main__":
    main()
