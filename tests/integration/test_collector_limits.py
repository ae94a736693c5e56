"""What a running collector does not let itself be talked into, and what it says when it cannot write."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import httpx
import pytest
from fieldwatch_collector import admin
from support.collector import running


async def test_a_forwarded_address_does_not_get_round_the_throttle(tmp_path: Path) -> None:
    """Guesses at ever new names count for the address of the connection, whatever X-Forwarded-For says."""
    async with running(tmp_path / "data") as collector:
        url = f"http://127.0.0.1:{collector.server.ports['http']}/api/v1/session"

        def guess(number: int) -> int:
            return httpx.post(
                url,
                json={"name": f"user{number}", "password": "a wrong guess"},
                headers={"X-Forwarded-For": f"192.0.2.{number}"},
                timeout=20,
            ).status_code

        statuses = [await asyncio.to_thread(guess, number) for number in range(7)]

    assert statuses[:5] == [401] * 5
    assert statuses[-1] == 429


async def test_an_operation_on_a_full_disk_says_so_in_one_line(tmp_path: Path) -> None:
    """The store's own words, as of every other error that a person can mend."""
    async with running(tmp_path / "data") as collector:
        await collector.services.store.transact(_no_more_pages)
        with pytest.raises(admin.AdminError) as told:
            await asyncio.to_thread(_fill_up, collector.data)

    assert "the disk is full" in str(told.value)
    assert "StoreError" not in str(told.value)
    assert "\n" not in str(told.value)


def _fill_up(data: Path) -> None:
    """Until what is left of the last pages is used."""
    for number in range(2_000):
        admin.call(data, "api-token.create", {"name": f"t{number}", "role": "viewer"})


def _no_more_pages(connection: sqlite3.Connection) -> None:
    used = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {used}").fetchall()
