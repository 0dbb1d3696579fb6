"""Log lines for people (text) or machines (JSON). What a caller sent is not in them: no body, no query, no key.

An exception is told by its type and place: its message may quote what it failed on. Only our own problems, which never
do, are told in their words.
"""

from __future__ import annotations

import itertools
import logging
import re
import secrets
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import msgspec

from penstock.kernel.problems import Problem, Refused

FORMATS = ("text", "json")
# Of the request that this thread is working on.
REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
_GIVEN_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")
_TOLD = (Problem, Refused)
# Ids that are made here differ from those of other processes by their first half, from each other by the second.
_MADE_IDS = secrets.token_hex(4)
_NUMBERS = itertools.count()

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def configure(level: str, form: str) -> None:
    """Send every log line of this process to standard error, in one of `FORMATS`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)


def request_id_of(header: str | None) -> str:
    """The caller's X-Request-Id where it is a plain word of 8 to 64 characters, else a new one."""
    return header if header is not None and _GIVEN_ID.fullmatch(header) else f"{_MADE_IDS}{next(_NUMBERS) % 2**32:08x}"


def tell(logger: logging.Logger, level: int, message: str, **fields: object) -> None:
    """Log `message` with fields of its own; None is left out."""
    logger.log(level, message, extra={"fields": {k: v for k, v in fields.items() if v is not None}})


def tell_loop_error(_loop: object, context: dict[str, Any]) -> None:
    """What asyncio says of a task that nobody waited for; its own words would quote the exception."""
    error = context.get("exception")
    logging.getLogger("asyncio").error("%s", context["message"], exc_info=error)


class _Formatter(logging.Formatter):
    def formatException(self, ei: ExcInfo) -> str:  # noqa: N802  # the name is logging's
        """Types and places, outermost error first, without the messages of any error but ours."""
        lines = []
        error = ei[1]
        while error is not None:
            frames = traceback.extract_tb(error.__traceback__)
            place = " < ".join(f"{frame.filename}:{frame.lineno} {frame.name}" for frame in reversed(frames))
            said = f" ({error})" if isinstance(error, _TOLD) else ""
            lines.append(f"{type(error).__module__}.{type(error).__qualname__}{said} at {place}")
            error = error.__cause__ or error.__context__
        return "\n".join(lines)

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        request_id = REQUEST_ID.get()
        return ({} if request_id is None else {"request_id": request_id}) | getattr(record, "fields", {})


class TextFormatter(_Formatter):
    """One line for a person, its fields behind it as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(name)s %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  # the name is logging's
        return " ".join([super().formatMessage(record), *(f"{k}={v}" for k, v in self.fields(record).items())])


class JsonFormatter(_Formatter):
    """One JSON object a line: time, level, logger, message, the fields, and `error` where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self.fields(record),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line).decode()
