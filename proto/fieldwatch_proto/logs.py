"""The form of the logs of the agent and of the collector.

    configure("info")
    log = get_logger(__name__)
    log.info("batch acked", epoch=7, seq=12)

Text on a terminal, one JSON object a line elsewhere (systemd's journal, a container's log): ts (RFC 3339 UTC),
level, logger, event, and the fields. Values of strangers cannot forge a line or drive a terminal: control
characters are escaped and a value is cut at `MAX_VALUE_CHARS`. Fields whose name says that they are secret are
never written.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

LEVELS = ("debug", "info", "warning", "error")
FORMS = ("auto", "text", "json")
MAX_VALUE_CHARS = 2_048
SECRET_FIELD = re.compile(r"(^|_)(secret|token|password|passphrase|private_key|authorization|cookie|seed)$")

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "fields"}
_SHORT = {"DEBUG": "debug", "INFO": "info ", "WARNING": "warn ", "ERROR": "error", "CRITICAL": "fatal"}
_COLOURS = {"DEBUG": "2", "INFO": "36", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}
_PLAIN = re.compile(r"[A-Za-z0-9_./:@%+,*\[\]-]+")


class Log:
    """A logger whose methods take the event and its fields: ``log.warning("spool full", bytes=n)``."""

    __slots__ = ("logger",)

    def __init__(self, logger: logging.Logger) -> None:
        self.logger = logger

    def debug(self, event: str, **fields: Any) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write(logging.ERROR, event, fields)

    def exception(self, event: str, **fields: Any) -> None:
        """An error with the traceback of the exception that is being handled."""
        self._write(logging.ERROR, event, fields, trace=True)

    def _write(self, level: int, event: str, fields: dict[str, Any], *, trace: bool = False) -> None:
        if self.logger.isEnabledFor(level):
            self.logger.log(level, "%s", event, exc_info=trace, extra={"fields": fields})


def get_logger(name: str) -> Log:
    """The logger of a module; `name` is its ``__name__``."""
    return Log(logging.getLogger(name))


def configure(level: str = "info", form: str = "auto", stream: TextIO | None = None) -> None:
    """Send all that is logged to `stream` (standard error). Called by the command; a second call replaces it."""
    out = sys.stderr if stream is None else stream
    handler = logging.StreamHandler(out)
    if form == "auto":
        form = "text" if out.isatty() and "JOURNAL_STREAM" not in os.environ else "json"
    handler.setFormatter(
        JsonForm() if form == "json" else TextForm(colour=out.isatty() and "NO_COLOR" not in os.environ)
    )
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level.upper())


def printable(text: str) -> str:
    """The text with what is not for show escaped: control, format and surrogate characters, line ends."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(char: str) -> str:
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _fields(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    given = getattr(record, "fields", None)
    items = dict(given) if isinstance(given, dict) else {}
    items.update((key, value) for key, value in record.__dict__.items() if key not in _STANDARD)
    for key, value in items.items():
        yield key, "********" if SECRET_FIELD.search(key) else value


def _bounded(value: Any) -> Any:
    """JSON's own types stay; everything else becomes text; long text is cut."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, dict):
        return {str(key): _bounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_bounded(item) for item in value]
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= MAX_VALUE_CHARS else f"{text[:MAX_VALUE_CHARS]}..."


class JsonForm(logging.Formatter):
    """One JSON object a line, ASCII only: nothing in it can end the line or move a cursor."""

    def format(self, record: logging.LogRecord) -> str:
        seconds, fraction = divmod(int(record.created * 1e9), 1_000_000_000)
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
        line: dict[str, Any] = {
            "ts": f"{moment}.{fraction:09d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": _bounded(record.getMessage()),
        }
        for key, value in _fields(record):
            line[key if key not in line else f"{key}_"] = _bounded(value)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=True)


class TextForm(logging.Formatter):
    """``14:02:07 warn  spool is full  bytes=1073741824 policy="oldest first"`` for people at a terminal."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self.colour = colour

    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = _SHORT.get(record.levelname, record.levelname.lower())
        if self.colour:
            level = f"\x1b[{_COLOURS.get(record.levelname, '0')}m{level}\x1b[0m"
        fields = "".join(f" {key}={_text(value)}" for key, value in _fields(record))
        line = f"{clock} {level} {printable(str(_bounded(record.getMessage())))}{' ' if fields else ''}{fields}"
        if record.exc_info:
            trace = self.formatException(record.exc_info).splitlines()
            line = "\n".join([line, *(f"    {printable(part)}" for part in trace)])
        return line


def _text(value: Any) -> str:
    bounded = _bounded(value)
    if isinstance(bounded, str):
        return bounded if _PLAIN.fullmatch(bounded) else json.dumps(printable(bounded), ensure_ascii=False)
    if isinstance(bounded, float):
        return f"{bounded:.6g}"
    return printable(json.dumps(bounded, ensure_ascii=False))
