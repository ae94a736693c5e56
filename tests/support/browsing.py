"""What the browser tests of agents share: an agent with much to tell, people of each role, what overflows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fieldwatch_collector.services import open_services
from fieldwatch_proto.v1 import agent_pb2 as pb

from support.stack import Collector

if TYPE_CHECKING:
    from playwright.sync_api import Page

PASSWORD = "correct horse battery"
STATUS: dict[str, Any] = {
    "version": "0.0.9",
    "frames_seen": 1_284_332,
    "rss_bytes": 41_500_000,
    "uptime_s": 93_784,
    "cpu_ms": 750_000,
    "clock_offset_ns": 1_700_000_000,
    "written_bytes_day": 160_000_000,
    "write_budget_bytes_day": 1_000_000_000,
    "card_life_years": 19.4,
    "interfaces": [pb.InterfaceStatus(name="eth0", frames=1_284_332, up=True), pb.InterfaceStatus(name="wlan0")],
    "health": [
        pb.Health(component="agent", level=pb.HEALTH_DEGRADED),
        pb.Health(component="agent/capture", level=pb.HEALTH_OK),
        pb.Health(component="agent/capture/eth0", level=pb.HEALTH_OK),
        pb.Health(component="agent/spool", level=pb.HEALTH_DEGRADED, reason="the disk took 5.2 s for the last commit"),
    ],
    "allowed_commands": ["reload", "diagnostics", "log_level", "config", "capture"],
    "config": pb.ConfigStatus(effective=b'{"flows":{"idle":"60 s"}}'),
}


def start(collector: Collector, **roles: str) -> None:
    with open_services(collector.data) as services:
        for name, role in roles.items():
            services.accounts.add_user(name, PASSWORD, role)
    collector.start()


def log_in(page: Page, name: str) -> None:
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()


def overflowing(page: Page) -> list[str]:
    """Boxes that are wider than their place, and a window that scrolls beside the page's own scrolling."""
    found: list[str] = page.evaluate(
        """() => [...document.querySelectorAll("html, main, .page, .table-box, .agent, .strip, .orders, .settings")]
            .filter((box) => box.scrollWidth > box.clientWidth + 1)
            .map((box) => `${box.tagName} ${box.className}: ${box.scrollWidth} in ${box.clientWidth}`)
            .concat([document.documentElement].filter((box) => box.scrollHeight > box.clientHeight + 1)
            .map((box) => `the window: ${box.scrollHeight} high in ${box.clientHeight}`))"""
    )
    return found
