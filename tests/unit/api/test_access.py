"""Who may: sessions, tokens, links, and writes that come from another page."""

from __future__ import annotations

import ssl
from pathlib import Path

import httpx
import pytest
from fieldwatch_collector.services import open_services
from fieldwatch_proto.api_token import ApiToken
from support.http_server import running
from unit.api.conftest import NAME, PASSWORD, Site

PROTECTED = (
    "/api/v1/devices",
    "/api/v1/devices/x",
    "/api/v1/flows",
    "/api/v1/flows/top",
    "/api/v1/flows/series",
    "/api/v1/events",
    "/api/v1/agents",
    "/api/v1/sites",
    "/api/v1/status",
    "/metrics",
)


@pytest.mark.parametrize("path", PROTECTED)
def test_nobody_is_asked_to_log_in(nobody: httpx.Client, path: str) -> None:
    """401 with the scheme (RFC 9110 11.6.1), before anything is said about the resource."""
    answer = nobody.get(path)

    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("token", ["fwa1.0000000000.wrong-secret-of-twenty-characters", "nonsense", "a" * 9_000])
def test_a_bad_token_is_no_login(nobody: httpx.Client, token: str) -> None:
    answer = nobody.get("/api/v1/devices", headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 401
    assert "revoked" in answer.json()["detail"]


def test_a_bad_token_is_not_made_good_by_a_cookie(browser: httpx.Client) -> None:
    answer = browser.get("/api/v1/devices", headers={"Authorization": "Bearer nonsense"})

    assert answer.status_code == 401


@pytest.mark.parametrize("role", ["viewer", "operator", "admin"])
def test_every_role_may_read(site: Site, role: str) -> None:
    with site.client(role) as client:
        assert client.get("/api/v1/devices").status_code == 200


def test_a_role_that_may_not_is_forbidden(fresh: Site) -> None:
    """403, not 401: who asks is known."""
    token = ApiToken.parse(
        fresh.services.accounts.create_api_token("t", "viewer", fresh.services.authority.ca_der)
    ).bearer
    fresh.services.store.transact_sync(
        lambda connection: connection.execute("UPDATE api_token SET role = 'guest'").rowcount
    )

    answer = httpx.get(f"{fresh.url}/api/v1/devices", headers={"Authorization": f"Bearer {token}"}, timeout=20)

    assert (answer.status_code, answer.json()["title"]) == (403, "Forbidden")


def test_a_session_lives_from_login_to_logout(site: Site) -> None:
    """The cookie is out of reach of scripts and of other sites; after logout it is of no use."""
    with site.browser() as browser:
        set_cookie = browser.post("/api/v1/session", json={"name": NAME, "password": PASSWORD}).headers["set-cookie"]
        who = browser.get("/api/v1/session").json()
        devices = browser.get("/api/v1/devices").status_code
        cookie = browser.cookies["fieldwatch_session"]
        gone = browser.delete("/api/v1/session")
        after = httpx.get(f"{site.url}/api/v1/devices", headers={"Cookie": f"fieldwatch_session={cookie}"}, timeout=20)

    attributes = {part.strip().lower() for part in set_cookie.split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert "secure" not in attributes
    assert who == {"name": NAME, "role": "admin"}
    assert (devices, gone.status_code, after.status_code) == (200, 204, 401)


def test_over_tls_the_cookie_is_bound_to_this_host(tmp_path: Path) -> None:
    """Secure, and with the prefix that keeps neighbours from setting it (RFC 6265bis)."""
    with open_services(tmp_path) as services, running(services, tls=True) as url:
        services.accounts.add_user(NAME, PASSWORD, "viewer")
        trust = ssl.create_default_context(cadata=services.authority.ca_pem.decode())
        with httpx.Client(base_url=url, verify=trust, timeout=20) as client:
            answer = client.post("/api/v1/session", json={"name": NAME, "password": PASSWORD})
            who = client.get("/api/v1/session")
            value = client.cookies["__Host-fieldwatch_session"]
        with httpx.Client(base_url=url, verify=trust, cookies={"fieldwatch_session": value}, timeout=20) as client:
            plain = client.get("/api/v1/session")

    assert answer.headers["set-cookie"].startswith("__Host-fieldwatch_session=")
    assert "Secure" in answer.headers["set-cookie"]
    assert (who.status_code, plain.status_code) == (200, 204)


def test_nobody_being_logged_in_is_no_error(nobody: httpx.Client) -> None:
    """The page asks this first; 204, so that a console stays clean."""
    assert nobody.get("/api/v1/session").status_code == 204


def test_a_wrong_password_is_unauthorized(nobody: httpx.Client) -> None:
    """The same line for a wrong name, so that names cannot be tried."""
    answers = [
        nobody.post("/api/v1/session", json={"name": name, "password": "wrong password"}) for name in (NAME, "nobody")
    ]

    assert [answer.status_code for answer in answers] == [401, 401]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]
    assert "set-cookie" not in answers[0].headers


def test_guessing_is_slowed_down(fresh: Site) -> None:
    """429 with Retry-After after some failures."""
    url = f"{fresh.url}/api/v1/session"
    statuses = []
    for _ in range(7):
        answer = httpx.post(url, json={"name": "stranger", "password": "guess"}, timeout=20)
        statuses.append(answer.status_code)

    assert statuses[:5] == [401] * 5
    assert statuses[-1] == 429
    assert int(answer.headers["retry-after"]) >= 1


WRITES = (
    ("POST", "/api/v1/session", {"name": NAME, "password": PASSWORD}),
    ("DELETE", "/api/v1/session", None),
    ("POST", "/api/v1/session/link", {"secret": "00"}),
    ("POST", "/api/v1/setup", {"secret": "00", "name": "stranger", "password": "long enough"}),
)


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:1", "null", "https://127.0.0.1.evil"])
def test_a_write_from_another_page_is_refused(
    browser: httpx.Client, method: str, path: str, body: dict[str, str] | None, origin: str
) -> None:
    """Another port of the same host is another page, though a SameSite cookie would be sent."""
    answer = browser.request(method, path, json=body, headers={"Origin": origin})
    still = browser.get("/api/v1/devices").status_code

    assert (answer.status_code, still) == (403, 200)
    assert origin in answer.json()["detail"]


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_a_body_that_a_form_can_send_is_refused(nobody: httpx.Client, media_type: str) -> None:
    answer = nobody.post(
        "/api/v1/session",
        content=b'{"name":"chief","password":"x"}',
        headers={"Content-Type": media_type} if media_type else {},
    )

    assert answer.status_code == 415


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"name": 1, "password": 2}', b'{"name": "chief"}', b"\xff"])
def test_a_malformed_login_is_a_problem(nobody: httpx.Client, body: bytes) -> None:
    answer = nobody.post("/api/v1/session", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_without_end_is_not_kept(nobody: httpx.Client, announced: bool) -> None:
    """Above 64 KiB: 413 for whoever it is, before the whole of it is read, and the collector goes on."""
    body = b'{"name":"chief","password":"' + b"x" * (1 << 20) + b'"}'
    answer = nobody.post(
        "/api/v1/session",
        content=body if announced else (body[at : at + 8192] for at in range(0, len(body), 8192)),
        headers={"Content-Type": "application/json"},
    )

    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert nobody.get("/healthz").status_code == 200


def test_a_problem_never_repeats_the_password(nobody: httpx.Client) -> None:
    answer = nobody.post("/api/v1/session", json={"name": "chief", "password": "s3cret" * 1_000})

    assert answer.status_code == 400
    assert "s3cret" not in answer.text


def test_the_set_up_link_makes_the_first_account_once(fresh: Site) -> None:
    """It logs in at once; a second use is refused, and the page can tell that set-up is over."""
    secret = fresh.services.accounts.make_setup_link()
    body = {"secret": secret, "name": "chief", "password": "long enough"}
    with httpx.Client(base_url=fresh.url, timeout=20) as client:
        before = client.get("/api/v1/setup").json()
        made = client.post("/api/v1/setup", json=body)
        devices = client.get("/api/v1/devices").json()
        after = client.get("/api/v1/setup").json()
        again = httpx.post(f"{fresh.url}/api/v1/setup", json=body, timeout=20)

    assert (before, after) == ({"needed": True}, {"needed": False})
    assert (made.status_code, made.json()) == (200, {"name": "chief", "role": "admin"})
    assert devices == {"count": 0, "next": None, "previous": None, "results": []}
    assert again.status_code == 403


def test_a_set_up_with_a_short_password_keeps_the_link(fresh: Site) -> None:
    """The reader may mend the form and send it again."""
    secret = fresh.services.accounts.make_setup_link()
    url = f"{fresh.url}/api/v1/setup"
    short = httpx.post(url, json={"secret": secret, "name": "chief", "password": "short"}, timeout=20)
    good = httpx.post(url, json={"secret": secret, "name": "chief", "password": "long enough"}, timeout=20)

    assert (short.status_code, good.status_code) == (400, 200)
    assert "8" in short.json()["detail"]


def test_a_login_link_works_once(site: Site) -> None:
    secret = site.services.accounts.one_time_login(NAME)
    first = httpx.post(f"{site.url}/api/v1/session/link", json={"secret": secret}, timeout=20)
    second = httpx.post(f"{site.url}/api/v1/session/link", json={"secret": secret}, timeout=20)

    assert (first.status_code, first.json()) == (200, {"name": NAME, "role": "admin"})
    assert second.status_code == 403
