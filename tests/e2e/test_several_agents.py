"""The page of agents: several are chosen, told what to do and given a setting; what became of it is told for each."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.browsing import STATUS, log_in, overflowing, start
from support.obedient import ObedientAgent
from support.stack import Collector

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def open_choice(visit: Any, collector: Collector, name: str, **options: Any) -> tuple[Any, Page]:
    """The page of agents, with what chooses several."""
    visitor = visit(collector, **options)
    page = visitor.open("/#/agents")
    log_in(page, name)
    page.get_by_role("button", name="Choose several").click()
    return visitor, page


def test_ticked_agents_are_commanded_and_each_has_its_result(collector: Collector, visit: Any) -> None:
    """Two of three: one does it and makes a file, one refuses, the third is asked nothing."""
    from playwright.sync_api import expect

    start(collector, chief="admin")
    with contextlib.ExitStack() as stack:
        attic, barn, _ = (
            stack.enter_context(ObedientAgent(collector, name, **STATUS))
            for name in ("pi-attic", "pi-barn", "pi-cellar")
        )
        visitor, page = open_choice(visit, collector, "chief", viewport={"width": 1360, "height": 900})
        box = page.get_by_role("region", name="Several agents")
        expect(box).to_contain_text("Tick agents below")
        page.get_by_role("checkbox", name="Choose pi-attic").check()
        page.get_by_role("checkbox", name="Choose pi-barn").check()
        expect(box).to_contain_text("2 agents: pi-attic, pi-barn")
        box.get_by_role("button", name="Diagnostics").click()
        rows = box.get_by_role("table", name="Commands").locator("tbody tr")
        expect(rows).to_have_count(2)
        given = [agent.command() for agent in (attic, barn)]
        attic.report(
            given[0].id,
            {"state": pb.COMMAND_RUNNING, "chunk": b"tar", "file_name": "pi-attic.tar.gz"},
            {"state": pb.COMMAND_DONE, "text": "3 parts"},
        )
        barn.report(given[1].id, {"state": pb.COMMAND_REFUSED, "text": "the disk is full"})
        expect(rows.filter(has_text="pi-attic")).to_contain_text("3 parts")
        expect(rows.filter(has_text="pi-barn")).to_contain_text("refused")
        expect(rows.filter(has_text="pi-barn")).to_contain_text("the disk is full")
        with page.expect_download() as download:
            rows.filter(has_text="pi-attic").get_by_role(
                "link", name=re.compile("Download pi-attic.tar.gz, 3.B")
            ).click()

    assert [command.name for command in given] == ["diagnostics"] * 2
    assert download.value.suggested_filename == "pi-attic.tar.gz"
    assert visitor.complaints == []


def test_a_selector_chooses_and_a_setting_fares_differently_on_each(collector: Collector, visit: Any) -> None:
    """Confirmed here, rejected there with the agent's reason. What is ticked by hand is no selector any more."""
    from playwright.sync_api import expect

    start(collector, chief="admin")
    with ObedientAgent(collector, "pi-attic", **STATUS) as attic, ObedientAgent(collector, "pi-barn", **STATUS) as barn:
        visitor, page = open_choice(visit, collector, "chief", viewport={"width": 1360, "height": 900})
        box = page.get_by_role("region", name="Several agents")
        box.get_by_label("By site or tag").fill("site=nowhere")
        box.get_by_role("button", name="Choose", exact=True).click()
        expect(box).to_contain_text("0 agents")
        box.get_by_label("By site or tag").fill("role")
        box.get_by_role("button", name="Choose", exact=True).click()
        expect(box.get_by_role("alert")).to_contain_text("there is no agent 'role'")
        box.get_by_role("button", name="All").click()
        expect(box).to_contain_text("2 agents: pi-attic, pi-barn (every one; a setting also holds for agents to come)")

        form = box.get_by_role("form", name="Set for these agents")
        form.get_by_label("Setting").fill("flows.idle")
        form.get_by_label("Value").fill("30 s")
        form.get_by_role("button").click()
        rows = box.get_by_role("table", name="Settings").locator("tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.filter(has_text="pi-attic")).to_contain_text("waiting for the agent")
        versions = [agent.command().config.version for agent in (attic, barn)]
        attic.say(config=pb.ConfigStatus(version=1, state=pb.CONFIG_CONFIRMED))
        problem = "flows.idle = 30 s: accepted is 1 min to 1 h"
        barn.say(config=pb.ConfigStatus(version=1, state=pb.CONFIG_REJECTED, problem=problem))
        expect(rows.filter(has_text="pi-attic")).to_contain_text("confirmed")
        expect(rows.filter(has_text="pi-barn")).to_contain_text(f"rejected {problem}")

        page.get_by_role("checkbox", name="Choose pi-barn").uncheck()
        expect(box).not_to_contain_text("agents to come")
        form.get_by_label("Setting").fill("flows.max")
        form.get_by_label("Value").fill("4096")
        form.get_by_role("button").click()
        expect(rows).to_have_count(1)
        kept = json.loads(collector.call("agents", "config", "show", "--data", str(collector.data), "-o", "json"))

    assert versions == [1, 1]
    assert [(row["selector"], row["setting"]) for row in kept] == [
        ("*", "flows.idle"),
        (f"agent={attic.id}", "flows.max"),
    ]
    assert [text for text in visitor.complaints if "404" not in text] == []  # of the selector that means nobody


def test_who_may_choose_and_what_fits_a_narrow_screen(collector: Collector, visit: Any) -> None:
    """A viewer may not; an operator commands and sets nothing; 390 px hold all of it."""
    from playwright.sync_api import expect

    start(collector, watcher="viewer", worker="operator")
    narrow = {"viewport": {"width": 390, "height": 844}}
    with ObedientAgent(collector, "pi-attic", **STATUS), ObedientAgent(collector, "pi-barn", **STATUS):
        watching = visit(collector, **narrow).open("/#/agents")
        log_in(watching, "watcher")
        button = watching.get_by_role("button", name="Choose several")
        expect(button).to_be_disabled()
        why = button.get_attribute("title") or ""
        visitor, page = open_choice(visit, collector, "worker", **narrow)
        box = page.get_by_role("region", name="Several agents")
        box.get_by_role("button", name="All").click()
        expect(box.get_by_role("button", name="Set for these agents")).to_be_disabled()
        box.get_by_role("button", name="Log level …").click()
        box.get_by_role("form", name="Log level").get_by_role("button", name="Log level").click()
        expect(box.get_by_role("table", name="Commands").locator("tbody tr")).to_have_count(2)
        wide = overflowing(page)

    assert "operator" in why
    assert wide == []
    assert visitor.complaints == []
