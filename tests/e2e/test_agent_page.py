"""An agent's page: its health, its commands live, what they made, its settings and tags; by role, wide and narrow."""

from __future__ import annotations

import re
from typing import Any

import pytest
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.browsing import STATUS, log_in, overflowing, start
from support.obedient import ObedientAgent
from support.stack import Collector

pytestmark = [pytest.mark.slow, pytest.mark.browser]


def test_commands_are_given_followed_and_fetched(collector: Collector, visit: Any) -> None:
    """From the list to the agent; progress shows as it comes, a capture is stopped, its packets are downloaded."""
    from playwright.sync_api import expect

    start(collector, chief="admin")
    with ObedientAgent(collector, "pi-attic", **STATUS) as agent:
        visitor = visit(collector, viewport={"width": 1360, "height": 900})
        page = visitor.open("/#/agents")
        log_in(page, "chief")
        card = page.get_by_role("article", name="Agent pi-attic")
        expect(card).to_contain_text("the disk took 5.2 s for the last commit")
        expect(card).to_contain_text("older than the collector")
        expect(card).to_contain_text(re.compile(r"1\.7\ss behind.*times of its records are corrected"))
        expect(card).to_contain_text(re.compile(r"160\sMB.*of 1.00\sGB; storage lasts 19 years"))
        expect(card).to_contain_text(re.compile(r"CPU0\.8\s%"))
        expect(page.locator(".summary")).to_have_text("1 of 1 agent online, 1 not well")
        page.get_by_role("link", name="pi-attic").click()
        expect(page.get_by_role("heading", name="pi-attic", exact=True)).to_be_visible()
        expect(page.get_by_role("table", name="Parts").locator("tbody tr")).to_have_count(4)

        rows = page.get_by_role("table", name="Commands").locator("tbody tr")
        page.get_by_role("button", name="Reload").click()
        expect(rows).to_have_count(1)
        given = agent.command()
        expect(rows.first).to_contain_text("sent")
        agent.report(given.id, {"state": pb.COMMAND_DONE, "text": "capture.workers needs a restart"})
        expect(rows.first).to_contain_text("done")
        expect(rows.first).to_contain_text("capture.workers needs a restart")

        page.get_by_role("button", name="Capture packets …").click()
        form = page.get_by_role("form", name="Capture packets")
        form.get_by_label("interface").fill("eth0")
        form.get_by_label("filter").fill("port 53")
        form.get_by_role("button", name="Capture packets").click()
        expect(rows).to_have_count(2)
        given = agent.command()
        call = agent.begin(given.id, state=pb.COMMAND_RUNNING, percent=1, text="7 packets")
        expect(rows.first).to_contain_text("running")
        agent.go_on(call, given.id, state=pb.COMMAND_RUNNING, percent=1, chunk=b"pcap", file_name="eth0.pcap")
        agent.go_on(call, given.id, state=pb.COMMAND_RUNNING, percent=60, text="600 packets")
        expect(rows.first).to_contain_text("600 packets")
        expect(rows.first.get_by_role("progressbar")).to_have_attribute("value", "60")
        rows.first.get_by_role("button", name="Cancel").click()
        stop = agent.command()
        expect(rows.first).to_contain_text("stopping")
        agent.go_on(call, given.id, state=pb.COMMAND_CANCELLED, text="cancelled by user:chief")
        expect(rows.first).to_contain_text("cancelled by user:chief")
        with page.expect_download() as download:
            rows.first.get_by_role("link", name=re.compile("Download eth0.pcap, 4.B")).click()

    assert given.arguments == b'{"interface":"eth0","packets":1000,"filter":"port 53","seconds":60,"snaplen":65535}'
    assert (stop.id, stop.cancel, given.actor) == (given.id, True, "user:chief")
    assert download.value.suggested_filename == "eth0.pcap"
    assert download.value.path().read_bytes() == b"pcap"
    assert visitor.complaints == []


def test_settings_and_tags_are_set_on_the_page(collector: Collector, visit: Any) -> None:
    """Set for this agent, seen beside what is in force, rejected with the agent's reason, unset again."""
    from playwright.sync_api import expect

    start(collector, chief="admin")
    with ObedientAgent(collector, "pi-attic", **STATUS) as agent:
        visitor = visit(collector, viewport={"width": 1360, "height": 900})
        page = visitor.open(f"/#/agents/{agent.id}")
        log_in(page, "chief")
        page.get_by_role("button", name="Add tags").click()
        page.get_by_label("New tag").fill("role=edge")
        page.get_by_role("button", name="Add", exact=True).click()
        expect(page.locator(".tag-line")).to_contain_text("role=edge")
        page.get_by_role("button", name="Done").click()

        form = page.get_by_role("form", name="Set for this agent")
        form.get_by_label("Setting").fill("flows.idle")
        form.get_by_label("Value").fill("30 s")
        form.get_by_role("button").click()
        settings = page.get_by_role("table", name="Settings")
        expect(settings.locator("tbody tr")).to_have_count(1)
        expect(settings).to_contain_text("30 s")
        expect(settings).to_contain_text("60 s")
        expect(page.locator(".settings h2")).to_contain_text("version 1 waiting for the agent")
        given = agent.command()
        problem = "flows.idle = 30 s: accepted is 1 min to 1 h"
        agent.say(config=pb.ConfigStatus(version=1, state=pb.CONFIG_REJECTED, problem=problem))
        expect(page.locator(".settings h2")).to_contain_text(f"rejected {problem}")
        settings.get_by_role("button", name="Unset").click()
        expect(page.locator(".settings")).to_contain_text("Nothing is set from here")

    assert given.config.settings == b'{"flows":{"idle":"30 s"}}'
    assert visitor.complaints == []


def test_the_page_offers_what_role_and_agent_allow(collector: Collector, visit: Any) -> None:
    """A viewer looks, an operator does an operator's, what the agent's own file forbids says so; all within 390 px."""
    from playwright.sync_api import expect

    start(collector, watcher="viewer", worker="operator", chief="admin")
    with ObedientAgent(collector, "pi-attic", **{**STATUS, "allowed_commands": ["reload", "diagnostics"]}) as agent:
        offered = {}
        for name in ("watcher", "worker", "chief"):
            page = visit(collector, viewport={"width": 390, "height": 844}).open(f"/#/agents/{agent.id}")
            log_in(page, name)
            buttons = page.locator(".orders .buttons button")
            expect(buttons).to_have_count(4)
            offered[name] = [one.inner_text() for one in buttons.all() if one.is_enabled()]
        refused = page.get_by_role("button", name="Capture packets …").get_attribute("title")
        page.get_by_role("button", name="Reload").click()
        expect(page.get_by_role("table", name="Commands").locator("tbody tr")).to_have_count(1)
        collector.call("agents", "config", "set", "flows.max=4096", "--select", "*", "--data", str(collector.data))
        expect(page.locator(".settings h2")).to_contain_text("waiting for the agent")
        wide = overflowing(page)
        page.goto(f"http://127.0.0.1:{collector.ports['http']}/#/agents")
        expect(page.get_by_role("article")).to_contain_text("waiting for the agent")
        wide += overflowing(page)

    assert offered == {"watcher": [], "worker": ["Reload", "Diagnostics"], "chief": ["Reload", "Diagnostics"]}
    assert "[remote] allow" in (refused or "")
    assert wide == []
