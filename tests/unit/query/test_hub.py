"""The event hub: order, filters, resume, gaps, and subscribers that do not keep up."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from fieldwatch_collector.hub import PAGE_EVENTS, Hub, Subscription

NEVER_S = 0.05  # how long a test waits to say that nothing came


def event(seq: int, kind: str = "device.changed", site: str = "hq") -> dict[str, Any]:
    return {"v": 1, "seq": seq, "type": kind, "site": site, "data": {}}


def update(identifier: str, flows: int = 0, site: str = "hq") -> dict[str, Any]:
    return {"type": "device.updated", "data": {"id": identifier, "site": site, "flows": flows}}


class Table:
    """An event table: what `history` reads, with what retention removed."""

    def __init__(self, first: int, last: int) -> None:
        self.events = [event(seq) for seq in range(first, last + 1)]
        self.reads = 0

    def after(self, seq: int, limit: int) -> list[dict[str, Any]]:
        self.reads += 1
        return [found for found in self.events if found["seq"] > seq][:limit]


async def take(messages: Subscription, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        return [await anext(messages) for _ in range(count)]


async def nothing(messages: Subscription) -> bool:
    try:
        async with asyncio.timeout(NEVER_S):
            await anext(messages)
    except TimeoutError:
        return True
    return False


def numbers(messages: list[dict[str, Any]]) -> list[int]:
    return [message["seq"] for message in messages]


async def test_events_come_in_order_and_only_those_after_the_subscription() -> None:
    """A subscriber without a number gets what is published from now on, whichever thread publishes."""
    hub = Hub()
    hub.publish([event(1), event(2)])
    async with hub.subscribe() as messages:
        writer = threading.Thread(target=lambda: [hub.publish([event(seq)]) for seq in range(3, 203)])
        writer.start()
        seen = await take(messages, 200)
        writer.join()

    assert list(range(3, 203)) == numbers(seen)


async def test_events_of_several_threads_are_told_in_the_order_of_their_numbers() -> None:
    """Two threads publish what they committed as they come to it; nobody sees a number before the one below it."""
    hub = Hub()
    hub.publish([event(1)])
    async with hub.subscribe() as messages:
        hub.publish([event(4), event(5)])
        assert await nothing(messages)
        hub.publish([event(3)])
        hub.publish([event(2)])
        seen = await take(messages, 4)

    assert numbers(seen) == [2, 3, 4, 5]


async def test_a_number_that_never_comes_holds_nobody_up() -> None:
    """What was committed but never published delays the others for a moment, no longer."""
    hub = Hub()
    hub.publish([event(1)])
    async with hub.subscribe() as messages:
        hub.publish([event(3)])
        seen = await take(messages, 1)
        hub.publish([event(4)])
        hub.publish([event(2)])
        seen += await take(messages, 2)

    assert numbers(seen) == [3, 4, 2]


async def test_types_and_site_are_filtered() -> None:
    """A type is met exactly, one with a dot at its end as a prefix; a site exactly."""
    hub = Hub()
    async with hub.subscribe(["agent.", "device.discovered"], "hq") as messages:
        hub.publish(
            [
                event(1, "device.discovered"),
                event(2, "device.discovered.more"),
                event(3, "agent.connected", "branch"),
                event(4, "agent.gap"),
                event(5, "agents"),
                event(6, "agent.connected"),
            ]
        )
        seen = await take(messages, 3)

        assert numbers(seen) == [1, 4, 6]
        assert await nothing(messages)


async def test_resume_out_of_the_ring_reads_no_table() -> None:
    """Whoever was away for a moment gets what it missed from memory."""
    table = Table(1, 50)
    hub = Hub(history=table.after)
    hub.publish([event(seq) for seq in range(41, 51)])
    async with hub.subscribe(since_seq=44) as messages:
        hub.publish([event(51)])
        seen = await take(messages, 7)

    assert numbers(seen) == [45, 46, 47, 48, 49, 50, 51]
    assert table.reads == 0


async def test_resume_joins_table_and_ring_without_a_hole_or_a_double() -> None:
    """From further back the table is read page by page, then the ring goes on where it ended."""
    total = 2 * PAGE_EVENTS + 100
    table = Table(1, total)
    hub = Hub(history=table.after, ring_events=50)
    hub.publish(table.events[-50:])
    async with hub.subscribe(since_seq=7) as messages:
        seen = await take(messages, total - 7)
        table.events.append(event(total + 1))
        hub.publish([event(total + 1)])
        seen += await take(messages, 1)

        assert list(range(8, total + 2)) == numbers(seen)
        assert await nothing(messages)


async def test_what_is_in_the_table_and_published_later_comes_once() -> None:
    """An event that is read from the table between its commit and its publication is not told twice."""
    table = Table(1, 10)
    hub = Hub(history=table.after)
    async with hub.subscribe(since_seq=5) as messages:
        seen = await take(messages, 5)
        hub.publish([event(9), event(10)])
        hub.publish([event(11)])
        seen += await take(messages, 1)

    assert numbers(seen) == [6, 7, 8, 9, 10, 11]


async def test_events_that_expired_are_a_gap_with_its_bounds() -> None:
    """What the table no longer holds is told, then the rest follows."""
    table = Table(20, 25)
    hub = Hub(history=table.after)
    async with hub.subscribe(since_seq=5) as messages:
        seen = await take(messages, 7)

    assert seen[0] == {"type": "gap", "data": {"after_seq": 5, "before_seq": 20, "reason": "expired"}}
    assert numbers(seen[1:]) == [20, 21, 22, 23, 24, 25]


async def test_a_number_that_the_collector_never_gave_is_a_gap() -> None:
    """A collector restored from an older backup says so, and goes on from now."""
    table = Table(1, 10)
    hub = Hub(history=table.after)
    async with hub.subscribe(since_seq=99) as messages:
        seen = await take(messages, 1)
        hub.publish([event(11)])
        seen += await take(messages, 1)

    assert seen[0] == {"type": "gap", "data": {"after_seq": 99, "before_seq": 0, "reason": "unknown"}}
    assert numbers(seen[1:]) == [11]


async def test_a_slow_subscriber_catches_up_from_the_table() -> None:
    """Who falls behind the ring loses nothing that the table holds, and gets nothing from before it came."""
    table = Table(1, 500)
    hub = Hub(history=table.after, ring_events=10)
    async with hub.subscribe() as messages:
        for seq in range(501, 2_501):
            table.events.append(event(seq))
            hub.publish([event(seq)])
        seen = await take(messages, 2_000)

        assert list(range(501, 2_501)) == numbers(seen)
        assert await nothing(messages)


async def test_a_subscriber_behind_the_ring_without_a_table_gets_a_gap() -> None:
    """Without a table the ring's oldest event follows the gap."""
    hub = Hub(ring_events=10)
    async with hub.subscribe() as messages:
        hub.publish([event(1)])
        first = await take(messages, 1)
        hub.publish([event(seq) for seq in range(2, 102)])
        seen = await take(messages, 11)

    assert numbers(first) == [1]
    assert seen[0] == {"type": "gap", "data": {"after_seq": 1, "before_seq": 92, "reason": "expired"}}
    assert list(range(92, 102)) == numbers(seen[1:])


async def test_updates_of_one_device_are_coalesced_to_one_a_second() -> None:
    """The first goes at once, then the newest one once the interval is over."""
    hub = Hub(transient_interval_s=0.3)
    loop = asyncio.get_running_loop()
    async with hub.subscribe() as messages:
        began = loop.time()
        hub.publish_transient(update("a", 1))
        first = await take(messages, 1)
        for flows in range(2, 200):
            hub.publish_transient(update("a", flows))
            hub.publish_transient(update("b", flows))
        later = await take(messages, 2)
        waited_s = loop.time() - began

        assert [update("a", 1)] == first
        assert [update("a", 199), update("b", 199)] == later
        assert waited_s > 0.29
        assert await nothing(messages)


async def test_too_many_pending_updates_drop_the_oldest_and_say_so() -> None:
    """A subscriber's memory is bounded; after a gap it reads the list anew."""
    hub = Hub(pending_transients=3)
    async with hub.subscribe() as messages:
        for identifier in "abcde":
            hub.publish_transient(update(identifier))
        seen = await take(messages, 4)

    assert seen[0] == {"type": "gap", "data": {"after_seq": 0, "before_seq": 0, "reason": "slow"}}
    assert [update("c"), update("d"), update("e")] == seen[1:]


async def test_updates_can_be_refused_and_are_filtered_by_site() -> None:
    """`transient=False` gives persisted events only; else the site of the device counts."""
    hub = Hub()
    async with hub.subscribe(transient=False) as plain, hub.subscribe(site="branch") as branch:
        hub.publish_transient(update("a"))
        hub.publish_transient(update("b", site="branch"))

        assert [update("b", site="branch")] == await take(branch, 1)
        assert await nothing(plain)


async def test_closing_ends_every_subscription() -> None:
    """A server that stops lets its streams end, after what was waiting."""
    hub = Hub()
    async with hub.subscribe() as messages:
        assert hub.subscribers == 1
        asked = asyncio.Event()

        async def ask() -> list[dict[str, Any]]:
            asked.set()  # whoever waits for it goes on when this task has nothing to read
            return await take(messages, 1)

        waiting = asyncio.create_task(ask())
        await asked.wait()
        hub.close()
        ended = await asyncio.wait_for(asyncio.gather(waiting, return_exceptions=True), 10)

    assert isinstance(ended[0], RuntimeError | StopAsyncIteration)
    assert hub.subscribers == 0
