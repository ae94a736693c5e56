"""A collector's services on filled tables, the application on a socket, and clients of every kind."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from fieldwatch_collector.services import Services, open_services
from fieldwatch_proto.api_token import ApiToken
from support.filled_store import Filling, fill
from support.http_server import running

NAME = "chief"
PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Site:
    """One collector: its services, what is in its tables, where it answers, and an API token of each role."""

    services: Services
    filling: Filling
    url: str
    tokens: dict[str, str]

    def client(self, role: str = "") -> httpx.Client:
        """With the token of a role, or nobody's."""
        headers = {"Authorization": f"Bearer {self.tokens[role]}"} if role else {}
        return httpx.Client(base_url=self.url, headers=headers, timeout=20)

    @contextlib.contextmanager
    def browser(self) -> Iterator[httpx.Client]:
        """Logged in by name and password, as a page of this very origin."""
        with httpx.Client(base_url=self.url, headers={"Origin": self.url}, timeout=20) as client:
            client.post("/api/v1/session", json={"name": NAME, "password": PASSWORD}).raise_for_status()
            yield client


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Two sites, 45 devices, 300 flows; read only."""
    data: Path = tmp_path_factory.mktemp("collector")
    with open_services(data) as services:
        filling = services.store.transact_sync(
            lambda connection: fill(connection, time.time_ns(), devices=45, flows=300, sites=("hq", "lab"))
        )
        services.accounts.add_user(NAME, PASSWORD, "admin")
        tokens = {
            role: ApiToken.parse(
                services.accounts.create_api_token(f"{role} of tests", role, services.authority.ca_der)
            ).bearer
            for role in ("viewer", "operator", "admin")
        }
        with running(services) as url:
            yield Site(services, filling, url, tokens)


@pytest.fixture
def viewer(site: Site) -> Iterator[httpx.Client]:
    with site.client("viewer") as client:
        yield client


@pytest.fixture
def nobody(site: Site) -> Iterator[httpx.Client]:
    with site.client() as client:
        yield client


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Site]:
    """A collector at its first start: no account, no device."""
    with open_services(tmp_path) as services, running(services) as url:
        yield Site(services, Filling([], [], 0, 0), url, {})


@pytest.fixture(scope="package")
def browser(site: Site) -> Iterator[httpx.Client]:
    """One session for all tests that do not end it: a login costs a password hash."""
    with site.browser() as client:
        yield client
