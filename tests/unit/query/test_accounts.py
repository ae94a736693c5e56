"""Users, sessions, links and API tokens on a real store with real argon2."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import argon2
import pytest
from fieldwatch_collector.accounts import (
    AccountError,
    Accounts,
    LinkError,
    LoginError,
    Principal,
    TooManyAttemptsError,
    allows,
    passwords,
)
from fieldwatch_collector.accounts.throttle import Throttle
from fieldwatch_collector.store.sqlite import SqliteStore
from fieldwatch_proto.api_token import ApiToken, ApiTokenError

PASSWORD = "correct horse battery"
CA_DER = b"\x30\x82\x01\x00" + bytes(256)  # a SEQUENCE of the stated length, as a certificate is
DAY_NS = 86_400_000_000_000
MINUTE_NS = 60_000_000_000


class Clock:
    """A wall clock that a test moves."""

    def __init__(self) -> None:
        self.now_ns = 1_800_000_000_000_000_000

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(store: SqliteStore, clock: Clock) -> Accounts:
    return Accounts(store, clock)


def octets_of(store: SqliteStore) -> bytes:
    """Everything that stands in the database's files."""
    store.checkpoint()
    return b"".join(path.read_bytes() for path in store.path.parent.iterdir() if path.is_file())


@pytest.mark.parametrize(
    ("role", "allowed"),
    [("viewer", ["read"]), ("operator", ["read", "operate"]), ("admin", ["read", "operate", "admin"]), ("", [])],
)
def test_each_role_holds_those_before_it(role: str, allowed: list[str]) -> None:
    """One check for REST and gRPC; an unknown role may nothing."""
    principal = Principal("chief", role, "user")

    assert [action for action in ("read", "operate", "admin") if allows(principal, action)] == allowed
    assert not allows(None, "read")


def test_the_setup_link_makes_one_administrator_and_is_used_up(accounts: Accounts) -> None:
    """The first person comes in through the link; the second one who has it does not."""
    secret = accounts.make_setup_link()
    assert accounts.needs_setup()
    assert len(bytes.fromhex(secret)) == 16

    cookie = accounts.complete_setup(secret, "chief", PASSWORD)

    assert accounts.session(cookie) == Principal("chief", "admin", "user")
    assert not accounts.needs_setup()
    with pytest.raises(LinkError, match="was used"):
        accounts.complete_setup(secret, "stranger", PASSWORD)


def test_two_people_race_for_one_setup_link(accounts: Accounts) -> None:
    """Exactly one of them becomes administrator."""
    secret = accounts.make_setup_link()

    def attempt(name: str) -> str:
        try:
            return accounts.complete_setup(secret, name, PASSWORD)
        except LinkError:
            return ""

    with ThreadPoolExecutor(4) as threads:
        cookies = [cookie for cookie in threads.map(attempt, ("a1", "b2", "c3", "d4")) if cookie]

    assert len(cookies) == 1
    assert len(accounts.list_users()) == 1


def test_a_setup_link_runs_out_and_a_new_one_replaces_it(accounts: Accounts, clock: Clock) -> None:
    """30 minutes; and only the newest link counts."""
    old, new = accounts.make_setup_link(), accounts.make_setup_link()
    with pytest.raises(LinkError):
        accounts.complete_setup(old, "chief", PASSWORD)
    clock.now_ns += 30 * MINUTE_NS
    with pytest.raises(LinkError, match="ran out"):
        accounts.complete_setup(new, "chief", PASSWORD)


def test_a_setup_link_is_of_no_use_once_there_is_an_administrator(accounts: Accounts) -> None:
    """An administrator made on the command line closes the door."""
    secret = accounts.make_setup_link()
    accounts.add_user("chief", PASSWORD, "admin")
    with pytest.raises(LinkError, match="administrator already"):
        accounts.complete_setup(secret, "stranger", PASSWORD)


def test_a_bad_password_leaves_the_setup_link_whole(accounts: Accounts) -> None:
    """A mistake in the form does not lock the first person out."""
    secret = accounts.make_setup_link()
    with pytest.raises(AccountError, match="8 to 1024 characters"):
        accounts.complete_setup(secret, "chief", "short")
    with pytest.raises(AccountError, match="user name"):
        accounts.complete_setup(secret, "chief two", PASSWORD)

    assert accounts.session(accounts.complete_setup(secret, "chief", PASSWORD)) is not None


def test_login_session_and_logout(accounts: Accounts) -> None:
    """A session lives until its logout."""
    accounts.add_user("chief", PASSWORD, "operator")
    cookie = accounts.login("chief", PASSWORD, "192.0.2.1")
    assert accounts.session(cookie) == Principal("chief", "operator", "user")
    assert accounts.session(cookie + "x") is None

    accounts.logout(cookie)

    assert accounts.session(cookie) is None


def test_a_session_slides_for_thirty_days(accounts: Accounts, store: SqliteStore, clock: Clock) -> None:
    """Used every 20 days it lives on; unused for 30 days it is over."""
    accounts.add_user("chief", PASSWORD)
    cookie = accounts.login("chief", PASSWORD, "")
    for _ in range(3):
        clock.now_ns += 20 * DAY_NS
        assert Accounts(store, clock).session(cookie) is not None
    clock.now_ns += 30 * DAY_NS

    assert Accounts(store, clock).session(cookie) is None


def test_wrong_names_and_passwords_look_the_same(accounts: Accounts) -> None:
    """Nobody learns which names exist; texts that are no UTF-8 are just wrong."""
    accounts.add_user("chief", PASSWORD)
    problems = set()
    for place, (name, password) in enumerate(
        [
            ("chief", "wrong password"),
            ("stranger", PASSWORD),
            ("\ud800", PASSWORD),
            ("chief", "\ud800" * 9),
            ("chief", "x" * 5_000),
        ]
    ):
        with pytest.raises(LoginError) as raised:
            accounts.login(name, password, f"192.0.2.{place}")
        problems.add((raised.type, str(raised.value)))

    assert problems == {(LoginError, "wrong name or password")}


def test_a_login_to_nobody_costs_what_another_costs() -> None:
    """What it is checked against has the parameters that a password stored today has."""
    nobody = argon2.extract_parameters(passwords._NOBODY)
    assert nobody == argon2.extract_parameters(passwords.hash_password("correct horse"))
    assert not passwords.verify(passwords._NOBODY, "nobody's password")


def test_failed_logins_are_limited_by_name_and_by_address(accounts: Accounts) -> None:
    """After five failures the right password has to wait too, from any address; other people are let in."""
    accounts.add_user("chief", PASSWORD)
    accounts.add_user("guest", PASSWORD)
    for place in range(5):
        with pytest.raises(LoginError, match="wrong name"):
            accounts.login("chief", "wrong password", f"192.0.2.{place}")
    with pytest.raises(TooManyAttemptsError) as raised:
        accounts.login("chief", PASSWORD, "198.51.100.1")

    assert 1 <= raised.value.retry_after_s <= 2
    assert accounts.session(accounts.login("guest", PASSWORD, "198.51.100.1")) is not None


def test_the_throttle_waits_longer_forgets_and_stays_small() -> None:
    """2, 4, 8 s ... up to a minute; 15 quiet minutes forget; strangers' names cannot fill the memory."""
    now = [0.0]
    throttle = Throttle(clock=lambda: now[0], max_keys=100)
    waits = []
    for _ in range(12):
        throttle.fail(["name:chief"])
        waits.append(throttle.wait_s(["name:chief", "address:192.0.2.1"]))
    now[0] += 1_000
    throttle.fail(["name:chief"])
    forgotten = throttle.wait_s(["name:chief"])
    for place in range(10_000):
        throttle.fail([f"name:{place}"])

    assert waits == [0, 0, 0, 0, 2, 4, 8, 16, 32, 60, 60, 60]
    assert forgotten == 0
    assert len(throttle) == 100


def test_a_new_password_ends_sessions_and_links(accounts: Accounts) -> None:
    """Whoever had the old one is out at once."""
    accounts.add_user("chief", PASSWORD, "admin")
    cookie, link = accounts.login("chief", PASSWORD, ""), accounts.one_time_login("chief")
    assert accounts.session(cookie) is not None

    accounts.set_password("chief", "another password")

    assert accounts.session(cookie) is None
    with pytest.raises(LinkError):
        accounts.redeem_login(link)
    with pytest.raises(LoginError):
        accounts.login("chief", PASSWORD, "")
    assert accounts.session(accounts.login("chief", "another password", "")) is not None


def test_a_role_changes_at_once_but_the_last_administrator_stays(accounts: Accounts) -> None:
    """Nobody can lock everybody out."""
    accounts.add_user("chief", PASSWORD, "admin")
    cookie = accounts.login("chief", PASSWORD, "")
    with pytest.raises(AccountError, match="last administrator"):
        accounts.set_role("chief", "viewer")
    assert accounts.session(cookie) == Principal("chief", "admin", "user")
    accounts.add_user("guest", PASSWORD, "admin")

    accounts.set_role("chief", "viewer")

    assert accounts.session(cookie) == Principal("chief", "viewer", "user")
    assert [(user["name"], user["role"], user["sessions"]) for user in accounts.list_users()] == [
        ("chief", "viewer", 1),
        ("guest", "admin", 0),
    ]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda accounts: accounts.add_user("chief", PASSWORD), "exists already"),
        (lambda accounts: accounts.add_user("guest", PASSWORD, "root"), "roles are viewer, operator, admin"),
        (lambda accounts: accounts.add_user("", PASSWORD), "user name"),
        (lambda accounts: accounts.set_password("stranger", PASSWORD), "no user 'stranger'"),
        (lambda accounts: accounts.set_role("stranger", "admin"), "no user 'stranger'"),
        (lambda accounts: accounts.one_time_login("stranger"), "no user 'stranger'"),
        (lambda accounts: accounts.one_time_login(), "no administrator"),
        (lambda accounts: accounts.create_api_token("", "viewer", CA_DER), "name has 1 to 100"),
        (lambda accounts: accounts.create_api_token("x", "root", CA_DER), "roles are"),
        (lambda accounts: accounts.revoke_api_token("nope"), "no valid API token 'nope'"),
    ],
)
def test_mistakes_of_people_are_told_in_one_line(accounts: Accounts, call, words: str) -> None:  # type: ignore[no-untyped-def]
    """Each names what was wrong."""
    if "exists" in words:
        accounts.add_user("chief", PASSWORD)
    with pytest.raises(AccountError, match=words) as raised:
        call(accounts)

    assert "\n" not in str(raised.value)


def test_a_login_link_works_once_and_for_half_an_hour(accounts: Accounts, clock: Clock) -> None:
    """Without a name it is the first administrator's."""
    accounts.add_user("viewer", PASSWORD)
    clock.now_ns += 1
    accounts.add_user("chief", PASSWORD, "admin")
    used, late = accounts.one_time_login(), accounts.one_time_login("viewer")
    cookie = accounts.redeem_login(used)
    clock.now_ns += 30 * MINUTE_NS

    assert accounts.session(cookie) == Principal("chief", "admin", "user")
    for secret in (used, late, "", "\ud800"):
        with pytest.raises(LinkError, match="was used or ran out"):
            accounts.redeem_login(secret)


def test_an_api_token_is_a_role_and_a_root_of_trust(accounts: Accounts) -> None:
    """The printed line and the part of it that is sent are both accepted."""
    line = accounts.create_api_token("grafana", "viewer", CA_DER)
    token = ApiToken.parse(line)

    assert token.ca_der == CA_DER
    assert token.text() == line
    assert accounts.bearer(line) == Principal("grafana", "viewer", "api-token")
    assert accounts.bearer(token.bearer) == Principal("grafana", "viewer", "api-token")
    assert token.secret not in repr(token)


def test_wrong_and_revoked_api_tokens_are_nobody(accounts: Accounts, clock: Clock) -> None:
    """A revoked token is of no use at once, although it was just remembered."""
    token = ApiToken.parse(accounts.create_api_token("grafana", "admin", CA_DER))
    clock.now_ns += 1
    other = ApiToken.parse(accounts.create_api_token("other", "viewer", CA_DER))
    mixed = f"fwa1.{token.token_id}.{other.secret}"
    assert [accounts.bearer(text) for text in ("", "x", mixed, token.bearer[:-1], "fwa1..", "fwa1.a.b.c")] == [None] * 6
    assert accounts.bearer(token.bearer) is not None

    accounts.revoke_api_token(token.token_id)

    assert accounts.bearer(token.bearer) is None
    assert accounts.bearer(other.bearer) is not None
    assert [(found["name"], bool(found["revoked"])) for found in accounts.list_api_tokens()] == [
        ("grafana", True),
        ("other", False),
    ]


def test_no_secret_stands_in_the_database(accounts: Accounts, store: SqliteStore) -> None:
    """A stolen file lets nobody in."""
    setup = accounts.make_setup_link()
    accounts.add_user("chief", PASSWORD, "admin")
    secrets = [
        PASSWORD,
        setup,
        accounts.login("chief", PASSWORD, ""),
        accounts.one_time_login(),
        ApiToken.parse(accounts.create_api_token("grafana", "viewer", CA_DER)).secret,
    ]
    octets = octets_of(store)

    assert [secret for secret in secrets if secret.encode() in octets] == []
    assert b"$argon2id$" in octets


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda line: "", "is empty"),
        (lambda line: "hello", "no API token"),
        (lambda line: "fwj1.abc.def", "join token for an agent"),
        (lambda line: line[:-9], "cut or changed"),
        (lambda line: line + "AAAA", "cut or changed"),
        (lambda line: line.replace("fwa1.", "fwa1.!"), "cut or changed"),
        (lambda line: "fwa1." * 5_000, "no API token"),
        (lambda line: line.rsplit(".", 1)[0], "no API token"),
    ],
)
def test_a_damaged_token_line_is_told_without_its_secret(accounts: Accounts, change, words: str) -> None:  # type: ignore[no-untyped-def]
    """A line that lost its tail, or another kind of token."""
    line = accounts.create_api_token("grafana", "viewer", CA_DER)
    with pytest.raises(ApiTokenError, match=words) as raised:
        ApiToken.parse(change(line))

    assert ApiToken.parse(line).secret not in str(raised.value)
