"""BPF filters: compiled in a child, checked by the kernel, refused with libpcap's words."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fieldwatch_agent.filters import compile_filter
from fieldwatch_proto.settings import UsageError

ARP = bytes(12) + b"\x08\x06" + bytes(28)
VLAN_ARP = bytes(12) + b"\x81\x00\x00\x64\x08\x06" + bytes(28)
IPV4 = bytes(12) + b"\x08\x00" + b"\x45" + bytes(19)


def test_none() -> None:
    """No expression, no filter."""
    assert [compile_filter(""), compile_filter("  ")] == [None, None]


@pytest.mark.parametrize(
    ("expression", "linktype", "matches"),
    [
        ("arp", 1, [True, False, False]),
        ("vlan 100 and arp", 1, [False, True, False]),
        ("vlan 101", 1, [False, False, False]),
        ("not arp", 1, [False, True, True]),
    ],
)
def test_matches(expression: str, linktype: int, matches: list[bool]) -> None:
    """The program says of frames on the wire what the expression means, VLAN tags in place."""
    program = compile_filter(expression, linktype)

    assert program is not None
    assert matches == [program.matches(frame) for frame in (ARP, VLAN_ARP, IPV4)]


def test_raw_ip_has_another_number_in_libpcap() -> None:
    """LINKTYPE_RAW (101) is DLT_RAW (12): frames begin with the IP header."""
    program = compile_filter("ip proto 17", 101)

    assert program is not None
    assert [program.matches(b"\x45" + bytes(8) + bytes([protocol]) + bytes(10)) for protocol in (17, 6)] == [
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("expression", "linktype", "words"),
    [
        ("tcp prt 80", 1, "can't parse filter expression: syntax error"),
        ("wlan type mgt", 1, "802.11 link-layer types supported only on 802.11"),
        ("host 1.2.3.4.5.6", 1, ""),
        ("ip", 60_000, "unknown data link type 60000"),
        ("a\0b", 1, "no BPF expression"),
        ("ip or " * 20_000 + "ip", 1, "no BPF expression"),
    ],
)
def test_refused(expression: str, linktype: int, words: str) -> None:
    """One line with libpcap's reason."""
    with pytest.raises(UsageError) as caught:
        compile_filter(expression, linktype)

    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_pcapy_stays_in_the_child() -> None:
    """The process that wants a filter never loads libpcap's binding."""
    code = (
        "import sys\nfrom fieldwatch_agent.filters import compile_filter\n"
        "assert compile_filter('tcp port 443')\nprint('pcapy' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)

    assert result.stdout == "False\n"
