"""Logs: their two forms, what is redacted, and what a stranger's text cannot do."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator

import pytest
from fieldwatch_proto.logs import MAX_VALUE_CHARS, configure, get_logger, printable
from hypothesis import given
from hypothesis import strategies as st

HOSTILE = 'nas\x1b[2J\r\n{"level":"error"}\u202e\u2028'


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    """The root logger as it was, when the test is over."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(form: str, event: str, **fields: object) -> str:
    stream = io.StringIO()
    configure("debug", form, stream)
    get_logger("fieldwatch_agent.spool").warning(event, **fields)
    return stream.getvalue()


def test_json_line() -> None:
    """ts, level, logger and event first, then the fields as they were given."""
    line = json.loads(written("json", "spool is full", bytes=1 << 30, policy="oldest first", octets=b"\x01\xff"))

    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", line.pop("ts"))
    assert line == {
        "level": "warning",
        "logger": "fieldwatch_agent.spool",
        "event": "spool is full",
        "bytes": 1 << 30,
        "policy": "oldest first",
        "octets": "01ff",
    }


def test_text_line() -> None:
    """Short time, level, event, key=value; text with blanks is quoted."""
    line = written("text", "spool is full", bytes=12, policy="oldest first", ratio=0.123456789)

    assert line[len("14:02:07 ") :] == 'warn  spool is full  bytes=12 policy="oldest first" ratio=0.123457\n'


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_strangers_text_stays_in_its_line(form: str) -> None:
    """No control, format or line-separating character of a value or an event reaches the stream."""
    text = written(form, f"name {HOSTILE}", name=HOSTILE)

    assert text[-1] == "\n"
    assert text[:-1].isprintable()


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_and_length(form: str) -> None:
    """Fields that are secret by name are not written, and long values are cut."""
    text = written(form, "enrolled", join_token="fw1.AAAA", password="x1y2", seed="abcd", name="n" * 10_000)

    assert not any(secret in text for secret in ("fw1.AAAA", "x1y2", "abcd"))
    assert text.count("n" * 1) - text.replace("n" * MAX_VALUE_CHARS, "").count("n") == MAX_VALUE_CHARS


def test_form_follows_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    """auto: text on a terminal; JSON elsewhere, and under systemd even there."""

    def first_character(stream: io.StringIO) -> str:
        configure("info", "auto", stream)
        get_logger("x").info("hello")
        return stream.getvalue()[0]

    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    assert first_character(io.StringIO()) == "{"
    assert first_character(Terminal()).isdigit()
    monkeypatch.setenv("JOURNAL_STREAM", "8:12345")
    assert first_character(Terminal()) == "{"


def test_level() -> None:
    """What is below the level is not written."""
    stream = io.StringIO()
    configure("warning", "text", stream)
    get_logger("x").info("quiet")
    get_logger("x").error("loud")

    assert [line[len("14:02:07 ") :] for line in stream.getvalue().splitlines()] == ["error loud"]


def test_the_usual_logging_calls_work() -> None:
    """Libraries that log by the standard module come out in the same form, `extra` as fields."""
    stream = io.StringIO()
    configure("info", "json", stream)
    logging.getLogger("grpc").warning("channel %s", "down", extra={"peer": "192.0.2.1"})
    line = json.loads(stream.getvalue())

    assert (line["logger"], line["event"], line["peer"]) == ("grpc", "channel down", "192.0.2.1")


def test_exception() -> None:
    """The traceback is part of the JSON line."""
    stream = io.StringIO()
    configure("info", "json", stream)
    try:
        raise ValueError("wrong")
    except ValueError:
        get_logger("x").exception("task failed", task="seal")
    (line,) = stream.getvalue().splitlines()

    assert (json.loads(line)["level"], json.loads(line)["task"]) == ("error", "seal")
    assert json.loads(line)["exception"].endswith("ValueError: wrong")


@given(st.text())
def test_printable_is_printable(text: str) -> None:
    """Whatever comes in, what goes out can be shown, and what could be shown before is unchanged."""
    shown = printable(text)

    assert shown.isprintable()
    assert not text.isprintable() or shown == text
