"""After the CA was replaced: every kind of client that trusts the old one alone still finds its collector."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from fieldwatch_collector import admin
from fieldwatch_collector.identity import COLLECTOR_NAME, pki
from fieldwatch_proto.api_token import ApiToken
from fieldwatch_proto.client import Client
from support.collector import Running, enrol, private_key, running, talk


def root_of_an_earlier_version(data: Path) -> None:
    """A CA whose paths may have no length, as they were made before CAs could be replaced, and that ends."""
    key, now = private_key(), dt.datetime.now(dt.UTC)
    made = pki.ca_certificate(key)
    builder = x509.CertificateBuilder(
        made.issuer, made.subject, key.public_key(), 1, now - pki.BACKDATE, now + dt.timedelta(days=7_300)
    )
    for extension in made.extensions:
        value = extension.value
        if isinstance(value, x509.BasicConstraints):
            value = x509.BasicConstraints(ca=True, path_length=0)
        builder = builder.add_extension(value, extension.critical)
    (data / "pki").mkdir(parents=True)
    (data / "pki" / "ca.key").write_bytes(pki.private_pem(key))
    (data / "pki" / "ca.crt").write_bytes(pki.pem(builder.sign(key, hashes.SHA256())))


async def rotate(collector: Running) -> None:
    for step in ("begin", "finish"):
        await asyncio.to_thread(admin.run, collector.services, "ca.rotate", {"step": step})


async def shakes_hands(port: int, root: bytes, flags: ssl.VerifyFlags) -> bool:
    """Whether OpenSSL's client, which trusts this root alone, gets its connection."""
    context = ssl.create_default_context(cadata=root.decode())
    context.verify_flags |= flags
    context.set_alpn_protocols(["h2"])
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=COLLECTOR_NAME)
    except ssl.SSLError:
        return False
    writer.close()
    return True


@pytest.mark.parametrize("version", ["earlier", "this"])
async def test_whoever_trusts_a_ca_that_there_ever_was(tmp_path: Path, version: str) -> None:
    """gRPC and OpenSSL, strict or not; a join token, an API token line, an agent's certificate from before. Twice."""
    if version == "earlier":
        root_of_an_earlier_version(tmp_path / "data")
    async with running(tmp_path / "data") as collector:
        old_pem = collector.services.authority.ca_pem
        line = admin.run(collector.services, "api-token.create", {"name": "x", "role": "viewer"})["token"]
        token, agent = collector.token(), await enrol(collector)
        for _ in range(2):
            await rotate(collector)
        port = collector.server.ports["public_grpc"]
        hands = [
            await shakes_hands(port, root, flags)
            for root in (old_pem, collector.services.authority.ca_pem)
            for flags in (ssl.VerifyFlags.VERIFY_DEFAULT, ssl.VerifyFlags.VERIFY_X509_STRICT)
        ]
        joined = await enrol(collector, token)  # dials with the token's CA as its only root
        async with talk(collector, agent) as stream:  # shows a certificate of the first CA, trusts that alone
            await stream.hello((1, 1, 1))

        def ask() -> int:
            with Client.connect(f"127.0.0.1:{port}", line) as client:
                return len(client.agents())

        agents = await asyncio.to_thread(ask)
        fresh = ApiToken.parse(
            admin.run(collector.services, "api-token.create", {"name": "y", "role": "viewer"})["token"]
        )

        assert hands == [True] * 4
        assert token.ca_der != collector.services.authority.ca_der
        assert joined.ca_der == collector.services.authority.ca_der == fresh.ca_der
        assert agents == 2


async def test_a_stranger_is_a_stranger_before_and_after(tmp_path: Path) -> None:
    async with running(tmp_path / "data") as collector:
        await rotate(collector)
        key = ec.generate_private_key(ec.SECP256R1())
        stranger = pki.pem(pki.ca_certificate(key))

        assert not await shakes_hands(collector.server.ports["public_grpc"], stranger, ssl.VerifyFlags.VERIFY_DEFAULT)
