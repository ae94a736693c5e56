"""From the set-up link to devices, flows and agents on the page: real collector, real agent, real browser."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.sample import write_sample
from support.stack import Agent, Collector, wait_for

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytestmark = [pytest.mark.slow, pytest.mark.browser]

PASSWORD = "correct horse battery"
ROWS = "table.grid tbody tr[data-place]"
OVERFLOWS = """() => [...document.querySelectorAll(".table-box")]
  .filter((box) => box.scrollWidth > box.clientWidth)
  .map((box) => box.querySelector("caption").textContent)"""
WHOLE_BADGES = """() => [...document.querySelectorAll("td .badge.new")].map((badge) => {
  const [inner, outer] = [badge, badge.closest("td")].map((node) => node.getBoundingClientRect());
  return inner.right <= outer.right;
})"""


def set_up_link(collector: Collector) -> str:
    """The address behind the host, as the collector tells it to a person."""

    def look() -> str | None:
        found = re.search(r"set-up\s+http://[^/]+(/#/setup/[0-9a-f]{32})", collector.log.read_text())
        return found[1] if found else None

    return wait_for(look, "the set-up link")


def make_account(page: Page) -> None:
    page.get_by_label("Name").fill("chief")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("The password again").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()


def replay_sample(collector: Collector, folder: Path) -> int:
    """A real agent enrols and ships the sample capture, as if it had ended just now; the number of frames."""
    capture = folder / "sample.pcap"
    frames = write_sample(capture, time.time_ns() - 300_000_000_000)
    agent = Agent(folder / "agent")
    agent.enrol(collector)
    agent.start(collector, "--replay", str(capture))
    wait_for(lambda: not agent.running, "the replay is shipped", 60)
    assert agent.process is not None
    assert agent.process.returncode == 0, agent.tail()
    return frames


def projected(collector: Collector) -> bool:
    """Whether every batch that was stored is in the tables."""
    newest = collector.ask("SELECT max(position) FROM batch")[0][0]
    places = collector.ask("SELECT position FROM projection")
    return bool(newest and places) and all(position == newest for (position,) in places)


def painted(page: Page) -> int:
    """How many colours the chart's canvas holds."""
    colours: int = page.locator(".canvas canvas").evaluate(
        """canvas => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            const seen = new Set();
            for (let at = 0; at < data.length; at += 4)
                if (data[at + 3] === 255) seen.add(data.slice(at, at + 3).join());
            return seen.size;
        }"""
    )
    return colours


def test_a_new_user_sees_devices_flows_and_agents(collector: Collector, visit: Any, tmp_path: Path) -> None:
    """The whole way, with nothing but the link: account, first agent, live rows, claims, chart, counters."""
    from playwright.sync_api import expect

    collector.start()
    visitor = visit(collector, viewport={"width": 1360, "height": 900})

    page = visitor.open(set_up_link(collector))
    make_account(page)
    expect(page.get_by_role("heading", name="Waiting for the first agent")).to_be_visible()
    expect(page.locator(".command").first).to_contain_text("fieldwatch-collector token create")
    expect(page.locator(".command").nth(1)).to_contain_text(f"127.0.0.1:{collector.ports['public_grpc']}")
    expect(page.locator(".steps")).to_contain_text("in place of 127.0.0.1")

    other = visitor.open("/#/devices")
    expect(other.get_by_role("heading", name="No devices yet")).to_be_visible()
    expect(other.get_by_role("status")).to_contain_text("Live")

    frames = replay_sample(collector, tmp_path)
    wait_for(lambda: projected(collector), "the projections have caught up")
    expected = collector.ask("SELECT count(*) FROM device")[0][0]
    assert expected > 5

    # Neither page was loaded anew: the rows came over the stream.
    expect(other.locator(ROWS)).to_have_count(expected)
    expect(other.locator(f"{ROWS} .badge.new").first).to_be_visible()
    expect(page.get_by_role("heading", name=re.compile("Agent .* is here"))).to_be_visible()
    page.get_by_role("link", name="Go to Devices").click()
    expect(page.locator(ROWS)).to_have_count(expected)
    expect(page.get_by_role("grid", name="Devices")).to_have_attribute("aria-rowcount", str(expected + 1))

    expect(page.locator(ROWS).filter(has_text="da:a1:19:10:00:08")).to_contain_text("random or local MAC")

    named = collector.ask("SELECT id, name, name_source FROM device WHERE name != '' ORDER BY name LIMIT 1")[0]
    page.get_by_role("link", name=named[1], exact=True).click()
    expect(page.get_by_role("heading", name=named[1], exact=True)).to_be_visible()
    claims = page.get_by_role("table", name=re.compile("^Identity"))
    held = collector.ask("SELECT value, source FROM claim WHERE device = ?", named[0])
    expect(claims.locator("tbody tr")).to_have_count(len(held))
    for value, source in held:
        expect(claims.locator("tbody tr").filter(has_text=value).filter(has_text=source).first).to_be_visible()
    expect(page.get_by_role("table", name="Interfaces")).to_be_visible()

    page.get_by_role("link", name="Flows", exact=True).click()
    expect(page.locator(".canvas canvas")).to_be_visible()
    wait_for(lambda: painted(page) >= 2, "the chart is drawn")
    expect(page.locator(".top-talkers tbody tr").first).to_be_visible()
    page.get_by_role("radio", name="Applications").click()
    expect(page.get_by_role("columnheader", name="Application").first).to_be_visible()
    page.get_by_text("The chart as a table").click()
    expect(page.locator(".twin tbody tr").first).to_be_visible()
    expect(page.get_by_role("grid", name="Flows").locator("tbody tr[data-place]").first).to_be_visible()

    page.get_by_role("link", name="Agents", exact=True).click()
    agent = page.get_by_role("article")
    expect(agent).to_have_count(1)
    for title, figure, span in (
        ("Frames seen", f"{frames:,}", "since it started"),
        ("Stored here", "record", "since it was enrolled"),
    ):
        place = agent.locator(".figures > div").filter(has_text=title)
        expect(place).to_contain_text(figure)
        expect(place).to_contain_text(span)

    assert visitor.complaints == []
    assert visitor.strangers == set()


def test_the_link_works_once_and_the_password_from_then_on(collector: Collector, visit: Any) -> None:
    """A used link says so; log out and log in by name and password."""
    from playwright.sync_api import expect

    collector.start()
    link = set_up_link(collector)
    first = visit(collector).open(link)
    make_account(first)
    expect(first.get_by_role("heading", name="Waiting for the first agent")).to_be_visible()
    first.get_by_role("button", name="Log out").click()

    second = visit(collector).open(link)
    make_account(second)
    expect(second.get_by_role("alert")).to_contain_text("link")

    second.goto(f"http://127.0.0.1:{collector.ports['http']}/#/devices")
    second.get_by_label("Name").fill("chief")
    second.get_by_label("Password").fill("a wrong password")
    second.get_by_role("button", name="Log in").click()
    expect(second.get_by_role("alert")).to_contain_text("wrong name or password")
    second.get_by_label("Password").fill(PASSWORD)
    second.get_by_role("button", name="Log in").click()
    expect(second.get_by_role("heading", name="No devices yet")).to_be_visible()


def test_a_one_time_link_logs_in_and_leaves_the_address(collector: Collector, visit: Any) -> None:
    """The secret is gone from the address bar, and a second use explains itself."""
    from playwright.sync_api import expect

    collector.start()
    make_account(visit(collector).open(set_up_link(collector)))
    wait_for(lambda: collector.ask("SELECT count(*) FROM user") == [(1,)], "the account")
    told = collector.call("user", "login-link", "chief", "--data", str(collector.data))
    found = re.search(r"/#/login/[0-9a-f]+", told)
    assert found, told

    page = visit(collector).open(found[0])
    expect(page.get_by_role("heading", name="Devices", exact=True)).to_be_visible()
    again = visit(collector).open(found[0])
    expect(again.get_by_role("heading", name="This link does not work")).to_be_visible()

    assert "login" not in page.url


def test_nothing_is_cut_off_and_any_address_has_an_answer(collector: Collector, visit: Any, tmp_path: Path) -> None:
    """The badge beside a long name, a device's tables wide and narrow, an address that is no percent encoding."""
    from playwright.sync_api import expect

    collector.start()
    page = visit(collector, viewport={"width": 1080, "height": 900}).open(set_up_link(collector))
    make_account(page)
    page.get_by_role("link", name="Devices", exact=True).click()
    expect(page.get_by_role("heading", name="No devices yet")).to_be_visible()
    replay_sample(collector, tmp_path)
    wait_for(lambda: projected(collector), "the projections have caught up")
    expect(page.locator(f"{ROWS} .badge.new")).to_have_count(collector.ask("SELECT count(*) FROM device")[0][0])

    wait_for(lambda: all(page.evaluate(WHOLE_BADGES)), "every badge is whole")
    page.set_viewport_size({"width": 1280, "height": 900})
    page.get_by_role("link", name="LAPTOP-SALES", exact=True).click()
    expect(page.get_by_role("table", name="Addresses")).to_be_visible()
    wait_for(lambda: page.evaluate(OVERFLOWS) == [], "no table is cut off on a desk")
    page.set_viewport_size({"width": 360, "height": 800})
    wait_for(lambda: page.evaluate(OVERFLOWS) == [], "no table is cut off on a phone")
    indents = page.evaluate(
        """() => [...document.querySelectorAll(".columns td:first-child")]
          .map((cell) => getComputedStyle(cell).paddingLeft)"""
    )
    page.evaluate("location.hash = '#/devices/%'")
    expect(page.get_by_role("heading", name="No such device")).to_be_visible()
    page.reload()
    expect(page.get_by_role("heading", name="No such device")).to_be_visible()

    assert {"0px"} == set(indents)
