"""`doctor`: what is broken is found, and comes with what mends it."""

from __future__ import annotations

import datetime as dt
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fieldwatch_agent.cli import checks
from fieldwatch_agent.cli.checks import Level
from fieldwatch_agent.cli.main import main
from fieldwatch_agent.config import AgentConfig, Capture, Collector
from fieldwatch_agent.enrolment.identity import TARGET_NAME, Credentials, Identity, store_identity
from support.net import require_namespaces, wire


def config(tmp_path: Path, address: str = "", interfaces: tuple[str, ...] = ()) -> AgentConfig:
    return AgentConfig(
        data=str(tmp_path / "agent"), collector=Collector(address=address), capture=Capture(interfaces=interfaces)
    )


def certificate(tmp_path: Path, name: str) -> tuple[Path, Path]:
    """A self-signed certificate and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = tmp_path / f"{name}.pem", tmp_path / f"{name}.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return files


@contextmanager
def listener(context: ssl.SSLContext | None) -> Iterator[str]:
    """A server on loopback that makes one handshake (or, without a context, says something that is no TLS)."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                try:
                    if context is None:
                        connection.recv(1)
                        connection.sendall(b"SSH-2.0-OpenSSH\r\n" * 2)
                        connection.recv(1_000)
                    else:
                        with context.wrap_socket(connection, server_side=True) as channel:
                            channel.sendall(b"\0")  # as an HTTP/2 server begins: RFC 9113 3.4
                            channel.recv(1)
                except OSError:
                    pass  # the other side was not pleased: that is what the test looks at

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join(10)


def server_context(files: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


def test_no_collector_is_a_note(tmp_path: Path) -> None:
    """An agent without a collector works; the finding says how to give it one."""
    (finding,) = checks.collector(config(tmp_path))

    assert Level.NOTE is finding.level
    assert "enrol" in finding.remedy


def test_nobody_listens(tmp_path: Path) -> None:
    """A refused connection is told in the machine's words."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
    *_, finding = checks.collector(config(tmp_path, address))

    assert (Level.BROKEN, f"{address}: cannot be reached: Connection refused") == (finding.level, finding.what)


def joined(tmp_path: Path, address: str, ca: Path, own: tuple[Path, Path], *, valid_s: int = 3_600) -> AgentConfig:
    """A data folder of an agent that holds the certificate `own` and trusts `ca`."""
    host, _, port = address.rpartition(":")
    now = int(time.time())
    identity = Identity("an-agent", "site", host, int(port), 7444, now - 7_200, now + valid_s)
    made = config(tmp_path)
    made.data_dir.mkdir()
    store_identity(made.data_dir, identity, Credentials(own[1].read_bytes(), own[0].read_bytes(), ca.read_bytes()))
    return made


def test_not_joined(tmp_path: Path) -> None:
    """The port answers by TLS, but there is no certificate of the collector's CA here."""
    with listener(server_context(certificate(tmp_path, TARGET_NAME))) as address:
        first, second = checks.collector(config(tmp_path, address))

    assert (first.level, first.what) == (Level.BROKEN, f"{address}: this agent has not joined it")
    assert (second.level, second.what) == (Level.OK, f"{address}: reached, TLSv1.3")


def test_joined(tmp_path: Path) -> None:
    """Both sides show the certificates that the other expects; the address comes from the enrolment."""
    server, own = certificate(tmp_path, TARGET_NAME), certificate(tmp_path, "agent")
    context = server_context(server)
    context.load_verify_locations(own[0])
    context.verify_mode = ssl.CERT_REQUIRED
    with listener(context) as address:
        (finding,) = checks.collector(joined(tmp_path, address, server[0], own))

    assert (finding.level, finding.what) == (Level.OK, f"{address}: reached, TLSv1.3, both certificates are good")


def test_another_collector(tmp_path: Path) -> None:
    """A collector whose certificate another CA signed is not the one that was joined."""
    own = certificate(tmp_path, "agent")
    with listener(server_context(certificate(tmp_path, TARGET_NAME))) as address:
        (finding,) = checks.collector(joined(tmp_path, address, own[0], own))

    assert finding.level is Level.BROKEN
    assert finding.what.startswith(f"{address}: its certificate is not good: ")


def test_refused_by_the_collector(tmp_path: Path) -> None:
    """A certificate of ours that the collector does not take is found, although TLS 1.3 tells it late."""
    server, own = certificate(tmp_path, TARGET_NAME), certificate(tmp_path, "agent")
    context = server_context(server)
    context.load_verify_locations(server[0])
    context.verify_mode = ssl.CERT_REQUIRED
    with listener(context) as address:
        (finding,) = checks.collector(joined(tmp_path, address, server[0], own))

    assert finding.level is Level.BROKEN
    assert "the TLS handshake fails" in finding.what


def test_expired(tmp_path: Path) -> None:
    """An expired certificate of ours is told, before the handshake shows what it does."""
    own = certificate(tmp_path, "agent")
    with listener(server_context(certificate(tmp_path, TARGET_NAME))) as address:
        first, _ = checks.collector(joined(tmp_path, address, own[0], own, valid_s=-60))

    assert (first.level, first.what) == (Level.NOTE, "this agent's certificate has expired (agent an-agent)")


def test_something_else_listens(tmp_path: Path) -> None:
    """A port that speaks no TLS is not the collector's."""
    with listener(None) as address:
        *_, finding = checks.collector(config(tmp_path, address))

    assert finding.level is Level.BROKEN
    assert finding.what.startswith(f"{address}: answers, but the TLS handshake fails")


def test_data_folder(tmp_path: Path) -> None:
    """A folder that is yet to be made counts as its parent; a file in its place is broken."""
    (fine,) = checks.disk(config(tmp_path))
    (tmp_path / "agent").write_text("in the way")
    (wrong,) = checks.disk(config(tmp_path))

    assert [fine.level, wrong.level] == [Level.OK, Level.BROKEN]
    assert [path.name for path in tmp_path.iterdir() if path.name != "agent"] == []


def test_little_room(tmp_path: Path) -> None:
    """Less room than the spool wants to leave is a note with the amount."""
    plenty = config(tmp_path)
    (finding,) = checks.disk(replace(plenty, spool=replace(plenty.spool, min_free_bytes=1 << 60)))

    assert Level.NOTE is finding.level
    assert finding.remedy.startswith("free ")


def test_interface_that_is_not_there(tmp_path: Path) -> None:
    """The remedy names the interfaces that are."""
    (finding,) = checks.interfaces(config(tmp_path, interfaces=("nosuch0",)))

    assert (finding.level, finding.what) == (Level.BROKEN, "nosuch0: there is no such interface")
    assert "lo" in finding.remedy.split(": ")[1].split(", ")


@pytest.mark.live
def test_offloads_are_named() -> None:
    """What merges and what cuts frames, each with the command that ends it; nothing is said where both are off."""
    require_namespaces(ethtool=True)
    with wire() as over:
        ask = (
            "import dataclasses, json, sys; from fieldwatch_agent.cli import checks;"
            " print(json.dumps([dataclasses.asdict(finding) for finding in checks.offloads(sys.argv[1])]))"
        )

        def findings(gro: str, tso: str) -> list[tuple[str, str]]:
            switch = ["ethtool", "-K", over.interface, "gro", gro, "tso", tso]
            subprocess.run(over.run_in(over.near, *switch), check=True, capture_output=True)
            command = over.run_in(over.near, sys.executable, "-c", ask, over.interface)
            said = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            return [(finding["level"], finding["remedy"].partition(",")[0]) for finding in said]

        assert findings("off", "off") == []
        assert findings("on", "off") == [("note", f"ethtool -K {over.interface} gro off")]
        assert findings("off", "on") == [("note", f"ethtool -K {over.interface} tso off")]


def test_giant_frames_of_the_running_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their number, by interface; nothing where none runs, or it has seen none."""
    answers: list[Any] = [{"giant_frames": {"eth0": 1234}}, {"giant_frames": {}}]
    none_runs = list(checks.giants(config(tmp_path)))
    monkeypatch.setattr(checks, "ask_daemon", lambda folder, what: iter([answers.pop(0)]))

    (finding,) = checks.giants(config(tmp_path))

    assert none_runs == []
    assert (finding.level, finding.check) == (Level.NOTE, "offloads")
    assert finding.what.startswith("eth0: 1,234 frames longer than its MTU allows")
    assert list(checks.giants(config(tmp_path))) == []


def test_what_libpcap_may_capture(tmp_path: Path) -> None:
    """A child lists it; with method "libpcap" an interface that it does not list is broken."""
    ring = config(tmp_path, interfaces=("nosuch0",))
    portable = replace(ring, capture=replace(ring.capture, method="libpcap"))

    (told,) = checks.libpcap(ring)
    listed, broken = checks.libpcap(portable)

    assert (told.level, listed.level, broken.level) == (Level.OK, Level.OK, Level.BROKEN)
    assert told.what == f"{listed.what} (not in use)"
    assert broken.what == "nosuch0: libpcap does not list it"
    if os.geteuid() == 0:
        assert "lo (127.0.0.0/8)" in listed.what


def test_libpcap_that_cannot_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with what mends it; broken only where it is the method in use."""
    (tmp_path / "pcapy.py").write_text("raise ImportError('no libpcap here')\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    ring = config(tmp_path)

    (told,) = checks.libpcap(ring)
    (broken,) = checks.libpcap(replace(ring, capture=replace(ring.capture, method="libpcap")))

    assert (told.level, broken.level) == (Level.NOTE, Level.BROKEN)
    assert told.what == "libpcap cannot list the interfaces: ImportError: no libpcap here"


def test_rights_follow_the_capability() -> None:
    """The finding agrees with what opening a packet socket gives."""
    (finding,) = checks.rights()
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
        held = True
    except PermissionError:
        held = False

    assert (Level.OK if held else Level.BROKEN) is finding.level


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """One object a finding; exit code 1 exactly when one is broken; each that is not well has a remedy."""
    monkeypatch.setenv("FIELDWATCH_AGENT__CAPTURE__INTERFACES", "nosuch0")
    code = main(["doctor", "--json", "--data", str(tmp_path)])
    findings = [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    assert code == 1
    assert {"rights", "interface", "libpcap", "clock", "disk", "collector"} == {
        finding["check"] for finding in findings
    }
    assert [finding for finding in findings if finding["level"] != "ok" and not finding["remedy"]] == []
    assert os.fspath(tmp_path) in next(finding["what"] for finding in findings if finding["check"] == "disk")
