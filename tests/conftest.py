"""What holds for every test: in CI nothing is skipped for want of something; external captures are counted."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

pytest.register_assert_rewrite("support")

settings.register_profile("any machine", deadline=None)  # no test depends on how fast the machine is
settings.load_profile("any machine")

IN_CI = bool(os.environ.get("FIELDWATCH_CI"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Browser tests come last: Playwright keeps an event loop running in the thread that asyncio tests need."""
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a test that skips itself has failed, but for the suite that needs external captures."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail") and item.get_closest_marker("corpus") is None:
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped in CI: {report.longrepr}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How many tests wait for external captures."""
    skipped = terminalreporter.stats.get("skipped", [])
    waiting = [report for report in skipped if "corpus" in report.keywords]
    if waiting:
        terminalreporter.write_line(f"external captures: {len(waiting)} tests skipped, FIELDWATCH_CORPUS is not set")
