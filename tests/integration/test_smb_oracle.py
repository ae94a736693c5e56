"""On real captures, what servers and clients of SMB say of themselves is what tshark reads in the same segments."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from fieldwatch_agent.dissectors import smb
from support import tshark

pytestmark = [
    pytest.mark.corpus,
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not tshark.CORPUS, reason="external captures: set FIELDWATCH_CORPUS"),
    pytest.mark.skipif(shutil.which("tshark") is None, reason="tshark is not installed"),
]

SMB = rb"[\xfe\xff]SMB"
ONLY = "tcp.len > 8 && nbss && (smb.cmd == 0x72 || smb.cmd == 0x73 || smb2.cmd == 0 || smb2.cmd == 1)"
FIELDS = {
    "ntlmssp.challenge.target_info.dns_computer_name": "hostname",
    "ntlmssp.challenge.target_info.nb_computer_name": "netbios_name",
    "ntlmssp.challenge.target_info.nb_domain_name": "netbios_group",
    "ntlmssp.challenge.target_info.dns_domain_name": "dns_domain",
    "ntlmssp.auth.hostname": "netbios_name",
    "ntlmssp.auth.domain": "netbios_group",
    "smb.native_os": "os",
}
DIALECTS = {"0x0202": "2.0.2", "0x0210": "2.1", "0x0300": "3.0", "0x0302": "3.0.2", "0x0311": "3.1.1"}


def statements(packet: tshark.Tree) -> Iterator[tuple[str, str]]:
    """(key, value) by tshark's word."""
    layers = [packet.get("smb", {}), packet.get("smb2", {})]
    for field, key in FIELDS.items():
        for value in tshark.every(layers, field):
            yield ("dns_domain" if field == "ntlmssp.auth.domain" and "." in value else key), value
    reply = "1" in tshark.every(layers, "smb.flags.response")
    yield from (("server" if reply else "user_agent", value) for value in tshark.every(layers, "smb.native_lanman"))
    if "1" in tshark.every(layers, "smb2.flags.response"):
        yield from (("smb_dialect", DIALECTS.get(value, "")) for value in tshark.every(layers, "smb2.dialect"))
    if reply and "0x72" in tshark.every(layers, "smb.cmd") and tshark.first(layers, "smb.wct") in ("13", "17"):
        yield "smb_dialect", "1"
    for version in tshark.every(layers, "ntlmssp.version"):
        if (
            "ntlmssp.challenge.target_name" in str(layers)
            and tshark.first(version, "ntlmssp.version.build_number") != "0"
        ):
            parts = ("major", "minor", "build_number")
            yield "os", "Windows " + ".".join(tshark.first(version, f"ntlmssp.version.{part}") for part in parts)


def expected_of(packet: tshark.Tree) -> set[tuple[str, str]]:
    """What counts of it: no empty text, no domain that is a host's own name, no Windows that Samba pretends to be."""
    said = {(key, value) for key, value in statements(packet) if value and value != "NULL"}
    hosts = {value.upper() for key, value in said if key in ("netbios_name", "hostname")}
    hosts |= {name.upper() for name in tshark.every(packet, "ntlmssp.ntlmv2_response.nb_computer_name")}
    manager = next((value for key, value in said if key in ("server", "user_agent")), "")
    return {
        (key, value)
        for key, value in said
        if not (key in ("netbios_group", "dns_domain") and value.upper() in hosts)
        and not (key == "os" and manager.startswith("Samba") and value.startswith("Windows 6.1"))
    }


def test_names_and_systems_are_those_that_tshark_reads() -> None:
    different = []
    compared = 0
    for capture in tshark.captures(SMB):
        for packet in tshark.messages(capture, ONLY, "nbss smb smb2 ntlmssp"):
            frame = tshark.slow_of(packet, "smb")
            if frame.payload[4:8] not in (smb.SMB1, smb.SMB2):
                continue  # the rest of a message that began in another segment
            expected = expected_of(packet)
            actual = {(fact.key, fact.value) for fact in tshark.facts(smb.dissect, frame)}
            compared += len(expected)
            if expected != actual:
                different.append((capture.name, frame.number, expected - actual, actual - expected))

    assert different == []
    assert compared > 80
