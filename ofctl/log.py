"""Structured logs on the standard library: key=value for people, JSON for machines, one line per event.

A plug binds its port, request and stage once, and every line written inside has them, whichever module writes it:

    with bound(port="p1", request="r1"):
        with bound(stage="attach"):
            logger.info("attached", extra=fields(ofport=3))

The binding is a context variable: a task inherits it when it is created, a thread does not. Secrets are no fields;
as a second line of defence, private keys in a text and values under a name such as `password` are not written out.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TextIO

Field = str | int | float | bool | None

QUIET_LIBRARIES = ("asyncio", "grpc", "os_ken", "oslo_config", "ovs", "pyroute2")
HIDDEN = "(hidden)"

_bound: ContextVar[tuple[tuple[str, Field], ...]] = ContextVar("ofctl_log_bound", default=())
_SECRET_NAME = re.compile(r"password|passwd|secret|token|private_?key|credential", re.IGNORECASE)
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL)
_PLAIN = re.compile(r"[^\s\"'=]+")


@contextmanager
def bound(**values: Field) -> Iterator[None]:
    """Write `values` on every line that this task logs inside; an inner binding of a name hides the outer one."""
    token = _bound.set(tuple({**dict(_bound.get()), **values}.items()))
    try:
        yield
    finally:
        _bound.reset(token)


def fields(**values: Field) -> dict[str, Mapping[str, Field]]:
    """Return the `extra` argument that adds `values` to one line."""
    return {"ofctl_fields": values}


class _Formatter(logging.Formatter):
    def values(self, record: logging.LogRecord) -> dict[str, Field]:
        """Return what was bound, then what the line adds, without secrets."""
        added: Mapping[str, Field] = getattr(record, "ofctl_fields", {})
        return {
            name: HIDDEN if _SECRET_NAME.search(name) else value
            for name, value in {**dict(_bound.get()), **added}.items()
            if value is not None
        }

    def text(self, record: logging.LogRecord) -> str:
        """Return message and traceback without private keys."""
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return _PRIVATE_KEY.sub(HIDDEN, text)

    @staticmethod
    def instant(record: logging.LogRecord) -> str:
        """Return the time of the record in UTC, RFC 3339 with milliseconds."""
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(record.created))}.{int(record.msecs):03d}Z"


class TextFormatter(_Formatter):
    """`TIME LEVEL LOGGER message key=value ...`; line ends inside are escaped, so that one event is one line."""

    def format(self, record: logging.LogRecord) -> str:
        message = self.text(record)
        head = f"{self.instant(record)} {record.levelname} {record.name} {_one_line(message)}"
        return " ".join([head, *(f"{name}={_quoted(value)}" for name, value in self.values(record).items())])


class JsonFormatter(_Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `message`, and the fields beside them."""

    def format(self, record: logging.LogRecord) -> str:
        head = {
            "time": self.instant(record),
            "level": record.levelname,
            "logger": record.name,
            "message": self.text(record),
        }
        return json.dumps({**self.values(record), **head}, ensure_ascii=False)


def configure(*, log_format: str, level: str, stream: TextIO | None = None) -> None:
    """Send all logs of the process to `stream` (standard error) as `text` or `json` from `level` upwards.

    Libraries get to speak from WARNING upwards only. Replaces what was configured before.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def _one_line(text: str) -> str:
    return text.replace("\r", "\\r").replace("\n", "\\n")


def _quoted(value: Field) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)
