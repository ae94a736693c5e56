"""The WebSocket: who may read, commands, resume, gaps, and clients that misbehave."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
from fieldwatch_collector.api import stream
from fieldwatch_collector.journal import record
from unit.api.conftest import NAME, PASSWORD, Site
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

TIMEOUT_S = 20.0


def _address(site: Site) -> str:
    return site.url.replace("http://", "ws://") + "/api/v1/stream"


def _say(socket: ClientConnection, message: Any) -> None:
    socket.send(message if isinstance(message, str) else json.dumps(message))


def _hear(socket: ClientConnection) -> Any:
    return json.loads(socket.recv(timeout=TIMEOUT_S))


def _closed(socket: ClientConnection) -> int:
    """The code with which the collector ends the connection; messages before it are passed over."""
    with pytest.raises(ConnectionClosed) as end:
        _hear_until_closed(socket)
    assert end.value.rcvd is not None
    return end.value.rcvd.code


def _hear_until_closed(socket: ClientConnection) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        socket.recv(timeout=TIMEOUT_S)


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {TIMEOUT_S:g} s"
        time.sleep(0.01)


def _happen(site: Site, kind: str, place: str = "hq") -> dict[str, Any]:
    """An event that is stored, then told: as the projections do it."""
    event = site.services.store.transact_sync(
        lambda connection: record(
            connection, kind, site=place, agent="", subject=("device", "d1", "nas"), data={"n": 1}, ts_ns=time.time_ns()
        )
    )
    site.services.hub.publish([event])
    return event


@pytest.fixture
def reader(site: Site) -> Iterator[ClientConnection]:
    """Connected with an API token, and greeted."""
    with connect(_address(site), additional_headers={"Authorization": f"Bearer {site.tokens['viewer']}"}) as socket:
        assert _hear(socket) == {"type": "auth_ok"}
        yield socket


def test_a_token_may_come_as_the_first_message(site: Site) -> None:
    """For clients that cannot set headers: auth_required, auth, auth_ok."""
    with connect(_address(site)) as socket:
        asked = _hear(socket)
        _say(socket, {"type": "auth", "token": site.tokens["viewer"]})
        answer = _hear(socket)

    assert (asked, answer) == ({"type": "auth_required"}, {"type": "auth_ok"})


def test_a_cookie_of_this_page_is_enough(site: Site, browser: httpx.Client) -> None:
    cookie = f"fieldwatch_session={browser.cookies['fieldwatch_session']}"
    with connect(_address(site), additional_headers={"Cookie": cookie}, origin=Origin(site.url)) as socket:
        assert _hear(socket) == {"type": "auth_ok"}


@pytest.mark.parametrize(
    "first",
    [
        {"type": "auth", "token": "nonsense"},
        {"type": "auth"},
        {"id": 1, "type": "subscribe"},
        {"type": "auth", "token": {"a": 1}},
    ],
)
def test_nobody_reads_nothing(site: Site, first: dict[str, Any]) -> None:
    """auth_invalid, and the connection ends with 4401."""
    with connect(_address(site)) as socket:
        _hear(socket)
        _say(socket, first)
        answer, code = _hear(socket), _closed(socket)

    assert (answer["type"], code) == ("auth_invalid", stream.CLOSE_UNAUTHORIZED)


def test_streams_are_bounded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than there may be is turned away before it is accepted; one that ends makes room."""

    def welcomed() -> bool:
        try:
            with connect(_address(site)) as another:
                return bool(_hear(another))
        except InvalidStatus:
            return False

    def turned_away() -> bool:
        try:
            with connect(_address(site)) as first:
                _hear(first)
                return not welcomed()
        except InvalidStatus:  # the one before is still ending
            return False

    monkeypatch.setattr(stream, "MAX_CONNECTIONS", 1)
    _until(turned_away)
    _until(welcomed)


def test_an_ended_session_is_told_so(site: Site) -> None:
    """A page whose cookie ran out gets 4401 at once, and can show its login."""
    with connect(_address(site), additional_headers={"Cookie": "fieldwatch_session=old"}) as socket:
        answer, code = _hear(socket), _closed(socket)

    assert (answer["type"], code) == ("auth_invalid", stream.CLOSE_UNAUTHORIZED)


def test_the_page_of_another_host_is_refused_at_the_handshake(site: Site) -> None:
    """Cross-site WebSocket hijacking: a browser would send the cookie, so the origin decides."""
    with pytest.raises(InvalidStatus) as refused:
        connect(_address(site), origin=Origin("http://evil.example"))

    assert refused.value.response.status_code == 403


def test_an_event_comes_with_the_id_of_its_subscription(site: Site, reader: ClientConnection) -> None:
    """The envelope as it was stored, `data` an object."""
    _say(reader, {"id": 7, "type": "subscribe", "filter": {"types": ["device."], "site": "hq"}})
    result = _hear(reader)
    _happen(site, "agent.connected")
    _happen(site, "device.discovered", "lab")
    wanted = _happen(site, "device.discovered")

    assert result == {"id": 7, "type": "result", "success": True}
    assert _hear(reader) == {"id": 7, "type": "event", "event": wanted}


def test_an_update_of_a_device_is_told_without_a_number(site: Site, reader: ClientConnection) -> None:
    """Transient: the newest state of a row, no event, nothing to resume from."""
    message = {"v": 1, "type": "device.updated", "data": {"id": "d1", "site": "hq", "flows": 3}}
    _say(reader, {"id": 1, "type": "subscribe"})
    _hear(reader)
    site.services.hub.publish_transient(message)

    assert _hear(reader) == {"id": 1, "type": "event", "event": message}


def test_who_comes_back_gets_what_was_missed(site: Site, reader: ClientConnection) -> None:
    """since_seq is the last number that was seen: everything after it comes, in order, then what happens next."""
    first = _happen(site, "device.discovered")
    missed = [_happen(site, "device.changed") for _ in range(3)]
    _say(reader, {"id": 2, "type": "subscribe", "since_seq": first["seq"]})
    result = _hear(reader)
    heard = [_hear(reader)["event"] for _ in missed]
    later = _happen(site, "device.changed")

    assert result["success"] is True
    assert heard == missed
    assert _hear(reader)["event"] == later


def test_what_is_no_longer_held_is_told_as_a_gap(fresh: Site) -> None:
    """A resume from before the oldest stored event begins with a gap that names it."""
    events = [_happen(fresh, "device.discovered") for _ in range(4)]
    fresh.services.store.transact_sync(
        lambda connection: connection.execute("DELETE FROM event WHERE seq <= ?", (events[1]["seq"],)).rowcount
    )
    fresh.services.hub._ring.clear()
    fresh.services.accounts.add_user(NAME, PASSWORD, "viewer")
    with httpx.Client(base_url=fresh.url, timeout=20) as browser:
        browser.post("/api/v1/session", json={"name": NAME, "password": PASSWORD}).raise_for_status()
        cookie = f"fieldwatch_session={browser.cookies['fieldwatch_session']}"
    with connect(_address(fresh), additional_headers={"Cookie": cookie}) as socket:
        _hear(socket)
        _say(socket, {"id": 1, "type": "subscribe", "since_seq": events[0]["seq"]})
        _hear(socket)
        gap, *rest = [_hear(socket)["event"] for _ in range(3)]

    assert gap["type"] == "gap"
    assert gap["data"] == {"after_seq": events[0]["seq"], "before_seq": events[2]["seq"], "reason": "expired"}
    assert rest == events[2:]


def test_ping_is_answered(reader: ClientConnection) -> None:
    _say(reader, {"id": 3, "type": "ping"})

    assert _hear(reader) == {"id": 3, "type": "pong"}


def test_unsubscribe_ends_a_subscription(site: Site, reader: ClientConnection) -> None:
    """Its events stop; the hub forgets it; others go on."""
    _say(reader, {"id": 1, "type": "subscribe"})
    _hear(reader)
    _say(reader, {"id": 2, "type": "unsubscribe", "subscription": 1})
    ended = _hear(reader)
    _until(lambda: site.services.hub.subscribers == 0)  # those of other tests may be still ending
    _happen(site, "device.changed")
    _say(reader, {"id": 3, "type": "ping"})

    assert ended == {"id": 2, "type": "result", "success": True}
    assert _hear(reader) == {"id": 3, "type": "pong"}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ({"id": 1, "type": "dance"}, "unknown_command"),
        ({"id": 1}, "unknown_command"),
        ({"id": 1, "type": "subscribe", "filter": {"types": "device."}}, "invalid"),
        ({"id": 1, "type": "subscribe", "filter": {"tag": "x"}}, "invalid"),
        ({"id": 1, "type": "subscribe", "since_seq": -1}, "invalid"),
        ({"id": 1, "type": "subscribe", "since_seq": 1 << 70}, "invalid"),
        ({"id": 1, "type": "subscribe", "since_seq": "9"}, "invalid"),
        ({"id": 1, "type": "subscribe", "filter": {"site": "nowhere"}}, "not_found"),
        ({"id": 1, "type": "unsubscribe", "subscription": 9}, "not_found"),
        ({"id": 1, "type": "unsubscribe", "subscription": [9]}, "not_found"),
    ],
)
def test_a_command_that_cannot_be_obeyed_is_answered(
    reader: ClientConnection, command: dict[str, Any], code: str
) -> None:
    """The connection goes on: the next command is obeyed."""
    _say(reader, command)
    answer = _hear(reader)
    _say(reader, {"id": 2, "type": "ping"})

    assert (answer["id"], answer["type"], answer["success"], answer["error"]["code"]) == (1, "result", False, code)
    assert _hear(reader) == {"id": 2, "type": "pong"}


@pytest.mark.parametrize(
    "message", ["", "{", "[]", "1", '{"type": "ping"}', '{"id": "1", "type": "ping"}', '{"id": true}', "[" * 9_000]
)
def test_what_is_no_command_ends_the_connection(reader: ClientConnection, message: str) -> None:
    _say(reader, message)

    assert _closed(reader) == stream.CLOSE_MISUSE


def test_octets_instead_of_text_end_the_connection(reader: ClientConnection) -> None:
    reader.send(b"\x00\x01")

    assert _closed(reader) == 1003


def test_a_message_of_any_length_is_not_read(reader: ClientConnection) -> None:
    _say(reader, "x" * (stream.MAX_CHARACTERS + 1))

    assert _closed(reader) == 1009


def test_subscriptions_of_a_connection_are_bounded(reader: ClientConnection) -> None:
    answers = []
    for identifier in range(1, stream.MAX_SUBSCRIPTIONS + 2):
        _say(reader, {"id": identifier, "type": "subscribe"})
        answers.append(_hear(reader))

    assert [answer["success"] for answer in answers] == [True] * stream.MAX_SUBSCRIPTIONS + [False]
    assert answers[-1]["error"]["code"] == "too_many"


def test_a_connection_that_ends_leaves_nothing_behind(site: Site) -> None:
    """Its subscriptions are gone from the hub."""
    _until(lambda: site.services.hub.subscribers == 0)  # those of other tests are still ending
    headers = {"Authorization": f"Bearer {site.tokens['viewer']}"}
    with connect(_address(site), additional_headers=headers) as socket:
        _hear(socket)
        _say(socket, {"id": 1, "type": "subscribe"})
        _hear(socket)
        during = site.services.hub.subscribers
    _until(lambda: site.services.hub.subscribers == 0)

    assert during == 1


def test_a_revoked_token_ends_the_connection(fresh: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the next check, though the connection is open and quiet."""
    monkeypatch.setattr(stream, "RECHECK_S", 0.1)
    fresh.services.accounts.add_user(NAME, PASSWORD, "viewer")
    with httpx.Client(base_url=fresh.url, timeout=20) as browser:
        browser.post("/api/v1/session", json={"name": NAME, "password": PASSWORD}).raise_for_status()
        cookie = f"fieldwatch_session={browser.cookies['fieldwatch_session']}"
        with connect(_address(fresh), additional_headers={"Cookie": cookie}) as socket:
            _hear(socket)
            browser.delete("/api/v1/session").raise_for_status()
            code = _closed(socket)

    assert code == stream.CLOSE_UNAUTHORIZED


def test_a_client_that_does_not_read_is_let_go(fresh: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection ends, its subscription goes, and nobody else waited for it."""
    monkeypatch.setattr(stream, "SEND_TIMEOUT_S", 0.3)
    fresh.services.accounts.add_user(NAME, PASSWORD, "viewer")
    with httpx.Client(base_url=fresh.url, timeout=20) as browser:
        browser.post("/api/v1/session", json={"name": NAME, "password": PASSWORD}).raise_for_status()
        cookie = f"fieldwatch_session={browser.cookies['fieldwatch_session']}"
    headers = {"Cookie": cookie}
    with connect(
        _address(fresh), additional_headers=headers, max_queue=1, compression=None, close_timeout=0.1
    ) as socket:
        _hear(socket)
        _say(socket, {"id": 1, "type": "subscribe"})
        _hear(socket)
        event = _happen(fresh, "device.changed")
        for number in range(600):
            fresh.services.hub.publish([{**event, "seq": event["seq"] + 1 + number, "data": {"x": "y" * 40_000}}])
        _until(lambda: fresh.services.hub.subscribers == 0)
        answer = httpx.get(f"{fresh.url}/healthz", timeout=TIMEOUT_S)

    assert answer.status_code == 200
