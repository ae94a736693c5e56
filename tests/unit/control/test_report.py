"""One call of Report: what it costs an agent when nobody takes what it says."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from fieldwatch_agent.control.report import Report
from fieldwatch_agent.shipper.shipper import open_channel
from fieldwatch_proto.v1 import agent_pb2 as pb
from support.scripted import Authority

MESSAGE = pb.CommandReport(id="c1", chunk=bytes(1_000))


def patience(looks: int) -> Callable[[], None]:
    """A check that ends the waiting for room when it is asked once more."""
    left = iter(range(looks))

    def check() -> None:
        if next(left, None) is None:
            raise queue.Full

    return check


def fill(report: Report) -> None:
    """Say something until there is no room for it. Raises queue.Full."""
    while report.send(MESSAGE, patience(3)):
        pass


def test_a_collector_that_takes_nothing_holds_no_command_up(tmp_path: Path) -> None:
    """The last word is given up after its time, also where there is no room to say it."""
    said: list[bool] = []
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        Authority().enrol(tmp_path, deaf.getsockname()[1])
        channel = open_channel(tmp_path, f"127.0.0.1:{deaf.getsockname()[1]}")
        report = Report(channel)
        with pytest.raises(queue.Full):
            fill(report)
        last = threading.Thread(target=lambda: said.append(report.finish(MESSAGE, 0.3)), daemon=True)
        last.start()
        last.join(5.0)
        channel.close()

    assert said == [False]
