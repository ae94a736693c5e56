"""The client without a collector: addresses, objects, stored credentials, names of protocols and flags."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from fieldwatch_proto.api_token import ApiToken
from fieldwatch_proto.cli.credentials import credentials, credentials_file, store_credentials
from fieldwatch_proto.cli.event_text import details_text, subject_text
from fieldwatch_proto.cli.main import main
from fieldwatch_proto.client import ConnectError, as_dict, with_port
from fieldwatch_proto.protocols import protocol_number, protocol_text, tcp_flags_text
from fieldwatch_proto.settings import UsageError
from fieldwatch_proto.v1 import query_pb2

TOKEN = ApiToken("0123456789", "s" * 43, b"\x30\x82\x01\x00" + bytes(256))


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("collector.example", "collector.example:7444"),
        ("collector.example:7500", "collector.example:7500"),
        (" 192.0.2.1 ", "192.0.2.1:7444"),
        ("2001:db8::1", "[2001:db8::1]:7444"),
        ("[2001:db8::1]", "[2001:db8::1]:7444"),
        ("[2001:db8::1]:80", "[2001:db8::1]:80"),
    ],
)
def test_an_address_gets_the_default_port(text: str, target: str) -> None:
    """Names, IPv4, and IPv6 with and without brackets."""
    assert with_port(text) == target


@pytest.mark.parametrize("text", ["", ":7444", "host:0", "host:70000", "host:x", "https://host", "[]:1", "host:7444/x"])
def test_what_is_no_address_is_told(text: str) -> None:
    """Before anything is dialled."""
    with pytest.raises(ConnectError, match="is no address; give HOST:7444"):
        with_port(text)


def test_objects_have_every_field_and_numbers_are_numbers() -> None:
    """As REST serves them, where protobuf's own JSON would leave fields out and write large numbers as text."""
    event = query_pb2.Event(
        v=1,
        seq=1 << 60,
        type="device.changed",
        subject=query_pb2.Subject(kind="device"),
        data='{"a":[1]}',
        evidence=["x"],
    )
    detail = query_pb2.DeviceDetail(interfaces=[query_pb2.Interface(mac="a", vlans=[1, 2])])

    assert as_dict(event) == {
        "v": 1,
        "id": "",
        "seq": 1 << 60,
        "type": "device.changed",
        "ts": "",
        "site": "",
        "agent": "",
        "subject": {"kind": "device", "id": "", "name": ""},
        "data": {"a": [1]},
        "evidence": ["x"],
    }
    assert as_dict(query_pb2.Event())["data"] == {}
    assert as_dict(detail)["interfaces"][0]["vlans"] == [1, 2]
    assert as_dict(detail)["device"]["macs"] == []


def test_what_is_not_known_is_none_and_not_zero() -> None:
    """An optional field that is absent; one that is there has its value, were it 0."""
    flow = as_dict(query_pb2.Flow(server_rtt_us=0))

    assert (flow["retransmits"], flow["server_rtt_us"], flow["client_rtt_us"]) == (0, 0, None)


@pytest.mark.parametrize(
    ("kind", "subject", "data", "text"),
    [
        ("device.discovered", "nas", {"ips": ["10.0.0.1"], "vendor": "V", "frames": 3}, "nas | ips=10.0.0.1  vendor=V"),
        ("device.discovered", "", {"ips": [], "macs": ["aa:bb"], "vendor": ""}, "aa:bb | macs=aa:bb"),
        (
            "device.changed",
            "",
            {
                "device": {"ips": ["10.0.0.2"]},
                "changes": {
                    "ips": {"before": ["10.0.0.1"], "after": ["10.0.0.2"]},
                    "name": {"before": "", "after": "nas"},
                },
            },
            "10.0.0.2 | ips: +10.0.0.2 -10.0.0.1  name: none -> nas",
        ),
        ("agent.gap", "pi", {"frames": 5, "detail": "", "records": {}}, "pi | frames=5"),
        ("device.odd", "", {"changes": 7, "device": 8}, "ID | changes=7  device=8"),
    ],
)
def test_events_are_told_in_a_few_words(kind: str, subject: str, data: dict[str, object], text: str) -> None:
    """What it is about, and what is new; data of any shape does not break the line."""
    event = {"type": kind, "subject": {"kind": kind.split(".")[0], "id": "ID", "name": subject}, "data": data}

    assert f"{subject_text(event)} | {details_text(event)}" == text


def test_credentials_are_stored_for_one_user_and_read_back(tmp_path: Path) -> None:
    """Folder 0700, file 0600, replaced whole; a second login overwrites the first."""
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    store_credentials("old.example:7444", TOKEN, environ)
    path = store_credentials("new.example:7444", TOKEN, environ)

    assert path == credentials_file(environ)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [entry.name for entry in path.parent.iterdir()] == ["credentials.json"]
    assert credentials(environ) == ("new.example:7444", TOKEN)


def test_the_environment_goes_before_the_stored_login(tmp_path: Path) -> None:
    """Each of the two by itself, and both without any file."""
    other = ApiToken("other", "t" * 43, TOKEN.ca_der)
    token_file = tmp_path / "token"
    token_file.write_text(f"  {other.text()}\n")
    home = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    both = {"FIELDWATCH_COLLECTOR": "env.example", "FIELDWATCH_API_TOKEN_FILE": str(token_file)}
    alone = credentials(home | both)
    store_credentials("stored.example:7444", TOKEN, home)

    assert alone == ("env.example", other)
    assert credentials(home | {"FIELDWATCH_COLLECTOR": "env.example"}) == ("env.example", TOKEN)
    assert credentials(home | {"FIELDWATCH_API_TOKEN_FILE": str(token_file)}) == ("stored.example:7444", other)


@pytest.mark.parametrize("text", ["", "[]", "nonsense", '{"collector": 1}'])
def test_a_damaged_credentials_file_is_told(tmp_path: Path, text: str) -> None:
    """With the command that mends it."""
    path = tmp_path / "fieldwatch" / "credentials.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(UsageError, match="log in again: fieldwatch login"):
        credentials({"XDG_CONFIG_HOME": str(tmp_path)})


@pytest.mark.parametrize(
    "command",
    [
        "login",
        "devices ls",
        "devices show",
        "flows ls",
        "flows top",
        "events ls",
        "events watch",
        "agents ls",
        "sites ls",
    ],
)
def test_every_command_shows_help_with_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    """--help answers at once and shows how it is used."""
    assert main([*command.split(), "--help"]) == 0
    shown = capsys.readouterr().out

    assert f"fieldwatch {command}" in shown.split("example", 1)[1]


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "icmp"), (2, "igmp"), (6, "tcp"), (17, "udp"), (47, "gre"), (58, "ipv6-icmp"), (132, "sctp"), (253, "253")],
)
def test_protocols_have_their_iana_keywords(number: int, text: str) -> None:
    """And back; what has no keyword is its number."""
    assert protocol_text(number) == text
    assert protocol_number(text) == number
    assert protocol_number(f" {text.upper()} ") == number


def test_every_protocol_number_survives_its_text() -> None:
    """No keyword stands for two numbers."""
    assert [protocol_number(protocol_text(number)) for number in range(256)] == list(range(256))


@pytest.mark.parametrize("text", ["", "256", "-1", "tpc", "٦"])
def test_what_is_no_protocol_is_told(text: str) -> None:
    """With what is accepted."""
    with pytest.raises(ValueError, match="is no IP protocol"):
        protocol_number(text)


def test_tcp_flags_are_letters() -> None:
    """A whole connection is SAPF; every bit has a letter."""
    assert tcp_flags_text(0x1B) == "SAPF"
    assert tcp_flags_text(0xFF) == "SAPFRUEC"
    assert tcp_flags_text(0) == ""
