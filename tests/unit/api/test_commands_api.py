"""Commands, tags and settings over REST: their shapes, who may do what, and what a wrong order is answered with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from fieldwatch_collector.api import models
from fieldwatch_collector.commands import table
from fieldwatch_collector.services import open_services
from fieldwatch_proto.api_token import ApiToken
from support.filled_store import fill
from support.http_server import running
from unit.api.conftest import NAME, PASSWORD, Site


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Site]:
    """A collector with the agents pi-hq and pi-lab, for tests that give orders."""
    with open_services(tmp_path) as services:
        filling = services.store.transact_sync(
            lambda connection: fill(connection, time.time_ns(), devices=2, flows=0, sites=("hq", "lab"))
        )
        services.accounts.add_user(NAME, PASSWORD, "admin")
        tokens = {
            role: ApiToken.parse(services.accounts.create_api_token(role, role, services.authority.ca_der)).bearer
            for role in ("viewer", "operator", "admin")
        }
        with running(services) as url:
            yield Site(services, filling, url, tokens)


def test_a_command_is_ordered_seen_and_cancelled(fleet: Site) -> None:
    """By name of the agent; the answer is the command, the lists hold it, and its end stays."""
    with fleet.client("operator") as client:
        made = client.post("/api/v1/agents/pi-hq/commands", json={"name": "log_level", "arguments": {"level": "debug"}})
        command = made.json()
        one = client.get(f"/api/v1/agents/commands/{command['id']}").json()
        listed = client.get("/api/v1/agents/pi-hq/commands", params={"state": "open"}).json()
        elsewhere = client.get("/api/v1/agents/commands", params={"agent": "pi-lab"}).json()
        cancelled = client.post(f"/api/v1/agents/commands/{command['id']}/cancel", json={}).json()
        agents = client.get("/api/v1/agents").json()["results"]

    assert made.status_code == 201
    models.AgentCommand.model_validate(command, strict=True)
    models.AgentCommandList.model_validate(listed, strict=True)
    assert (command["state"], command["actor"], command["agent_name"]) == ("waiting", "api-token:operator", "pi-hq")
    assert command["arguments"] == {"level": "debug", "minutes": 15}
    assert command == one
    assert ([command], []) == (listed["results"], elsewhere["results"])
    assert (cancelled["state"], bool(cancelled["ended"])) == ("cancelled", True)
    assert [agent["open_commands"] for agent in agents] == [0, 0]


def test_many_agents_are_commanded_by_a_selector(fleet: Site) -> None:
    """Tags choose; either agents or a selector, not both."""
    with fleet.client("admin") as client:
        tagged = client.patch("/api/v1/agents/pi-lab", json={"tags": {"role": "edge"}})
        chosen = client.post("/api/v1/agents/commands", json={"name": "reload", "select": "role=edge"}).json()
        every = client.post("/api/v1/agents/commands", json={"name": "reload", "select": "*"}).json()
        both = client.post("/api/v1/agents/commands", json={"name": "reload", "select": "*", "agents": ["pi-hq"]})
        removed = client.patch("/api/v1/agents/pi-lab", json={"tags": {"role": None}}).json()

    models.Agent.model_validate(tagged.json(), strict=True)
    assert tagged.json()["tags"] == {"role": "edge"}
    assert ["pi-lab"] == [command["agent_name"] for command in chosen["results"]]
    assert ["pi-hq", "pi-lab"] == [command["agent_name"] for command in every["results"]]
    assert (both.status_code, both.json()["detail"]) == (400, "agents: give agents or a selector, and not both")
    assert removed["tags"] == {}


@pytest.mark.parametrize(
    ("role", "name", "arguments", "status"),
    [
        ("viewer", "reload", {}, 403),
        ("operator", "reload", {}, 201),
        ("operator", "diagnostics", {}, 201),
        ("operator", "capture", {"interface": "eth0"}, 403),
        ("admin", "capture", {"interface": "eth0"}, 201),
    ],
)
def test_each_command_needs_its_role(fleet: Site, role: str, name: str, arguments: dict[str, str], status: int) -> None:
    """And the audit log has the attempt, whichever way it went."""
    with fleet.client(role) as client:
        answer = client.post("/api/v1/agents/pi-hq/commands", json={"name": name, "arguments": arguments})
    with fleet.services.store.reader() as connection:
        row = connection.execute("SELECT actor, action, outcome FROM audit ORDER BY seq DESC LIMIT 1").fetchone()

    assert answer.status_code == status
    assert tuple(row) == (f"api-token:{role}", "command.run", "done" if status == 201 else "refused")


def test_a_viewer_sees_the_kinds_and_the_roles_they_need(fleet: Site) -> None:
    with fleet.client("viewer") as client:
        kinds = client.get("/api/v1/agents/command-kinds").json()

    models.CommandKindList.model_validate(kinds, strict=True)
    assert {kind["name"]: kind["role"] for kind in kinds["results"]} == {
        "reload": "operator",
        "diagnostics": "operator",
        "log_level": "operator",
        "capture": "admin",
    }


def test_settings_are_set_by_selector_and_shown_with_their_origin(fleet: Site) -> None:
    """AgentDetail tells which selector brought which value."""
    with fleet.client("admin") as client:
        change = {"select": "site=hq", "settings": {"capture": {"workers": 2}}}
        made = client.patch("/api/v1/agents/config", json=change)
        listed = client.get("/api/v1/agents/config").json()
        detail = client.get("/api/v1/agents/pi-hq").json()
        other = client.get("/api/v1/agents/pi-lab").json()
        bringing = client.get("/api/v1/agents/pi-hq/commands").json()

    models.SetConfigReply.model_validate(made.json(), strict=True)
    models.ConfigSettingList.model_validate(listed, strict=True)
    models.AgentDetail.model_validate(detail, strict=True)
    assert made.json() == {
        "selector": "site=hq",
        "agents": 1,
        "results": [
            {
                "agent": detail["agent"]["id"],
                "agent_name": "pi-hq",
                "version": 1,
                "command": bringing["results"][0]["id"],
            }
        ],
    }
    setting = detail["config"]["settings"][0]
    assert [setting] == listed["results"]
    assert (setting["section"], setting["key"], setting["value"]) == ("capture", "workers", 2)
    assert (setting["selector"], setting["actor"]) == ("site=hq", "api-token:admin")
    assert (detail["config"]["version"], detail["config"]["state"]) == (1, "waiting")
    assert (other["config"]["version"], other["config"]["state"]) == (0, "")


def test_settings_of_several_agents_have_a_result_for_each(fleet: Site) -> None:
    """By name or id; each gets a setting of its own. What is set already is no new version; unset is for who has it."""
    with fleet.client("admin") as client:

        def change(**what: object) -> httpx.Response:
            return client.patch("/api/v1/agents/config", json=what)

        lab = change(agents=["pi-lab"], settings={"flows": {"max": 4096}}).json()["results"][0]
        both = change(agents=["pi-hq", lab["agent"]], settings={"flows": {"max": 4096}}).json()
        rows = client.get("/api/v1/agents/config").json()["results"]
        gone = change(agents=["pi-hq"], unset=["flows.max"]).json()
        rest = change(agents=["pi-hq", "pi-lab"], unset=["flows.max"]).json()
        nothing = change(agents=["pi-hq", "pi-lab"], unset=["flows.max"])
        refused = [
            change(agents=["pi-hq"], select="*", settings={"flows": {"max": 1}}),
            change(agents=["pi-hq", "pi-attic"], settings={"flows": {"max": 1}}),
            change(agents=["pi-hq"] * 201, settings={"flows": {"max": 1}}),
            change(settings={"flows": {"max": 1}}),
        ]

    assert (both["selector"], both["agents"]) == ("", 2)
    assert {result["agent_name"]: result["version"] for result in both["results"]} == {"pi-hq": 1, "pi-lab": 1}
    assert [result["command"] for result in both["results"] if result["agent_name"] == "pi-lab"] == [lab["command"]]
    assert len(rows) == 2
    assert {row["selector"].split("=")[0] for row in rows} == {"agent"}
    assert [result["version"] for result in gone["results"]] == [2]
    assert {result["agent_name"]: result["version"] for result in rest["results"]} == {"pi-hq": 2, "pi-lab": 2}
    assert (nothing.status_code, "flows.max is not set for agent=" in nothing.json()["detail"]) == (400, True)
    assert [answer.status_code for answer in refused] == [400, 404, 400, 400]
    words = ("not both", "no agent 'pi-attic'", "the limit is 200", "select: is empty")
    assert all(text in answer.json()["detail"] for text, answer in zip(words, refused, strict=True))


def test_a_file_is_downloaded_under_its_name(fleet: Site) -> None:
    """By who may run the command; what is not there is said."""
    commands = fleet.services.commands
    with fleet.client("operator") as client, fleet.client("viewer") as viewer:
        made = client.post("/api/v1/agents/pi-hq/commands", json={"name": "diagnostics"}).json()
        path = f"/api/v1/agents/commands/{made['id']}/file"
        early = client.get(path)
        draft = commands.files.begin(made["id"])
        draft.write(b"octets")
        draft.keep()
        commands.transact(
            lambda connection: (
                None,
                table.end(
                    connection, made["id"], table.DONE, now_ns=time.time_ns(), file_name="d.tar.gz", file_bytes=6
                ),
            )
        )
        answer, refused = client.get(path), viewer.get(path)

    assert (early.status_code, early.json()["detail"]) == (
        404,
        f"command: {made['id']} has no file; it is waiting",
    )
    assert answer.content == b"octets"
    assert answer.headers["content-disposition"] == 'attachment; filename="d.tar.gz"'
    assert answer.headers["content-type"] == "application/gzip"
    assert refused.status_code == 403


@pytest.mark.parametrize(
    ("order", "status", "words"),
    [
        ({"name": "reloads"}, 400, "did you mean reload?"),
        ({"name": "config"}, 400, "agents config set"),
        ({"name": "log_level"}, 400, "log_level needs level"),
        ({"name": "log_level", "arguments": {"level": "loud"}}, 400, "none of debug, info"),
        ({"name": "log_level", "arguments": {"level": "info", "minute": 3}}, 400, "did you mean minutes?"),
        ({"name": "capture", "arguments": {"interface": "eth0", "packets": 10_001}}, 400, "from 1 to 10000"),
        ({"name": "capture", "arguments": {"interface": "eth0", "snaplen": True}}, 400, "snaplen"),
        ({"name": "capture", "arguments": {"interface": "a\nb"}}, 400, "printable"),
        ({"name": "capture", "arguments": {"interface": "eth0"}, "timeout_s": 10}, 400, "less than the 60 s"),
        ({"name": "reload", "timeout_s": 700_000}, 400, "outside 1 to 604800"),
    ],
)
def test_a_wrong_order_is_one_line(fleet: Site, order: dict[str, object], status: int, words: str) -> None:
    with fleet.client("admin") as client:
        answer = client.post("/api/v1/agents/pi-hq/commands", json=order)

    assert answer.status_code == status
    assert words in answer.json()["detail"]


def test_too_many_open_commands_are_refused(fleet: Site) -> None:
    """Sixteen wait; the next one is told to."""
    with fleet.client("operator") as client:
        codes = [client.post("/api/v1/agents/pi-hq/commands", json={"name": "reload"}).status_code for _ in range(17)]

    assert codes == [201] * 16 + [400]


def test_a_browser_of_another_page_gives_no_orders(fleet: Site) -> None:
    """The cookie alone is not enough: the Origin must be this page's."""
    with fleet.browser() as client:
        right = client.post("/api/v1/agents/pi-hq/commands", json={"name": "reload"})
        wrong = client.post(
            "/api/v1/agents/pi-hq/commands", json={"name": "reload"}, headers={"Origin": "https://evil.example"}
        )

    assert (right.status_code, right.json()["actor"]) == (201, f"user:{NAME}")
    assert wrong.status_code == 403


def test_an_agent_that_there_is_not_is_not_found(fleet: Site) -> None:
    with fleet.client("admin") as client:
        answers: list[httpx.Response] = [
            client.get("/api/v1/agents/nobody"),
            client.post("/api/v1/agents/nobody/commands", json={"name": "reload"}),
            client.patch("/api/v1/agents/nobody", json={"tags": {"a": "b"}}),
            client.get("/api/v1/agents/commands/01NONE"),
        ]

    assert [answer.status_code for answer in answers] == [404] * 4
