"""A real collector process and a real browser; whatever the browser complains of, or asks of another host, is kept."""

from __future__ import annotations

import shutil
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from support.stack import Collector

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

CHROMIUM = next(
    (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), ""
)
PATIENCE_MS = 30_000  # until the page shows what it should; one that never does is found out all the same
# Chromium itself stays quiet too: no update checks, no synchronisation, no QUIC.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass
class Visitor:
    """One browser profile, and what went wrong in it."""

    context: BrowserContext
    origin: str
    complaints: list[str] = field(default_factory=list)
    strangers: set[str] = field(default_factory=set)

    def open(self, address: str = "/") -> Page:
        page = self.context.new_page()
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._see(request.url))
        page.on("websocket", lambda socket: self._see(socket.url))
        page.goto(self.origin + address)
        return page

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def _see(self, url: str) -> None:
        host = urllib.parse.urlsplit(url).netloc
        if host != urllib.parse.urlsplit(self.origin).netloc:
            self.strangers.add(url)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="needs packaging/requirements-browser.txt")
    if not CHROMIUM:
        pytest.skip("needs Chromium: apt-get install chromium")
    playwright.expect.set_options(timeout=PATIENCE_MS)
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    """Not started: a test may fill its data folder first. It speaks as to a person, and so tells its set-up link."""
    process = Collector(tmp_path / "collector", environ={"FIELDWATCH_COLLECTOR__LOG__FORMAT": "text"})
    yield process
    if process.running:
        process.stop()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Any]:
    """``visit(collector, ...)`` makes a visitor; the keywords are those of Browser.new_context."""
    contexts: list[BrowserContext] = []

    def make(collector: Collector, **options: Any) -> Visitor:
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE_MS)
        contexts.append(context)
        return Visitor(context, f"http://127.0.0.1:{collector.ports['http']}")

    yield make
    for context in contexts:
        context.close()
