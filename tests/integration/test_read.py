"""`fieldwatch-agent read` as a whole process, on captures written here: exact objects, exit codes, accounting."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import dpkt
import pytest
from support.capture_files import pcap, pcapng
from support.sample import write_sample

START_NS = 1_700_000_000_123_456_000
STEP_NS = 1_000_000
NAS = bytes.fromhex("001132100004")
LAPTOP = bytes.fromhex("3c970e100006")
ROUTER = bytes.fromhex("74acb9100001")
NAS_IP, LAPTOP_IP, SERVER_IP = (IPv4Address(text).packed for text in ("192.168.10.4", "192.168.10.21", "198.51.100.7"))
BROADCAST = b"\xff" * 6

Object = dict[str, Any]


def link(source: bytes, target: bytes, ethertype: int, body: bytes) -> bytes:
    return target + source + ethertype.to_bytes(2, "big") + body


def arp_request(mac: bytes, ip: bytes, target: bytes) -> bytes:
    body = bytes.fromhex("0001080006040001") + mac + ip + bytes(6) + target
    return link(mac, BROADCAST, 0x0806, body)


def segment(
    macs: tuple[bytes, bytes],
    ips: tuple[bytes, bytes],
    ports: tuple[int, int],
    flags: int,
    data: bytes = b"",
    seq: int = 1,
) -> bytes:
    tcp = dpkt.tcp.TCP(sport=ports[0], dport=ports[1], flags=flags, seq=seq, ack=1, data=data)
    ip = dpkt.ip.IP(src=ips[0], dst=ips[1], p=6, ttl=64, data=tcp)
    return link(macs[0], macs[1], 0x0800, bytes(ip))


def hello() -> list[bytes]:
    """A laptop asks for the NAS by ARP, then opens and closes a TCP connection through the router."""
    out = ((LAPTOP, ROUTER), (LAPTOP_IP, SERVER_IP), (50_000, 443))
    back = ((ROUTER, LAPTOP), (SERVER_IP, LAPTOP_IP), (443, 50_000))
    syn, ack, psh, fin = 0x02, 0x10, 0x08, 0x01
    return [
        arp_request(LAPTOP, LAPTOP_IP, NAS_IP),
        segment(*out, syn, seq=0),
        segment(*back, syn | ack, seq=0),
        segment(*out, psh | ack, b"x" * 100),
        segment(*back, psh | ack, b"y" * 1_000),
        segment(*out, fin | ack, seq=101),
        segment(*back, fin | ack, seq=1_001),
        segment(*out, ack, seq=102),
    ]


def records(frames: Sequence[bytes], start_ns: int = START_NS) -> list[tuple[int, bytes]]:
    return [(start_ns + number * STEP_NS, octets) for number, octets in enumerate(frames)]


def agent(*args: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    command = [sys.executable, "-m", "fieldwatch_agent.cli.main", *map(str, args)]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)


def objects(result: subprocess.CompletedProcess[bytes], kind: str = "") -> list[Object]:
    found = [json.loads(line) for line in result.stdout.splitlines()]
    return [item for item in found if item["type"] == kind] if kind else found


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    file = tmp_path / "hello.pcap"
    file.write_bytes(pcap(records(hello())))
    return file


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("sample") / "sample.pcap"
    write_sample(file)
    return file


def test_exact_objects(capture: Path) -> None:
    """Every field of a device, a flow and the summary, as the commands contract words them."""
    result = agent("read", "--json", capture)
    frames = hello()

    assert (result.returncode, result.stderr) == (0, b"")
    (device,) = [item for item in objects(result, "device") if item["ips"]]
    assert {
        "type": "device",
        "mac": "3c:97:0e:10:00:06",
        "vlan": [],
        "ips": ["192.168.10.21"],
        "vendor": device["vendor"],
        "names": [],
        "sources": ["arp", "eth", "ip", "tcp_syn"],
        "first_seen": "2023-11-14T22:13:20.123456000Z",
        "last_seen": "2023-11-14T22:13:20.130456000Z",
        "frames": 5,
    } == device
    assert device["vendor"]
    assert [
        {
            "type": "flow",
            "protocol": "tcp",
            "src": "192.168.10.21",
            "src_port": 50000,
            "dst": "198.51.100.7",
            "dst_port": 443,
            "vlan": [],
            "tunnels": [],
            "packets": 4,
            "bytes": sum(len(frames[n]) for n in (1, 3, 5, 7)),
            "reply_packets": 3,
            "reply_bytes": sum(len(frames[n]) for n in (2, 4, 6)),
            "first_seen": "2023-11-14T22:13:20.124456000Z",
            "last_seen": "2023-11-14T22:13:20.130456000Z",
            "tcp_flags": "SAPF",
            "reply_tcp_flags": "SAPF",
            "state": "closed",
            "end": "closed",
            "application": "https",
            "min_bytes": min(len(frames[n]) for n in (1, 3, 5, 7)),
            "max_bytes": max(len(frames[n]) for n in (1, 3, 5, 7)),
            "reply_min_bytes": min(len(frames[n]) for n in (2, 4, 6)),
            "reply_max_bytes": max(len(frames[n]) for n in (2, 4, 6)),
            "min_gap_us": 1_000,
            "max_gap_us": 1_000,
            "retransmits": 0,
            "reply_retransmits": 0,
            "server_rtt_us": 1_000,
            "client_rtt_us": 1_000,
        }
    ] == objects(result, "flow")
    (summary,) = objects(result, "summary")
    by_layer = summary.pop("by_layer")
    assert {
        "type": "summary",
        "captures": 1,
        "linktypes": ["EN10MB"],
        "frames": 8,
        "bytes": sum(map(len, frames)),
        "decoded": 8,
        "rejected": {"truncated": 0, "malformed": 0, "unsupported": 0},
        "devices": 2,
        "flows": 1,
        "evicted_flows": 0,
        "duration_s": 0.007,
        "complete": True,
    } == summary
    assert (by_layer["arp"], by_layer["ipv4"], by_layer["tcp"]) == (1, 7, 7)


def test_the_sample_office(sample: Path) -> None:
    """The sample's devices come with their names, and every frame is accounted for."""
    result = agent("read", "--json", sample)
    devices = {item["mac"]: item for item in objects(result, "device")}
    (summary,) = objects(result, "summary")

    assert result.returncode == 0
    assert "192.168.10.4" in devices["00:11:32:10:00:04"]["ips"]
    assert "nas" in [name["name"].lower() for name in devices["00:11:32:10:00:04"]["names"]]
    assert "LAPTOP-SALES" in [name["name"] for name in devices["3c:97:0e:10:00:06"]["names"]]
    assert devices["44:19:b6:10:00:0b"]["vlan"] == [20]
    assert summary["frames"] == summary["decoded"] + sum(summary["rejected"].values())
    assert summary["flows"] == len(objects(result, "flow"))
    facts = objects(result, "fact")
    assert len(facts) == len({(fact["subject"], fact["key"], fact["value"], fact["source"]) for fact in facts})
    assert all(1 <= fact["frame"] <= summary["frames"] for fact in facts)


@pytest.mark.parametrize("only", ["devices", "flows", "facts", "summary"])
def test_only(sample: Path, only: str) -> None:
    """--only prints one type, and the same objects as the whole output has."""
    kind = {"devices": "device", "flows": "flow", "facts": "fact", "summary": "summary"}[only]
    every = objects(agent("read", "--json", sample), kind)

    assert every == objects(agent("read", "--json", "--only", only, sample))
    assert every


def test_standard_input(capture: Path) -> None:
    """`-` reads a stream, and says the same as the file does."""
    assert agent("read", "--json", capture).stdout == agent("read", "--json", "-", stdin=capture.read_bytes()).stdout


def test_pcapng_says_the_same(capture: Path, tmp_path: Path) -> None:
    """The format of the file leaves no trace in the output."""
    other = tmp_path / "hello.pcapng"
    other.write_bytes(pcapng(records(hello())))

    assert agent("read", "--json", capture).stdout == agent("read", "--json", other).stdout


def test_a_capture_whose_clock_began_at_zero(capture: Path, tmp_path: Path) -> None:
    """Many tools write times relative to the first frame: they are times like any other."""
    zero = tmp_path / "zero.pcap"
    zero.write_bytes(pcap(records(hello(), 0)))
    usual, relative = agent("read", "--json", capture), agent("read", "--json", zero)

    assert [item["duration_s"] for item in objects(relative, "summary")] == [
        item["duration_s"] for item in objects(usual, "summary")
    ]
    assert min(item["first_seen"] for item in objects(relative, "device")) == "1970-01-01T00:00:00.000000000Z"
    assert b"from 1970-01-01 00:00:00 UTC" in agent("read", zero).stdout


def test_several_captures(capture: Path, tmp_path: Path) -> None:
    """Devices come of all captures together; flows end with theirs; sums add up."""
    later = tmp_path / "later.pcap"
    later.write_bytes(pcap(records(hello(), START_NS + 3_600 * 10**9)))
    result = agent("read", "--json", capture, later)
    (summary,) = objects(result, "summary")
    (device,) = [item for item in objects(result, "device") if item["ips"]]

    assert tuple(summary[key] for key in ("captures", "frames", "devices", "flows", "duration_s")) == (
        2,
        16,
        2,
        2,
        0.014,
    )
    assert (device["frames"], device["last_seen"]) == (10, "2023-11-14T23:13:20.130456000Z")


def test_filter(capture: Path) -> None:
    """Only frames that match count; the rest are told by number."""
    (summary,) = objects(agent("read", "--json", "--filter", "arp", capture), "summary")

    assert (
        summary["frames"],
        summary["filtered"],
        {name: number for name, number in summary["by_layer"].items() if name == "arp"},
    ) == (1, 7, {"arp": 1})


def test_wrong_filter(capture: Path) -> None:
    """libpcap's own words in one line, exit code 2, nothing on standard output."""
    result = agent("read", "--json", "--filter", "tcp prt 80", capture)

    assert (result.returncode, result.stdout) == (2, b"")
    assert result.stderr == b"fieldwatch-agent: filter 'tcp prt 80': can't parse filter expression: syntax error\n"


def test_truncated_tail(capture: Path) -> None:
    """A capture that ends inside a record: what was read stands, exit code 0, and the problem is named."""
    capture.write_bytes(capture.read_bytes()[:-10])
    result = agent("read", "--json", capture)
    (summary,) = objects(result, "summary")

    assert (result.returncode, summary["frames"], summary["complete"]) == (0, 7, False)
    assert summary["problem"].startswith("hello.pcap: ")


def test_header_without_frames(tmp_path: Path) -> None:
    """An empty capture: zeros, exit code 0."""
    file = tmp_path / "empty.pcap"
    file.write_bytes(pcap([]))
    result = agent("read", "--json", file)
    (summary,) = objects(result)

    assert (
        result.returncode,
        summary["frames"],
        summary["devices"],
        summary["flows"],
        summary["complete"],
    ) == (0, 0, 0, 0, True)


@pytest.mark.parametrize("content", [b"", b"hello, I am a text file\n" * 10, b"\x1f\x8b\x08" + bytes(40)])
def test_no_capture(content: bytes, capture: Path, tmp_path: Path) -> None:
    """What is no capture: one line, exit code 1; other captures of the call are read all the same."""
    file = tmp_path / "letter"
    file.write_bytes(content)
    alone = agent("read", "--json", file)
    beside = agent("read", "--json", file, capture)

    assert (alone.returncode, alone.stdout) == (1, b"")
    assert len(alone.stderr.splitlines()) == 1
    assert alone.stderr.startswith(b"fieldwatch-agent: ")
    assert str(file).encode() in alone.stderr
    assert (1, alone.stderr) == (beside.returncode, beside.stderr)
    assert [item["frames"] for item in objects(beside, "summary")] == [8]


def test_missing_file_and_folder(tmp_path: Path) -> None:
    """The machine's word for it, one line, exit code 1."""
    missing = agent("read", tmp_path / "none.pcap")
    folder = agent("read", tmp_path)

    assert (1, f"fieldwatch-agent: {tmp_path}/none.pcap: No such file or directory\n") == (
        missing.returncode,
        missing.stderr.decode(),
    )
    assert folder.returncode == 1
    assert len(folder.stderr.splitlines()) == 1


def test_private_only(tmp_path: Path) -> None:
    """Flows between public addresses and devices with only public addresses are left out."""
    public = [IPv4Address(text).packed for text in ("198.51.100.1", "198.51.100.2")]
    transit = segment((NAS, ROUTER), (public[0], public[1]), (1_000, 80), 0x02)
    file = tmp_path / "mixed.pcap"
    file.write_bytes(pcap(records([*hello(), transit, arp_request(NAS, public[0], public[1])])))
    every = agent("read", "--json", file)
    local = agent("read", "--json", "--private-only", file)

    assert sorted(flow["src"] for flow in objects(every, "flow")) == ["192.168.10.21", "198.51.100.1"]
    assert [flow["src"] for flow in objects(local, "flow")] == ["192.168.10.21"]
    assert ["198.51.100.1"] in [device["ips"] for device in objects(every, "device")]
    assert ["198.51.100.1"] not in [device["ips"] for device in objects(local, "device")]


def test_tables(sample: Path) -> None:
    """For people: one line of sums, then devices, flows and facts; nothing on standard error."""
    result = agent("read", sample)
    text = result.stdout.decode()

    assert (result.returncode, result.stderr) == (0, b"")
    assert text.startswith("1 capture (EN10MB): ")
    assert [
        line.split(" ")[0] for line in text.splitlines() if line.startswith(("Devices (", "Flows (", "Facts ("))
    ] == ["Devices", "Flows", "Facts"]
    assert "LAPTOP-SALES" in text


def test_names_of_strangers_do_not_drive_the_terminal(tmp_path: Path) -> None:
    """A host name with escape sequences shows as text, in tables and in JSON lines."""
    option = lambda code, value: bytes([code, len(value)]) + value  # noqa: E731
    dhcp = bytes.fromhex("01010600") + bytes(24) + LAPTOP + bytes(10 + 192) + bytes.fromhex("63825363")
    dhcp += option(53, b"\x03") + option(12, b"evil\x1b[2J\nname") + b"\xff"
    udp = (68).to_bytes(2, "big") + (67).to_bytes(2, "big") + (len(dhcp) + 8).to_bytes(2, "big") + b"\0\0" + dhcp
    ip = dpkt.ip.IP(src=bytes(4), dst=BROADCAST[:4], p=17, ttl=64, data=udp)
    ip.len = 20 + len(udp)
    file = tmp_path / "evil.pcap"
    file.write_bytes(pcap(records([link(LAPTOP, BROADCAST, 0x0800, bytes(ip))])))
    tables = agent("read", file)
    lines = agent("read", "--json", file)

    assert b"\x1b" not in tables.stdout + lines.stdout
    assert 0 == tables.returncode == lines.returncode
    assert len(objects(lines)) == len(lines.stdout.splitlines())


@pytest.mark.slow
def test_memory_is_bounded(tmp_path: Path) -> None:
    """A capture in which every frame has a new sender and a new flow: at most 120 MB, and every frame counted."""
    file = tmp_path / "flood.pcap"
    count = 150_000
    tail = segment((LAPTOP, ROUTER), (LAPTOP_IP, SERVER_IP), (1_024, 80), 0x02)[30:]
    head = ROUTER + b"\x02"
    ip = b"\x08\x00\x45\x00\x00\x28\x00\x00\x00\x00\x40\x06\x00\x00\x0a"
    numbers = (number.to_bytes(3, "big") for number in range(count))
    file.write_bytes(pcap(records([head + b"\0\0" + number + ip + number + tail for number in numbers])))
    # Not getrusage: its peak begins with that of the process which forked.
    code = (
        "import sys\nfrom fieldwatch_agent.cli.main import main\ncode = main(sys.argv[1:])\n"
        "print(*(line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')), file=sys.stderr)"
    )
    command = [sys.executable, "-c", code, "read", "--json", str(file)]
    result = subprocess.run(command, capture_output=True, timeout=110, check=True)
    (summary,) = objects(result, "summary")

    assert int(result.stderr) * 1024 < 120_000_000
    assert (summary["frames"], summary["decoded"], summary["flows"]) == (count, count, count)
    assert summary["overflow"] > 0
